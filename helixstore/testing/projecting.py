"""Checks of the entries that a layout wants, against the written contract, without a disk."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence

from helixstore.errors import UnsafeName
from helixstore.farm.desired import join
from helixstore.fs.names import check_relative, unfinished
from helixstore.providers.layout import Copy, Entry, Inner, Text, Weight
from helixstore.testing.case import Case, Projected, check, require, said, texts
from helixstore.values import Key, LinkKind, Role, Variant

__all__ = ["named_in", "safe_paths", "sound"]

_HEX = re.compile(r"[0-9a-f]{32,}")
_BLOB = re.compile(r"[\\/]blobs[\\/][0-9a-f]{2}[\\/][0-9a-f]{64}")
_KINDS = frozenset(LinkKind) - {LinkKind.REFERENCE}


@check
def paths_are_safe(case: Case) -> None:
    """Every path is relative, stays in the root, and can be made on every system."""
    for projected in case.projections():
        safe_paths(projected.entries)


@check
def every_path_is_one_file(case: Case) -> None:
    """No two entries want one path, differ in case only, or need a file and a folder of one name."""
    for projected in case.projections():
        sound(case, projected)


@check
def every_model_that_it_accepts_is_there(case: Case) -> None:
    """Each model that it accepts has, in one root at least, all its weights."""
    for facts in case.machines:
        accepted = case.accepted(facts)
        projected = [case.project(accepted, root, facts) for root in case.roots(facts)]
        for variant in accepted if projected else ():
            wanted = {file.blake3 for file in variant.weights}
            have = [_blobs(each.of(variant.key)) for each in projected]
            require(any(wanted <= blobs for blobs in have),
                    f"it accepts {variant.key}, and no root has all of its weights")


@check
def bytes_are_the_models_own(case: Case) -> None:
    """Each link and copy is of a file of its own model, with that file's size; weights are linked, never copied."""
    for projected in case.projections():
        by_key = {variant.key: variant for variant in projected.variants}
        for entry in projected.entries:
            if not isinstance(entry.body, Weight | Copy):
                continue
            require(entry.key in by_key, f"{entry.path} is a file of {entry.key}, which was not asked for")
            assert entry.key is not None
            files = {file.blake3: file for file in by_key[entry.key].files}
            require(entry.body.blob in files, f"{entry.path} is no file of {entry.key}")
            file = files[entry.body.blob]
            require(entry.body.bytes == file.bytes, f"{entry.path} has {file.bytes} bytes, not {entry.body.bytes}")
            require(isinstance(entry.body, Weight) or file.role not in (Role.WEIGHTS, Role.PROJECTOR),
                    f"{entry.path} copies weights: a Weight links them")
            if isinstance(entry.body, Weight):
                kinds = entry.body.kinds
                require(kinds and len(set(kinds)) == len(kinds) and set(kinds) <= _KINDS,
                        f"{entry.path} may be linked by {kinds}: each kind once, the best first")


@check
def the_witness_is_known(case: Case) -> None:
    """Of each model exactly one entry in a root is its witness; common files are nobody's, and a cache has none."""
    for projected in case.projections():
        keys = {variant.key for variant in projected.variants}
        for entry in projected.entries:
            require(entry.key is None or entry.key in keys, f"{entry.path} is of {entry.key}, which was not asked for")
            require(not (entry.witness and entry.key is None), f"{entry.path} is a witness of no model")
            require(isinstance(entry.body, Text) or entry.key is not None, f"{entry.path} is a link for no model")
        _witnesses(projected)


@check
def sidecars_come_last(case: Case) -> None:
    """A sidecar is made after every link and copy of its model, and after every file that it names."""
    for projected in case.projections():
        for variant in projected.here:
            mine = projected.of(variant.key)
            named = [(entry, named_in(text.data, mine)) for entry, text in texts(mine)]
            parts = {path for _, paths in named for path in paths}
            for entry, paths in named:
                before = {other.path: other for other in mine if other is not entry and (
                    other.path in paths or (entry.path not in parts and not isinstance(other.body, Text)))}
                late = [path for path, other in before.items()
                        if other.order + (entry.path not in parts) > entry.order]
                require(not late, f"the sidecar {entry.path} has the order {entry.order}, and is made before "
                                  f"{late[0] if late else ''}, which it needs")
        for entry, text in texts(projected.of(None)):
            late = [other.path for other in projected.entries if other.path in named_in(text.data, projected.entries)
                    and other.order >= entry.order]
            require(not late, f"{entry.path} is made before {late[0] if late else ''}, which it names")


@check
def sidecars_are_plain_text(case: Case) -> None:
    """A sidecar is UTF-8 text, and names no file inside the store."""
    for projected in case.projections():
        digests = {file.blake3 for variant in projected.variants for file in variant.files}
        for entry, text in texts(projected.entries):
            require(isinstance(text.data, bytes), f"the sidecar {entry.path} is not bytes")
            try:
                words = text.data.decode()
            except UnicodeDecodeError:
                require(False, f"the sidecar {entry.path} is no UTF-8: {said(text.data)}")
            require(not digests.intersection(_HEX.findall(words)) and not _BLOB.search(words),
                    f"the sidecar {entry.path} names a blob of the store: {said(text.data)}")


@check
def inner_links_lead_to_its_own_files(case: Case) -> None:
    """A link inside the root is relative, stays in it, and leads to a file of the same model that is made before."""
    for projected in case.projections():
        by_path: dict[str, list[Entry]] = {}
        for entry in projected.entries:
            by_path.setdefault(entry.path, []).append(entry)
        for entry in projected.entries:
            if not isinstance(entry.body, Inner):
                continue
            target = entry.body.target
            require(not target.startswith("/") and "\\" not in target,
                    f"{entry.path} leads to {target}: relative and with / it must be")
            there = posixpath.normpath(posixpath.join(posixpath.dirname(entry.path), target))
            require(not there.startswith(".."), f"{entry.path} leads to {target}, out of the root")
            to = [other for other in by_path.get(there, []) if other.key == entry.key]
            require(to, f"{entry.path} leads to {there}, which is no entry of {entry.key}")
            require(not isinstance(to[0].body, Inner), f"{entry.path} leads to {there}, which is a link itself")
            require(all(other.order < entry.order for other in to), f"{entry.path} is made before {there}")


@check
def nothing_gives_nothing(case: Case) -> None:
    """Without a model it wants no file of a model, and raises nothing."""
    for projected in case.projections([]):
        strange = [entry.path for entry in projected.entries if not isinstance(entry.body, Text) or entry.key]
        require(not strange, f"without a model it wants {', '.join(strange[:3])}")


def safe_paths(entries: Iterable[Entry]) -> None:
    """Every path is one that can be made on every system, and that no scan takes for half a download."""
    for entry in entries:
        try:
            check_relative(entry.path)
        except UnsafeName as error:
            require(False, f"for {entry.key}: {error.message}")
        require(not unfinished(entry.path.rpartition("/")[2]),
                f"{entry.path} looks like half a download, and is left out of every scan")


def sound(case: Case, projected: Projected) -> None:
    """All entries can lie side by side."""
    _, issues = join(str(projected.root.path), [(case.layout.name, projected.entries)])
    require(not issues, f"{issues[0].path}: {issues[0].message}" if issues else "")


def named_in(data: bytes, entries: Sequence[Entry]) -> set[str]:
    """The paths of those entries that a text names: by path, by folder, by file name, or by a digest in that.

    Args:
        data: of the text.
        entries: all that it may name.
    """
    words = data.decode(errors="replace").replace("\\\\", "/").replace("\\", "/")
    return {entry.path for entry in entries if _names(words, entry.path)}


def _names(words: str, path: str) -> bool:
    """A bare word such as `latest` may stand in any text: a file name counts if it has an extension."""
    folder, _, name = path.rpartition("/")
    digest = _HEX.search(name)
    return (path in words or ("." in name and name in words) or ("/" in folder and folder in words)
            or (digest is not None and digest[0] in words))


def _blobs(entries: Iterable[Entry]) -> set[str]:
    return {entry.body.blob for entry in entries if isinstance(entry.body, Weight | Copy)}


def _witnesses(projected: Projected) -> None:
    of: dict[Key, list[str]] = {}
    for entry in projected.entries:
        if entry.witness and entry.key is not None:
            of.setdefault(entry.key, []).append(entry.path)
    require(not (projected.root.cache and of), "a cache shows no models, so it has no witness of one")
    for variant in projected.here if not projected.root.cache else ():
        paths = sorted(set(of.get(variant.key, [])))
        require(paths, f"{variant.key} has no witness in {projected.root.path}")
        require(len(paths) == 1, f"{variant.key} has {len(paths)} witnesses: {', '.join(paths)}")
    seen: dict[str, Variant | Key] = {}
    for key, paths in of.items():
        for path in paths:
            require(path not in seen, f"{path} is the witness of {seen.get(path)} and of {key}")
            seen[path] = key
