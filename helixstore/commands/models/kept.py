"""A download where nobody can be asked: what the store has whole of what is meant, and as of when that was so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from helixstore.catalogue import parse_reference
from helixstore.catalogue.references import HubReference
from helixstore.commands.models.came import downloaded
from helixstore.commands.models.here import all_that_is_here, led_to, names_branch
from helixstore.commands.models.judging import demand_here, judge
from helixstore.commands.models.prospects import Wish, hardware_of
from helixstore.commands.models.versions import versions_of
from helixstore.download.getting import free_bytes
from helixstore.download.mirrored import Unanswered
from helixstore.download.results import DownloadReport, RemoteState
from helixstore.errors import Passing, Usage
from helixstore.oci.answers import Cut
from helixstore.results import SyncReport, Verdict
from helixstore.session import Session
from helixstore.values import Source, Variant

__all__ = ["AWAY", "all_kept", "kept_here", "report_of", "verdict_here"]

#: that nobody can be asked
AWAY = (Passing, Cut, Unanswered)


def kept_here(session: Session, what: str, wish: Wish, provider: str = "", name: str | None = None) -> Variant | None:
    """What the store has whole that a download means; None where it has none, or only the place could tell.

    Args:
        session: whose store.
        what, wish, name: as of the download. All quantisations that there are nobody knows without asking.
        provider: that must be able to run it here; "": nobody in particular.
    """
    return None if wish.quantization == "all" else next(
        (one for one in all_kept(session, what, wish) if name in (None, one.key.model)
         and (not provider or verdict_here(session, one, wish, provider).answer == "yes")), None)


def all_kept(session: Session, what: str, wish: Wish) -> list[Variant]:
    """All that the store has whole of what a download means, the one that fits this computer best first."""
    return [one for one in all_that_is_here(session, _exact(session, what), wish.format, wish.wanted)
            if _source(one) is not None and all(session.store.blobs.exists(file.blake3) for file in one.files)]


def verdict_here(session: Session, kept: Variant, wish: Wish, provider: str) -> Verdict:
    """Whether a provider can run on this computer what the store has."""
    hardware = hardware_of(session, wish.memory)
    demand = demand_here(kept, lambda file: str(session.store.blobs.path(file.blake3)), wish.context, hardware)
    return judge(session, session.layout(provider).name, kept, demand, hardware)


def report_of(session: Session, kept: Variant, away: str, shown: SyncReport | None) -> DownloadReport:
    """The answer of a download that fetched nothing.

    Args:
        session: whose store.
        kept: of `kept_here`.
        away: why nobody could be asked, without a full stop.
        shown: what became of it in the programs; None: a dry run.
    """
    source = _source(kept)
    assert source is not None
    since = next((ref.mtime_ns for ref in versions_of(session, kept.key) if ref.manifest == kept.manifest), None)
    when = f", as of {datetime.fromtimestamp(since / 1e9, UTC):%Y-%m-%d %H:%M} UTC" if since is not None else ""
    return DownloadReport(
        source.repository or "", source.revision or "", kept.key.model,
        tuple(RemoteState(file.path, file.bytes, file.bytes) for file in kept.files), free_bytes(session), sync=shown,
        why=f"{away}. {kept.key.variant} is here already{when}", variants=downloaded(session, [kept]) if shown else (),
        dry_run=shown is None)


def _exact(session: Session, what: str) -> str:
    """A branch or tag of the hub as the commit to which it led; everything else as it is."""
    try:
        reference = parse_reference(what)
    except Usage:                                       # a name in a registry
        return what
    if isinstance(reference, HubReference) and names_branch(reference) and (commit := led_to(session, reference)):
        return str(replace(reference, revision=commit))
    return what


def _source(variant: Variant) -> Source | None:
    """Where it was downloaded from."""
    return next((one for one in variant.sources if one.repository and one.revision), None)
