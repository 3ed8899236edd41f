"""What layouts answered last, in a process that stays, so that only that is asked again on which a change bears.

Layouts are pure: the same question has the same answer. Of one that says which variants bear on each other
(`Layout.alike`), only those are asked about that are new or have changed, with all that are like them, and their
entries enter what was known. Where that is not certain to give the same, all is asked and joined anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from helixstore.farm.desired import WantedRoot, folders_of, grown, join
from helixstore.fs.names import folded
from helixstore.values import Key

if TYPE_CHECKING:
    from helixstore.providers.layout import Entry, Facts, Layout, Refusal
    from helixstore.session import PlacedRoot
    from helixstore.values import Issue, Variant

__all__ = ["Kept", "Part", "Shown", "Withheld"]

T = TypeVar("T")
_FEW = 0.25                     # of all: when more bear on a change, one question about all is cheaper
#: whether a provider must not see a variant although it could load it; equal if it says the same of each
Withheld = Callable[[str, "Key"], bool]
Ask = Callable[[list["Variant"]], list["Entry"]]


@dataclass(slots=True)
class Part:
    """What one provider must see in one root.

    Attributes:
        variants: those that it was asked about.
        entries: by variant; None: those of the whole root.
        before: what it grew from, until the root is joined.
        added: the entries that are new since, or other than they were.
        shrunk: a path of `before` is not wanted any more.
    """

    variants: Mapping[Key, Variant]
    entries: dict[Key | None, list[Entry]]
    before: Part | None = None
    added: list[Entry] = field(default_factory=list)
    shrunk: bool = False

    def all(self) -> Iterable[Entry]:
        """Every entry."""
        return chain.from_iterable(self.entries.values())


@dataclass(slots=True)
class _Root:
    """What all providers of a root must see in it. `spelt`, `folders`: its paths and the folders on the way to them, as
    names are compared; None until they are needed."""

    parts: list[Part]
    wanted: WantedRoot
    issues: list[Issue]
    spelt: set[str] | None = None
    folders: set[str] | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What one provider can load of all variants and is shown, and why it cannot load the others."""

    layout: Layout
    withheld: Withheld
    variants: Mapping[Key, Variant]
    refused: Mapping[Key, Refusal]


class Shown:
    """See the module. A variant is the same only if it is the same object; what was not asked about in one projection
    is asked anew in the next."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Ask everything again."""
        self._facts: Facts | None = None
        self._variants: dict[Key, Variant] = {}
        self._changed: set[Key] = set()
        self._kept: dict[str, Kept] = {}
        self._parts: dict[PlacedRoot, Part] = {}
        self._last = self._kept, self._parts
        self._kin: dict[str, tuple[Layout, _Kin]] = {}
        self._roots: dict[str, _Root] = {}

    def begin(self, facts: Facts, variants: Sequence[Variant]) -> None:
        """Before a projection of these variants."""
        if facts != self._facts:
            self.forget()
            self._facts = facts
        last, self._variants = self._variants, {variant.key: variant for variant in variants}
        self._changed = {variant.key for variant in variants if last.get(variant.key) is not variant}
        self._changed |= last.keys() - self._variants.keys()
        self._last = self._kept, self._parts
        self._kept, self._parts = {}, {}

    # ---- one provider ------------------------------------------------------------------------------------------------

    def kept(self, place: PlacedRoot, withheld: Withheld, ask: Callable[[Variant], Refusal | None]) -> Kept:
        """What a provider can load and is shown."""
        known = self._kept.get(place.provider)
        if known is not None:                   # by another of its roots
            return known
        known = self._last[0].get(place.provider)
        about: Iterable[Variant] = self._variants.values()
        kept: dict[Key, Variant] = {}
        refused: dict[Key, Refusal] = {}
        if known is not None and known.layout is place.layout and known.withheld == withheld:
            if not self._changed:
                self._kept[place.provider] = known
                return known
            kept, refused = dict(known.variants), dict(known.refused)
            for key in self._changed:
                kept.pop(key, None)
                refused.pop(key, None)
            about = [self._variants[key] for key in self._changed & self._variants.keys()]
        for variant in about:
            if refusal := ask(variant):
                refused[variant.key] = refusal
            elif not withheld(place.provider, variant.key):
                kept[variant.key] = variant
        known = self._kept[place.provider] = Kept(place.layout, withheld, kept, refused)
        return known

    # ---- one provider in one root ------------------------------------------------------------------------------------

    def part(self, place: PlacedRoot, variants: Mapping[Key, Variant], ask: Ask) -> Part:
        """What a provider must see of these variants in a root."""
        known = self._last[1].get(place)
        if known is not None:
            changed = variants.keys() ^ known.variants.keys()
            changed |= {key for key in self._changed if variants.get(key) is not known.variants.get(key)}
            if not changed:
                self._parts[place] = known
                return known
            part = self._with(place, known, variants, changed, ask)
            if part is not None:
                self._parts[place] = part
                return part
        part = self._parts[place] = _compared(known, variants, _by_key(ask(list(variants.values()))))
        return part

    def _with(self, place: PlacedRoot, known: Part, variants: Mapping[Key, Variant], changed: Set[Key], ask: Ask,
              ) -> Part | None:
        """The part, by asking about what has changed and its like; None when all must be asked about."""
        about = self._kin_of(place, known.variants, variants).of(changed)
        if about is None or len(about) > max(1.0, _FEW * len(variants)):
            return None
        answer = _by_key(ask([variants[key] for key in about if key in variants]))
        common = known.entries.get(None, [])
        if any(entry not in common for entry in answer.pop(None, ())) or (common and not variants.keys() >= changed):
            return None
        entries = dict(known.entries)
        for key in about:
            entries.pop(key, None)
        return _compared(known, variants, entries | answer, about)

    def _kin_of(self, place: PlacedRoot, *several: Mapping[Key, Variant]) -> _Kin:
        """Who is like whom for a provider."""
        known = self._kin.get(place.provider)
        if known is None or known[0] is not place.layout:
            known = self._kin[place.provider] = place.layout, _Kin(place.layout)
        for variants in several:
            known[1].learn(variants)
        return known[1]

    # ---- one root ----------------------------------------------------------------------------------------------------

    def joined(self, path: str, placed: Sequence[PlacedRoot], parts: Sequence[Part],
               ) -> tuple[WantedRoot, list[Issue]]:
        """What all providers of a root must see in it."""
        known = self._roots.get(path)
        if known is None or not _same(known.parts, parts):
            root = None if known is None else _with_added(known, path, placed, parts)
            if root is None:
                wanted, issues = join(path, [(place.provider, part.all()) for place, part in zip(
                    placed, parts, strict=True)], placed[0].root.owned, placed[0].root.cache)
                root = _Root(list(parts), wanted, issues)
            known = self._roots[path] = root
        for part in parts:
            part.before, part.added = None, []
        return known.wanted, known.issues


class _Kin:
    """Which variants bear on each other's entries, by the word of one layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._seen: dict[Key, Variant] = {}
        self._words: dict[Key, frozenset[str]] = {}
        self._with: dict[str, set[Key]] = {}
        self._silent = False                    # the layout does not say

    def learn(self, variants: Mapping[Key, Variant]) -> None:
        """Ask about those that are not known, or not as they are; what was said of the others of old is kept."""
        for key, variant in variants.items() if not self._silent else ():
            if self._seen.get(key) is variant:
                continue
            words = self._layout.alike(variant)
            if words is None:
                self._silent = True
                return
            self._seen[key] = variant
            self._words[key] = self._words.get(key, frozenset()) | frozenset(words)
            for word in words:
                self._with.setdefault(word, set()).add(key)

    def of(self, keys: Collection[Key]) -> set[Key] | None:
        """These and all that bear on them, directly or by others; None when that is not known."""
        if self._silent:
            return None
        found, waiting, asked = set(keys), list(keys), set[str]()
        while waiting:
            words = self._words.get(waiting.pop(), frozenset()) - asked
            asked |= words
            more = set[Key]().union(*(self._with[word] for word in words)) - found
            found |= more
            waiting += more
        return found


def _compared(known: Part | None, variants: Mapping[Key, Variant], entries: dict[Key | None, list[Entry]],
              keys: Iterable[Key | None] | None = None) -> Part:
    """A part, with what is other in it than it was; that can be in the entries of `keys` alone."""
    if known is None:
        return Part(variants, entries)
    added: list[Entry] = []
    gone: set[str] = set()
    for key in entries.keys() | known.entries.keys() if keys is None else keys:
        old, new = known.entries.get(key, []), entries.get(key, [])
        if old != new:
            added += [entry for entry in new if entry not in old]
            gone.update({entry.path for entry in old} - {entry.path for entry in new})
    return Part(variants, entries, known, added, bool(gone))


def _by_key(entries: Iterable[Entry]) -> dict[Key | None, list[Entry]]:
    found: dict[Key | None, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.key, []).append(entry)
    return found


def _with_added(known: _Root, path: str, placed: Sequence[PlacedRoot], parts: Sequence[Part]) -> _Root | None:
    """The root with what is new or other in its parts; None when it must be joined anew, since something goes, or
    something new could meet what is there."""
    if len(parts) != len(known.parts) or known.issues:
        return None
    changed = [(place.provider, part) for place, part, old in zip(placed, parts, known.parts, strict=True)
               if part is not old]
    if any(part.shrunk for _, part in changed) or any(
            part.before is not old for part, old in zip(parts, known.parts, strict=True) if part is not old):
        return None
    more, issues = join(path, [(provider, part.added) for provider, part in changed])
    wanted = None if issues or more.refused else grown(known.wanted, more)
    if wanted is None:
        return None
    there = known.wanted.entries
    if known.spelt is None or known.folders is None:
        known.spelt = set(map(folded, there))
        known.folders = folders_of(known.spelt)
    spelt = {folded(name) for name in more.entries if name not in there}
    folders = folders_of(spelt)
    if not (spelt.isdisjoint(known.spelt) and spelt.isdisjoint(known.folders) and folders.isdisjoint(known.spelt)):
        return None
    known.spelt |= spelt
    known.folders |= folders
    return _Root(list(parts), wanted, [], known.spelt, known.folders)


def _same(one: Sequence[T], other: Sequence[T]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
