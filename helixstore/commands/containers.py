"""What a container must be given so that a program in it finds the same models under the same paths.

A provider's folder alone is enough where all links in it are hard, or lead to another place in it, as in the hub
cache. A symbolic link names an absolute path: what it leads to must be there too, in the same place, since neither
links nor sidecars can be rewritten for the container. Of helixstore's own folders the whole is given, of anything else
that one file or folder. Everything is given read only.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from helixstore.errors import NotFound
from helixstore.fs.listing import scandir
from helixstore.providers.reader import DiskReader
from helixstore.results import Mount, Mounts

if TYPE_CHECKING:
    from helixstore.session import Session

__all__ = ["mounts"]

_HOPS = 40      # as many links in a row as Linux follows


def mounts(session: Session, provider: str) -> Mounts:
    """The folders that a container needs for `provider`, and the options that mount them.

    Raises:
        Usage: no provider has that name.
        NotFound: none of its folders is there.
    """
    layout = session.layout(provider)
    reader = DiskReader(session.places.home)
    placed = [one.root for one in session.roots(reader, session.farms) if one.provider == provider]
    roots = [str(root.path) for root in placed]
    found = {root: f"where {layout.title} looks" for root in roots if os.path.isdir(root)}
    if not found:
        why = next((root.forbid for root in placed if root.forbid), "")
        raise NotFound(f"{' and '.join(roots) or provider} is not there{why and ': '}{why}",
                       "" if why else f"helixstore sync --provider {provider}")
    known = _folders_of_links(session)
    for root in list(found):
        for link in _links(root):
            for place in _hops(link, known):
                if not any(_below(place, folder) for folder in found):
                    folder = next((folder for folder in known if _below(place, folder)), place)
                    found[folder] = "where symbolic links in it lead"
    kept = tuple(Mount(path, why) for path, why in found.items()
                 if not any(_below(path, other) for other in found))
    return Mounts(provider, kept, tuple(word for mount in kept for word in _option(mount.path)))


def _folders_of_links(session: Session) -> list[str]:
    """The folders of helixstore's own to which its links may lead: mounted whole, since the next sync links more."""
    volumes = [session.store.blobs.volumes.main, *session.store.blobs.volumes.attached]
    below = os.path.relpath(session.farms, session.store.path)
    return [folder for volume in volumes
            for folder in (os.path.join(volume.path, below, "far"), os.path.join(volume.path, "blobs"))]


def _links(root: str) -> Iterator[str]:
    """Every symbolic link in a folder and below; links to folders are not entered."""
    folders = [root]
    while folders:
        try:
            with scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        yield entry.path
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except PermissionError:
            continue                    # nor will the container read it


def _hops(link: str, known: list[str]) -> Iterator[str]:
    """What a symbolic link leads to, and where that is a link in a folder of ours, what it leads to.

    Any other place is mounted by itself, which resolves it. Nothing for a link that leads nowhere.
    """
    if not os.path.exists(link):
        return
    for _ in range(_HOPS):
        link = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))
        yield link
        if not os.path.islink(link) or not any(_below(link, folder) for folder in known):
            return


def _below(path: str, folder: str) -> bool:
    return path.startswith(folder + os.sep)


def _option(path: str) -> tuple[str, str]:
    """One mount, as docker and podman take it; a colon in the path needs the long form, whose values are CSV."""
    if ":" not in path:
        return "-v", f"{path}:{path}:ro"
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(["type=bind", f"source={path}", f"target={path}", "readonly"])
    return "--mount", row.getvalue()
