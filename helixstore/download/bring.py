"""Models whose files have come: what they are is read from the blobs, under the names that the listing gives them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from helixstore.errors import HelixError, NotFound, UnsafeName
from helixstore.formats.names import WEIGHT_EXTENSIONS, extension
from helixstore.fs import kernel
from helixstore.fs.names import check_relative, clash, printable
from helixstore.hub.remote import RemoteFile
from helixstore.providers.layout import Found
from helixstore.providers.reader import DiskReader
from helixstore.store.store import Store
from helixstore.values import Format, Issue, Role, Source

__all__ = ["brought", "check_names"]


def check_names(files: Iterable[RemoteFile], name: str) -> None:
    """That all of them can lie in one folder, on every system: before anything is fetched.

    Args:
        files: as listed.
        name: of the model.

    Raises:
        UnsafeName: one leads out of it or cannot be, two are one, or one is another's folder.
    """
    paths = [check_relative(file.path) for file in files]
    if pair := clash(paths):
        one, other = map(printable, pair)
        raise UnsafeName(f"{name} has {one} and {other}, which cannot lie in one folder on every system",
                         "tell those who publish it", pair[1])


def brought(store: Store, folder: str, files: Sequence[RemoteFile], blobs: Mapping[str, str],
            sources: Sequence[Source], name: str) -> tuple[list[Found], list[Issue]]:
    """The whole models that these files make.

    Args:
        store: whose blobs.
        folder: of this process, in staging; a tree of links is made in it, which must stay while the models are taken
            in.
        files: as listed.
        blobs: their digests in the listing -> blob.
        sources: where they come from; of a GGUF, whose repository mostly has several, they get the file's name, unless
            it is a program that names them.
        name: of the model.

    Returns:
        The models, each once for each source, and what a person should know.

    Raises:
        UnsafeName: a name leads out of the folder, or cannot be on every system.
        NotFound: there is no whole model among them.
    """
    for file in files:
        place = os.path.join(folder, check_relative(file.path))
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        _place(store.blobs.path(blobs[file.digest]), place)
    reader = DiskReader(Path(folder))
    top, digests = Path(folder), {file.path: file.digest for file in files}
    found = []
    for inspection in reader.models(top, -1):
        below = (replace(part, path=part.location.relative_to(top).as_posix()) for part in inspection.parts)
        parts = tuple(sorted(below, key=lambda part: part.path))
        first = next((part.path for part in parts if part.role is Role.WEIGHTS), None)
        for source in sources:
            named = first and inspection.format is Format.GGUF and source.program is None
            found.append(Found(replace(inspection, parts=parts), replace(source, name=first) if named else source, name,
                               claims={part.path: digests[part.path] for part in parts}))
    if not found:
        raise _no_model(reader.issues, sources[0])
    return found, reader.issues


def _no_model(issues: Sequence[Issue], source: Source) -> HelixError:
    where = source.repository or source.name or "what was downloaded"
    if issues:
        return NotFound(f"there is no whole model in {where}: {issues[0].message}", issues[0].remedy)
    return NotFound(f"there is no model in {where}", "name the file that you want: hf:ORG/NAME:FILE")


def _place(blob: str, place: str) -> None:
    """Weights by a link, which tells that they are the blob; of a small file a link would count as one that leads out
    of the model's folder."""
    if extension(place) in WEIGHT_EXTENSIONS:
        kernel.symlink(blob, place)
    else:
        kernel.copy(blob, place, 0o600)
