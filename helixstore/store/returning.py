"""A host that comes back after it was forgotten, or after its lease was over: it claims anew what it relies on, before
it does anything else, and learns what is gone. So does one whose refs are older than it knows (`claim_anew`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from helixstore.errors import HelixError
from helixstore.store.manifests import Manifest
from helixstore.store.refs import Claim, Ref, claimant_of, current
from helixstore.store.store import Store

__all__ = ["Returned", "claim_anew", "come_back"]


@dataclass(frozen=True, slots=True)
class Returned:
    """What a host found when it came back.

    Attributes:
        forgotten: somebody had forgotten it; else its lease was over.
        since_ns: when its claims ended, on the store's clock.
        models: the models that it has claimed anew.
        lost: those of which something is gone from the store.
    """

    forgotten: bool
    since_ns: int
    models: tuple[str, ...]
    lost: tuple[str, ...]

    def describe(self) -> str:
        """In one sentence."""
        when = f"{datetime.fromtimestamp(self.since_ns / 1e9, UTC):%Y-%m-%d %H:%M} UTC"
        why = f"this computer was forgotten on {when}" if self.forgotten else f"the lease of this host ended on {when}"
        return f"{why}; what it uses is claimed anew: {len(self.models)} models"


def come_back(store: Store, remembered: Callable[[], Iterable[Ref]] = tuple) -> Returned | None:
    """Claim anew if that is needed; None when it is not, which costs one listing.

    The lease is renewed first, then new refs and keeps are durable, and only then is the record answered: cut short, it
    is done again. Whatever was put into the trash meanwhile is brought back.

    Args:
        store: may be written to.
        remembered: this host's refs as it knows them from before, in case its folder was swept away.
    """
    records = store.hosts.unanswered()
    lapsed_ns = store.hosts.lapsed_ns(store.clock_ns)
    if not records and not lapsed_ns:
        return None
    with store.working():
        last_ns = max((record.since_ns for record in records), default=0)
        store.hosts.say(store.hosts.answered())
        mine = _mine(store, remembered)
        there = {ref.uuid for ref in store.refs.of(store.host.id, store.host.uid)[0]}
        over = [ref for ref in mine if ref.mtime_ns <= last_ns or ref.uuid not in there]
        store.refs.publish_many([Claim(ref.name, ref.variant, ref.manifest, ref.sources, ref.pinned, (ref.uuid,),
                                       ref.follows) for ref in over])
        for operation, since_ns in store.keeps.mine().items():
            if since_ns <= last_ns and (digests := store.keeps.digests(operation)):
                store.keeps.put(operation, digests)
        for operation in store.keeps.mine():
            for digest in store.keeps.digests(operation):
                store.blobs.ensure(digest)
        lost = sorted({ref.name for ref in mine if not _whole(store, ref)})
        store.hosts.say({*store.hosts.answered(), *(record.name for record in records)})
    return Returned(bool(records), last_ns or lapsed_ns, tuple(sorted({ref.name for ref in mine})), tuple(lost))


def claim_anew(
    store: Store, missing: Iterable[tuple[Ref, Manifest | None]], now: Callable[[Ref], Iterable[Ref]],
) -> tuple[list[str], list[str]]:
    """Claim what this person claimed before an older `refs/` was put back, where the bytes are still there.

    Args:
        store: may be written to.
        missing: this person's refs that vanished, and what each named, as far as it is known.
        now: this person's current refs under the same name: the older ones, which these had superseded.

    Returns:
        The names that are claimed again, and those of which something is gone.
    """
    claims, lost = [], []
    with store.working():
        for ref, manifest in missing:
            if manifest is not None:
                store.manifests.write_many([manifest])
            if not _whole(store, ref):
                lost.append(ref.name)
                continue
            claims.append(Claim(ref.name, ref.variant, ref.manifest, ref.sources, ref.pinned,
                                (ref.uuid, *(old.uuid for old in now(ref))), ref.follows))
        store.refs.publish_many(claims)
    return sorted({claim.name for claim in claims}), sorted(set(lost))


def _mine(store: Store, remembered: Callable[[], Iterable[Ref]]) -> list[Ref]:
    """This person's claims that nobody has superseded, whether they count still or not."""
    me = claimant_of(store.host)
    every = {ref.uuid: ref for ref in store.refs.scan()[0]}
    if not any(ref.claimant == me for ref in every.values()):
        every |= {ref.uuid: ref for ref in remembered() if ref.claimant == me and ref.uuid not in every}
    return [ref for ref in current(every.values()) if ref.claimant == me and ref.manifest is not None]


def _whole(store: Store, ref: Ref) -> bool:
    try:
        missing = [digest for digest in store.manifests.blobs(ref.manifest or "") if not store.blobs.ensure(digest)]
    except (HelixError, OSError):
        return False
    else:
        return not missing
