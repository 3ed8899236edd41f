"""Names that a program has no more, while it has the same content under another: a tag that was removed beside others,
a file that was renamed. The variant loses that source, so that nothing is made again under the old name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from helixstore.session import PlacedRoot, Session
from helixstore.sync.naming import Origin
from helixstore.values import Key, Source, Variant

__all__ = ["forgotten"]


def forgotten(
    session: Session, placed: Iterable[PlacedRoot], present: Mapping[str, Mapping[Key, Collection[Origin]]],
    variants: Iterable[Variant], untouched: Collection[str] = (),
) -> dict[Key, tuple[Source, ...]]:
    """The variants that have lost a name, with the sources that are left to them.

    Args:
        session: whose ledgers say which witnesses there were.
        placed: the roots that were looked at.
        present: root -> variants that were found there under names that are not ours -> those names. What was deleted
            there before and is back has these names alone.
        variants: as they are to be.
        untouched: roots where nothing is missing.
    """
    readers: dict[str, set[str]] = {}
    for place in placed:
        if place.on:
            readers.setdefault(str(place.root.path), set()).add(place.provider)
    sources = {variant.key: variant.sources for variant in variants}
    left: dict[Key, tuple[Source, ...]] = {}
    for root, programs in readers.items():
        for key, missing in session.farm.missing(root).items() if root not in untouched else ():
            if key not in sources or not (missing.others or key in present.get(root, ())):
                continue
            before = left.get(key, sources[key])
            kept = tuple(source for source in before if source.program not in programs
                         or not any(_names(source, path) for path in missing.paths))
            if kept and kept != before:
                left[key] = kept
        back = {key for _, key in session.farm.intent.in_root(root, programs, only_root=True)} & present.get(
            root, {}).keys() & sources.keys()
        for key in back:
            before = left.get(key, sources[key])
            kept = tuple(s for s in before if s.program not in programs or s.origin in present[root][key])
            if kept and kept != before:
                left[key] = kept
    return left


def _names(source: Source, path: str) -> bool:
    """Whether a path of the root is where the source has the model: a sidecar of it, or its name is that path."""
    name = source.name or ""
    return any(path == sidecar for sidecar, _ in source.sidecars) or path == name or path.startswith(f"{name}/")
