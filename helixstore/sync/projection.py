"""What every provider must see: all current variants through all layouts that are on. Pure, given the roots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from helixstore.farm.desired import LeftOf, WantedRoot
from helixstore.providers.layout import Weight
from helixstore.sync.shown import Kept, Part, Shown, Withheld
from helixstore.values import Family, Format, Issue, Key, LinkKind, State, Variant

if TYPE_CHECKING:
    from helixstore.providers.layout import Entry, Facts, Layout, Refusal
    from helixstore.session import PlacedRoot

__all__ = ["Projection", "aliases_needed", "left_of", "project", "refused_state"]

#: What the planned conversions lead to, by the family they begin with; `compat` says "after conversion" by it.
CONVERTIBLE: Mapping[Family, frozenset[Format]] = {
    Family.SAFETENSORS: frozenset({Format.GGUF, Format.HF, Format.MLX, Format.GPTQ, Format.AWQ}),
    Family.GGUF: frozenset({Format.GGUF, Format.HF, Format.MLX, Format.GPTQ, Format.AWQ}),
    Family.PICKLE: frozenset(),
}


_NOTHING = Part({}, {})


@dataclass
class Projection:
    """The desired state.

    Attributes:
        roots: one per folder, with the entries of all its providers.
        refusals: (provider, key) -> why that provider cannot load it.
        issues: collisions between entries, layouts that broke their contract, folders that may not be written into.
        closed: provider -> why nothing can be put into its folder.
        forbidden: provider -> why nothing may be projected into its first root.
        far: (provider, key) -> why no kind of link that its layout allows can lead there from the store.
        away: key -> why its files are not here, and the ids of the volumes that they may be on; see `sync.disks`.
    """

    roots: list[WantedRoot] = field(default_factory=list)
    refusals: dict[tuple[str, Key], Refusal] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)
    forbidden: dict[str, str] = field(default_factory=dict)
    far: dict[tuple[str, Key | None], str] = field(default_factory=dict)
    away: dict[Key, tuple[str, frozenset[str]]] = field(default_factory=dict)

    def close(self, folders: Sequence[str]) -> None:
        """Want nothing in these roots, neither made nor removed, and say so once for each."""
        for root in [root for root in self.roots if root.path in folders]:
            self.stop(root, f"{root.path} cannot be written to", Issue(
                "failed", root.path, "the folder cannot be written to; nothing is done there",
                "helixstore doctor prints the command that opens it to you; or: helixstore providers off "
                f"{root.providers[0]}"))

    def stop(self, root: WantedRoot, why: str, issue: Issue) -> None:
        """Want nothing in one root, neither made nor removed."""
        self.roots.remove(root)
        self.closed.update(dict.fromkeys(root.providers, why))
        self.issues.append(issue)


def project(
    variants: Sequence[Variant], placed: Iterable[PlacedRoot], facts: Facts,
    withheld: Withheld = lambda provider, key: False, shown: Shown | None = None,
) -> Projection:
    """Ask each layout that is on for its entries, root by root, and join those that share a folder.

    Args:
        variants: every current variant.
        placed: the roots of all providers; those that are off, and those where nothing may be put, give nothing.
        facts: the platform.
        withheld: whether a provider must not see a variant although it could load it.
        shown: what they answered last, in a process that stays.
    """
    projection = Projection()
    shown = shown or Shown()
    shown.begin(facts, variants)
    failed: set[str] = set()
    shared: dict[str, list[tuple[PlacedRoot, Part]]] = {}
    for place in placed:
        if not place.on or place.provider in failed:
            continue
        try:
            kept = shown.kept(place, withheld, partial(_asked, place.layout, facts))
        except Exception as error:  # noqa: BLE001 - a third party's layout may fail in any way; the rest goes on
            projection.issues.append(_failed(place, error))
            failed.add(place.provider)
            continue
        projection.refusals.update({(place.provider, key): refusal for key, refusal in kept.refused.items()})
        part = _part(place, kept, facts, projection, shown)
        if part is not None:
            shared.setdefault(str(place.root.path), []).append((place, part))
    for path, parts in shared.items():
        root, issues = shown.joined(path, [place for place, _ in parts], [part for _, part in parts])
        projection.issues.extend(issues)
        projection.roots.append(replace(root, left_of=left_of([place.layout for place, _ in parts])))
    return projection


def left_of(layouts: Sequence[Layout]) -> LeftOf:
    """What the first of these layouts that knows a sidecar leaves of it."""
    def left(path: str, text: bytes, gone: Callable[[str], bool]) -> bytes | None:
        for layout in layouts:
            try:
                rest = layout.left_of(path, text, gone)
            except Exception:  # noqa: BLE001 - a third party's layout may fail in any way; then the text stays
                return None
            if rest is not None:
                return rest
        return None

    return left


def _asked(layout: Layout, facts: Facts, variant: Variant) -> Refusal | None:
    return layout.accepts(variant, facts)


def _part(place: PlacedRoot, kept: Kept, facts: Facts, projection: Projection, shown: Shown) -> Part | None:
    """What the layout wants in this root; None when it failed, so that nothing there is taken for unwanted."""
    if place.root.forbid:
        projection.forbidden.setdefault(place.provider, place.root.forbid)
        return _NOTHING
    try:
        return shown.part(place, kept.variants, lambda variants: _allowed(
            place, place.layout.project(variants, place.root, facts)))
    except Exception as error:  # noqa: BLE001 - a third party's layout may fail in any way; the rest goes on
        projection.issues.append(_failed(place, error))
        return None


def _allowed(place: PlacedRoot, entries: Iterable[Entry]) -> list[Entry]:
    """The entries, with the kinds of link that the person allows there."""
    if place.links is None or place.root.cache:          # the program takes one kind only
        return list(entries)
    return [replace(entry, body=replace(entry.body, kinds=_kinds(entry.body, place.links)))
            if isinstance(entry.body, Weight) else entry for entry in entries]


def _kinds(body: Weight, links: Sequence[LinkKind]) -> tuple[LinkKind, ...]:
    """The kinds that the person allows; a symbolic link leads to a stand-in where a deleter would follow it."""
    careful = LinkKind.STAND_IN in body.kinds
    return tuple(LinkKind.STAND_IN if careful and kind is LinkKind.SYMBOLIC else kind for kind in links)


def _failed(place: PlacedRoot, error: Exception) -> Issue:
    return Issue("layout", str(place.root.path), f"the layout {place.provider} failed: {type(error).__name__}: {error}",
                 f"helixstore providers off {place.provider}")


def refused_state(variant: Variant, refusal: Refusal) -> State:
    """`convertible` when a conversion leads to something that the provider wants, else `incompatible`."""
    if any(wanted in CONVERTIBLE[variant.format.family] for wanted in refusal.wants):
        return State.CONVERTIBLE
    return State.INCOMPATIBLE


def aliases_needed(layouts: Iterable[Layout]) -> frozenset[str]:
    """The aliases that these layouts need: "sha256", "gitsha1", "xet"."""
    return frozenset(alias for layout in layouts for alias in layout.aliases)
