"""What must lie in a root: the entries of all providers that read it, joined by path. Pure.

Two layouts that share a folder mostly ask for the same entry on the same path; then it is one entry with two claims.
When they disagree, or when two paths cannot both exist everywhere, none of the models concerned is projected there:
guessing would leave one program with half a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from helixstore.errors import UnsafeName
from helixstore.fs.names import check_relative, folded
from helixstore.providers.layout import Body, Entry, Weight
from helixstore.values import Issue, Key

__all__ = ["Claim", "Joined", "LeftOf", "WantedRoot", "folders_of", "grown", "join", "without"]

#: Names that need no closer look; everything else goes through `check_relative`.
_PLAIN = re.compile(
    r"(?!(?:.*/)?(?:con|prn|aux|nul|conin\$|conout\$|com\d|lpt\d)(?:[./]|$))(?=.{1,900}$)"
    r"(?:[a-z0-9_-](?:[a-z0-9_.@+=-]{0,240}[a-z0-9_@+=-])?/)*[a-z0-9_-](?:[a-z0-9_.@+=-]{0,240}[a-z0-9_@+=-])?",
    re.IGNORECASE | re.ASCII,
)


#: `Layout.left_of`, of all that read a root
LeftOf = Callable[[str, bytes, Callable[[str], bool]], bytes | None]


class Claim(NamedTuple):
    """Who wants an entry: a provider, for one variant or (key None) for the whole root.

    `witness`: the absence of this entry means that the person deleted the variant there.
    """

    provider: str
    key: Key | None
    witness: bool


class Joined(NamedTuple):
    """One entry of a root with everybody who wants it."""

    body: Body
    claims: tuple[Claim, ...]
    order: int


@dataclass(frozen=True, slots=True)
class WantedRoot:
    """What must lie in one root.

    Attributes:
        path: absolute.
        providers: those that read it and are on.
        owned: the folder is helixstore's own.
        cache: it is the program's cache of content; see `Root.cache`.
        entries: POSIX path relative to the root -> the entry.
        refused: (provider, key) -> why nothing is projected for it here, found while joining.
        left_of: what is left of a sidecar that is not wanted any more and in which somebody else has written too.
        withdrawn: (provider, key) that are gone for as long as their disk is: links that lead there go, adopted ones
            too, and come back with it.
    """

    path: str
    providers: tuple[str, ...]
    owned: bool
    entries: Mapping[str, Joined]
    refused: Mapping[tuple[str, Key | None], str] = field(default_factory=dict)
    cache: bool = False
    withdrawn: frozenset[tuple[str, Key | None]] = frozenset()
    left_of: LeftOf = field(default=lambda path, text, gone: None, compare=False)


def join(path: str, projections: Sequence[tuple[str, Iterable[Entry]]], owned: bool = False,
         cache: bool = False) -> tuple[WantedRoot, list[Issue]]:
    """Join what several providers want in the root `path`.

    Args:
        path: the root, absolute.
        projections: provider name and what its layout projects; the order does not matter.
        owned: the folder is helixstore's own.
        cache: it is the program's cache of content.

    Returns:
        The root, and one conflict for each path that cannot be made as asked; the variants concerned have no entry.
    """
    entries: dict[str, Joined] = {}
    single: dict[Claim, tuple[Claim]] = {}      # one tuple for all entries with the same claim
    refused: dict[tuple[str, Key | None], str] = {}
    issues: list[Issue] = []

    def refuse(name: str, claims: Iterable[Claim], why: str, kind: str = "conflict") -> None:
        for claim in claims:
            refused.setdefault((claim.provider, claim.key), why)
        issues.append(Issue(kind, f"{path}/{name}", why, "give one of them another name: helixstore share --name"))

    unlike: dict[str, list[Claim]] = {}
    several: dict[str, list[Claim]] = {}        # a configuration that thousands of models have in common
    for provider, projected in sorted(projections, key=lambda pair: pair[0]):
        for entry in projected:
            name, body, key, witness, order = entry.path, entry.body, entry.key, entry.witness, entry.order
            if _PLAIN.fullmatch(name) is None and (why := _unsafe(name)):
                refuse(name, [Claim(provider, key, witness)], why, "unsafe-name")
                continue
            there = entries.get(name)
            claim = Claim(provider, key, witness)
            if there is None:
                entries[name] = Joined(body, single.setdefault(claim, (claim,)), order)
            elif there.body == body:
                several.setdefault(name, list(there.claims)).append(claim)
                if order < there.order:
                    entries[name] = there._replace(order=order)
            elif common := _common(there.body, body):
                several.setdefault(name, list(there.claims)).append(claim)
                entries[name] = there._replace(body=common, order=min(order, there.order))
            else:
                unlike.setdefault(name, []).append(claim)
    for name, claims in several.items():
        entries[name] = entries[name]._replace(claims=_merged(claims))
    for name, claims in sorted(unlike.items()):         # so that the same conflicts are told alike in any order
        everybody = [*entries[name].claims, *claims]
        refuse(name, everybody, f"{_names(everybody)} want different content on one path")
    for name, others in _colliding(entries):
        claims = [claim for each in (name, *others) for claim in entries[each].claims]
        refuse(name, claims, f"{_names(claims)} want paths that cannot exist side by side: {', '.join(others)}")
    if refused:
        entries = without(entries, refused)
    return WantedRoot(path, tuple(sorted({p for p, _ in projections})), owned, entries, refused,
                      cache), issues


def grown(wanted: WantedRoot, more: WantedRoot) -> WantedRoot | None:
    """A root with entries that are new, or other than they were for those who want them; None when it is not certain
    that this is what joining all of them would give."""
    entries = dict(wanted.entries)
    for name, joined in more.entries.items():
        there = entries.get(name)
        if there is None or there.claims == joined.claims:
            entries[name] = joined
        elif there.body == joined.body and {claim[:2] for claim in there.claims}.isdisjoint(
                claim[:2] for claim in joined.claims):          # else its witness or its order may be another
            claims = _merged((*there.claims, *joined.claims))
            entries[name] = Joined(joined.body, claims, min(there.order, joined.order))
        else:
            return None
    return replace(wanted, entries=entries)


def _common(one: Body, other: Body) -> Weight | None:
    """A link to the blob that both want, of a kind that suits both; None when there is none."""
    if not (isinstance(one, Weight) and isinstance(other, Weight)) or one.blob != other.blob:
        return None
    kinds = tuple(kind for kind in one.kinds if kind in other.kinds)
    return Weight(one.blob, one.bytes, kinds) if kinds else None


def _unsafe(name: str) -> str:
    try:
        check_relative(name)
    except UnsafeName as error:
        return error.message
    return ""


def _merged(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """One claim for each provider and variant, which is its witness when any of them says so."""
    found: dict[tuple[str, Key | None], Claim] = {}
    for claim in claims:
        known = found.get(claim[:2])
        found[claim[:2]] = claim if known is None else known._replace(witness=known.witness or claim.witness)
    return tuple(found.values())


def _names(claims: Iterable[Claim]) -> str:
    return " and ".join(sorted({f"{c.provider} for {c.key}" if c.key else c.provider for c in claims}))


def _colliding(entries: Mapping[str, Joined]) -> Iterable[tuple[str, list[str]]]:
    """Paths with the others that they collide with: equal but for case, or a folder that another has as a file."""
    spelt: dict[str, list[str]] = {}
    for name in entries:
        spelt.setdefault(folded(name), []).append(name)
    for first, *others in sorted(sorted(names) for names in spelt.values() if len(names) > 1):
        yield first, others
    for folder in sorted(folders_of(spelt) & spelt.keys()):
        yield min(spelt[folder]), sorted(name for key, names in spelt.items() if key.startswith(f"{folder}/")
                                         for name in names)


def folders_of(paths: Iterable[str]) -> set[str]:
    """Every folder on the way to these relative paths; "" is the root, and there when any path is."""
    folders: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders


def without(entries: Mapping[str, Joined], refused: Container[tuple[str, Key | None]]) -> dict[str, Joined]:
    """The entries without the refused claims; an entry that nobody claims any more is gone."""
    kept: dict[str, Joined] = {}
    for name, joined in entries.items():
        claims = tuple(claim for claim in joined.claims if (claim.provider, claim.key) not in refused)
        if claims:
            kept[name] = joined if len(claims) == len(joined.claims) else joined._replace(claims=claims)
    return kept
