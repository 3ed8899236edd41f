"""How things stand after a change: each variant with each provider, the figures, what waits for the person.

Written into the index by the command that changed something, so that `list`, `show` and `status` only read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from helixstore.errors import HelixError
from helixstore.farm.ledger import Record
from helixstore.farm.library import Library
from helixstore.fs.access import user_name
from helixstore.index.codec import Standing
from helixstore.providers.reader import DiskReader
from helixstore.session import FORBIDDEN, LAST_DISKS, LAST_ISSUES, PlacedRoot, Session, disks_of
from helixstore.sync.projection import Projection, refused_state
from helixstore.values import Issue, Key, State, Variant

__all__ = ["Avoided", "avoided", "keep", "last_issues", "quarantined", "root_states"]

#: kinds of issues that only a look at the files can lift
_OF_FILES = frozenset({"incomplete", "unreadable", "damaged", "unsafe", "unsafe-name"})
_AVOIDED = "copies avoided"


def keep(
    session: Session, variants: Sequence[Variant], projection: Projection, issues: Iterable[Issue] = (),
    providers: Collection[str] | None = None, scanned: bool = False, concerned: Collection[Key] | None = None,
) -> None:
    """Note how every variant stands with every provider that is on.

    Args:
        session: whose ledgers say what is linked.
        variants: the current ones.
        projection: says what a provider refused, and why.
        issues: for `status`.
        providers: the change was about these only; None for all.
        scanned: everything was looked at; otherwise what an earlier look found wrong in files still stands.
        concerned: only how these stand may have changed; None for all.
    """
    if not scanned:
        issues = [*issues, *(one for one in last_issues(session) if one.kind in _OF_FILES)]
    linked = session.farm.states(concerned)
    variants = variants if concerned is None else [variant for variant in variants if variant.key in concerned]
    on = [name for name in session.layouts if session.is_on(name) and (providers is None or name in providers)]
    damaged = Standing(State.QUARANTINED, None, (), "one of its files is not what its digest says")
    corrupt = quarantined(session, variants)
    standings: dict[Key, dict[str, Standing]] = {}
    for variant in variants:
        by_provider = standings[variant.key] = {}
        for name in (*on, Library.name):
            refusal = projection.refusals.get((name, variant.key))
            if variant.key in corrupt and refusal is None:
                by_provider[name] = damaged
            elif refusal is None and (gone := _away(projection, variant.key, linked.get((name, variant.key)))):
                by_provider[name] = gone
            elif (name, variant.key) in projection.far:
                by_provider[name] = Standing(State.PENDING, None, (), projection.far[name, variant.key])
            elif refusal is not None:
                by_provider[name] = Standing(refused_state(variant, refusal), None, (), refusal.reason)
            else:
                why = projection.closed.get(name) or projection.forbidden.get(name, "nothing is projected for it yet")
                waits = Standing(State.PENDING, None, (), why)
                by_provider[name] = linked.get((name, variant.key)) or _unshared(session, name, variant.key) or waits
    about = on if concerned is not None else providers
    session.index.put_standings(standings, None if about is None else {*about, Library.name})
    rows = [[issue.kind, issue.path, issue.message, issue.remedy] for issue in dict.fromkeys(issues)]
    session.index.put_state(LAST_DISKS, disks_of(session))
    session.index.put_state(LAST_ISSUES, json.dumps(rows).encode())
    session.index.put_state(FORBIDDEN, json.dumps(dict(projection.forbidden)).encode())
    if concerned is None:
        _note_avoided(session)


def _away(projection: Projection, key: Key, known: Standing | None) -> Standing | None:
    """Away, where the variant would be linked if its disk were here."""
    if key not in projection.away or (known is not None and known.state in (State.HIDDEN, State.CONFLICT)):
        return None
    return Standing(State.AWAY, None, known.paths if known is not None else (), projection.away[key][0])


def _unshared(session: Session, provider: str, key: Key) -> Standing | None:
    """Off, where the person shared the model with other providers by name."""
    only = session.choices.only(key.model)
    if only is None or provider in only or provider == Library.name:
        return None
    return Standing(State.OFF, None, (), f"shared with {' '.join(only)} only: helixstore share '{key.model}'")


def last_issues(session: Session) -> list[Issue]:
    """What was wrong after the last change."""
    return [Issue(*row) for row in json.loads(session.index.state(LAST_ISSUES) or b"[]")]


def quarantined(session: Session, variants: Iterable[Variant]) -> list[Key]:
    """The variants that have a damaged file; they are handed to nobody."""
    digests = session.store.quarantine.all()
    return [v.key for v in variants if any(f.blake3 in digests for f in v.files)] if digests else []


class Avoided(NamedTuple):
    """Bytes that the links which we made in this person's programs would cost as copies: together, in each program,
    and of each variant. A link that several programs read counts for each; one of several variants for the first."""

    bytes: int
    programs: Mapping[str, int]
    variants: Mapping[Key, int]


def avoided(session: Session) -> Avoided:
    """What linking makes needless now, as the last change left it."""
    total, programs, variants = json.loads(session.index.state(_AVOIDED) or b"[0, {}, []]")
    return Avoided(total, programs, {Key(model, variant): size for model, variant, size in variants})


def _note_avoided(session: Session) -> None:
    """Count it, for `avoided`; and say the sum in the store, where others see it."""
    total, programs, variants = 0, dict[str, int](), dict[Key, int]()
    for record in _avoided_links(session):
        total += record.bytes
        for name in {claim.provider for claim in record.claims}:
            programs[name] = programs.get(name, 0) + record.bytes
        key = next(iter(record.keys), Key("", ""))
        variants[key] = variants.get(key, 0) + record.bytes
    rows = [[*key, size] for key, size in variants.items()]
    session.index.put_state(_AVOIDED, json.dumps([total, programs, rows]).encode())
    with suppress(HelixError):              # a figure: the change itself is done
        session.store.saved.say(user_name(session.store.host.uid), total)


def root_states(
    session: Session, placed: Iterable[PlacedRoot]
) -> tuple[dict[str, tuple[str, str]], list[Issue]]:
    """Provider -> (its first root, "off" | "here" | "new" | "away" | "forbidden"), and what waits for the person."""
    states: dict[str, tuple[str, str]] = {}
    issues = last_issues(session)
    issues += session.index.issues
    ledgers = set(session.farm.roots())
    for place in placed:
        if place.provider in states:
            continue
        root = str(place.root.path)
        state = "here" if os.path.isdir(root) else "away" if root in ledgers else "new"
        if not place.on:
            state = "off"
        elif place.root.forbid:
            state = "forbidden"
        states[place.provider] = (root, state)
    return states, issues


def _avoided_links(session: Session) -> Iterator[Record]:
    """The links we made that would cost their bytes as copies; the library and a program's cache show no model."""
    left_out = {str(session.farms / Library.name)}
    left_out |= {str(place.root.path) for place in session.roots(DiskReader(session.places.home), session.farms)
                 if place.root.cache}
    for root in session.farm.roots():
        if root not in left_out:
            yield from (record for record in session.farm.ledgers.of(root).records.values()
                        if record.origin == "made" and record.kind in ("hard", "symlink"))
