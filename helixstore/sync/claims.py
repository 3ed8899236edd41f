"""What this person claims from now on: what was taken in, names that moved or went, and what others' models are shown.

A model that somebody else leads and that this person's programs show is claimed too, before the first link: while the
claim is current, nobody's collection lets go of what these links lead to, whatever the other one does with theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from helixstore.farm.handlers import Move
from helixstore.index.from_refs import offered
from helixstore.session import Session
from helixstore.store.refs import Ref, claimant_of, current
from helixstore.sync.intake import Intake
from helixstore.values import Key, Source, Variant

__all__ = ["claim_again", "claim_of", "claims", "claims_of_others", "without_mine"]


def claims(
    session: Session, intake: Intake, renamed: Mapping[Key, tuple[Source, ...]], wanted: Sequence[Move],
) -> list[Move]:
    """The claims that a change makes and gives up, one for each name.

    Args:
        session: whose index says what is claimed now.
        intake: what was taken in, and which variants lost their name by that.
        renamed: variants that lost one of several names, with the sources that are left.
        wanted: what the command itself asks for.
    """
    contents: dict[Key, str] = {}
    latest: dict[Key, Move] = {}
    for item in intake.new:                 # found in several places: one ref, with all of its sources
        key = item.placed.key
        if item.placed.fresh:
            contents[key] = item.manifest.encode().decode()
        latest[key] = Move(key, item.placed.manifest, contents.get(key), item.placed.sources,
                           before=claim_of(session, key))
    for lost in intake.lost:
        before = claim_of(session, lost.key)
        other = None if lost.sources else without_mine(session, lost.key, lost.manifest)
        latest[lost.key] = Move(lost.key, lost.manifest if lost.sources or other else None, contents.get(lost.key),
                                lost.sources, before=before, follows=other)
    for key, sources in renamed.items():
        before = claim_of(session, key)
        if (known := latest.get(key)) or before:
            manifest = known.manifest if known else before.manifest if before else None
            latest[key] = Move(key, manifest, contents.get(key), sources, before=before)
    told = {*latest, *(move.key for move in wanted)}
    for key, manifest, leader in session.index.unclaimed():
        if key not in told:
            latest[key] = Move(key, manifest, before=claim_of(session, key), follows=leader)
    return list({**latest, **{move.key: move for move in wanted}}.values())


def claim_of(session: Session, key: Key) -> Ref | None:
    """This person's current claim on a name; None when there is none. A tombstone is one."""
    mine = session.index.claimed(key)
    return mine[-1] if mine else None


def without_mine(session: Session, key: Key, manifest: str) -> str | None:
    """`<host>/<uid>` of somebody else who claims this content under this name; None when nobody does."""
    me = claimant_of(session.store.host)
    others = (ref for ref in current(session.index.claims()) if ref.claimant != me and ref.manifest == manifest
              and (ref.name, ref.variant) == key)
    return next((f"{ref.host}/{ref.uid}" for ref in others), None)


def claims_of_others(session: Session, variants: Iterable[Variant]) -> list[Ref]:
    """The current claims of everybody else on the content of these variants, under whatever name."""
    me, manifests = claimant_of(session.store.host), {variant.manifest for variant in variants}
    return [ref for ref in current(session.index.claims()) if ref.claimant != me and ref.manifest in manifests]


def claim_again(session: Session, name: str) -> list[Move]:
    """The moves that follow what others claim under a name that this person withdrew.

    Raises:
        Ambiguous, NotFound: as `Index.find`.
    """
    return [Move(key := Key(ref.name, ref.variant), ref.manifest, before=claim_of(session, key),
                 follows=f"{ref.host}/{ref.uid}") for ref in offered(session.store, name)]
