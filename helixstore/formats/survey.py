"""Every model below a folder. Nothing raises: what is cut, broken or unsafe gives one issue, no more."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from helixstore.errors import HelixError, Unreadable, UnsafeName
from helixstore.formats.folder import inspect_folder, is_model_folder, tell
from helixstore.formats.inspection import Inspection
from helixstore.formats.listing import SKIPPED_FOLDERS, Item, Listing, Tree, list_folder, safe_name
from helixstore.formats.loose import LooseFile, group, read_loose
from helixstore.formats.names import PLAIN_EXTENSIONS, extension, is_digest, looks_like_model, shard_of_name
from helixstore.fs.names import printable, unfinished
from helixstore.values import Issue

__all__ = ["Known", "survey"]

MAX_LEVELS = 64

Known = Callable[[Item], bool]


def survey(
    folder: str | os.PathLike[str], depth: int = -1, *, issue: Callable[[Issue], None], tree: Tree | None = None,
    known: Known | None = None,
    near: Sequence[str] | None = None,
) -> list[Inspection]:
    """Find every whole model in a folder and below it.

    Args:
        folder: absolute. One that does not exist holds nothing, without an issue.
        depth: levels of folders below it that are entered; -1: all of them. Links to folders are never entered.
        issue: is called once for everything that is broken, cut, unreadable or badly named and looks like a model.
        tree: is told of every folder listed and every file that counts.
        known: whether a file is one that nothing new can be learnt of; a model of such files is left out unread.
        near: absolute paths: of the folders below, only those on the way to these are entered. None: all.

    Returns:
        Only whole models, in the order of their paths. Left out without a word: unfinished downloads, blobs named by a
        digest (they are some program's own), caches, version control, importance matrices.
    """
    top = os.path.abspath(folder)
    if not os.path.lexists(top):
        return []
    walk = _Survey(issue, tree, known)
    pending = [(top, 0)]
    while pending:
        path, level = pending.pop()
        below = walk.folder(path)
        if level < (MAX_LEVELS if depth < 0 else min(depth, MAX_LEVELS)):
            pending += [(child, level + 1) for child in reversed(below)
                        if near is None or any(path.startswith(child + os.sep) for path in near)]
    return sorted(walk.found, key=lambda one: os.fspath(one.location))


class _Survey:
    def __init__(self, issue: Callable[[Issue], None], tree: Tree | None, known: Known | None) -> None:
        self.found: list[Inspection] = []
        self._known = known
        self._issue = issue
        self._tree = tree
        self._seen: set[tuple[int, int]] = set()        # bind mounts can make a loop of real folders

    def folder(self, path: str) -> list[str]:
        """Take in one folder; returns the folders below it that are to be looked at."""
        try:
            listing = list_folder(path, self._tree)
        except Unreadable as error:
            self._fail(path, error)
            return []
        if listing.identity in self._seen:
            return []
        self._seen.add(listing.identity)
        below = [item for item in listing.folders if item.name not in SKIPPED_FOLDERS]
        taken: frozenset[str] = frozenset()
        whole = is_model_folder(listing)
        self._strange(listing, whole)
        if whole and not (self._known and all(map(self._known, listing.files))):
            taken = self._model_folder(listing)
        self._loose(listing, whole)
        return [item.path for item in below if item.name not in taken and self._enters(item)]

    def _model_folder(self, listing: Listing) -> frozenset[str]:
        try:
            safe_name(os.path.basename(listing.path) or "root", listing.path)
            inspection, taken = inspect_folder(listing, self._tree)
        except HelixError as error:
            self._fail(listing.path, error)
            if self._tree is not None:                  # it may be mended by a change of any of them
                for item in listing.files:
                    tell(self._tree, item)
            return frozenset()
        self._take(inspection)
        return taken

    def _take(self, inspection: Inspection) -> None:
        if inspection.whole:
            self.found.append(inspection)
            return
        there = inspection.header.shards if not inspection.parts else len(
            [part for part in inspection.parts if part.role in ("weights", "pickle")])
        named = ", ".join(inspection.missing[:3]) + (", ..." if len(inspection.missing) > 3 else "")
        self._issue(Issue(
            "incomplete", os.fspath(inspection.location),
            f"{printable(inspection.name)} has {there} of {there + len(inspection.missing)} files; missing: "
            f"{printable(named)}",
            "download the missing files",
        ))

    def _loose(self, listing: Listing, in_model_folder: bool) -> None:
        files: list[LooseFile] = []
        broken: set[str] = set()
        for item in self._unread(listing):
            name = item.name
            ending = extension(name)
            if ending in PLAIN_EXTENSIONS or (in_model_folder and ending != "gguf"):
                continue
            if unfinished(name, listing.items) or is_digest(name):
                continue
            file = self._read(item)
            if file is None:
                broken.add(name)
            else:
                files.append(file)
        if files:
            found = group(files, frozenset(broken), lambda error: self._fail(error.path or listing.path, error))
            for inspection in found:
                self._take(inspection)

    def _unread(self, listing: Listing) -> list[Item]:
        """The files of a folder that must be read: those that are not known, and, where shards or projectors are among
        them or beside them, all, since these go together."""
        if self._known is None:
            return listing.files
        fresh = [item for item in listing.files if not self._known(item)]
        together = any(shard_of_name(item.name) or "mmproj" in item.name.casefold() for item in listing.files)
        return listing.files if fresh and together else fresh

    def _read(self, item: Item) -> LooseFile | None:
        """The file's header; None when it is no model, or could not be read."""
        expected = looks_like_model(item.name)
        try:
            file = read_loose(item.path)
            if file is not None:
                expected = True
                safe_name(item.name, item.path)
        except HelixError as error:
            if expected or error.kind != "unreadable":
                self._fail(item.path, error)
            file = None
        if self._tree is not None and expected:
            tell(self._tree, item)
        return file

    def _strange(self, listing: Listing, in_model_folder: bool) -> None:
        """A line for links that lead nowhere, devices, pipes and sockets under a model's name."""
        for item in listing.items.values():
            if item.kind in ("file", "folder") or unfinished(item.name, listing.items):
                continue
            if item.kind == "link":
                self._await(item)
            if not looks_like_model(item.name) or (in_model_folder and extension(item.name) != "gguf"):
                continue                                # a model folder says it itself
            what, remedy = ("is a device, pipe or socket, not a file", "remove it")
            if item.kind == "link":
                what, remedy = "is a link that leads nowhere", "plug in the disk that it leads to, or remove the link"
            self._issue(Issue("unreadable", item.path, f"{printable(item.name)} {what}", remedy))

    def _await(self, item: Item) -> None:
        """Have the tree notice when the target of a dangling link appears."""
        if self._tree is None:
            return
        try:
            parent = os.path.dirname(os.path.join(os.path.dirname(item.path), os.readlink(item.path)))
            self._tree.folder(parent, os.stat(parent).st_mtime_ns)
        except OSError:                                 # its folder is not there either, or it is a loop
            return

    def _enters(self, item: Item) -> bool:
        """Whether a folder's name can be used in paths at all."""
        if item.name.isprintable():
            return True
        self._fail(item.path, UnsafeName(
            f"the folder {printable(item.name)!r} has a name that cannot be used", "rename it", item.path))
        return False

    def _fail(self, path: str, error: HelixError) -> None:
        self._issue(Issue(error.kind, path, error.message, error.remedy))
