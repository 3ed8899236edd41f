"""A download where nobody can be asked: what the store has whole of what is meant, and as of when that was so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from helixstore.catalogue import parse_reference
from helixstore.catalogue.references import HubReference
from helixstore.commands.here import led_to, names_branch, what_is_here
from helixstore.commands.judging import demand_here, judge
from helixstore.commands.prospects import Wish, hardware_of
from helixstore.commands.versions import versions_of
from helixstore.download.getting import free_bytes
from helixstore.download.results import DownloadReport, RemoteState
from helixstore.errors import Usage
from helixstore.results import SyncReport
from helixstore.session import Session
from helixstore.values import Source, Variant

__all__ = ["kept_here", "report_of"]


def kept_here(session: Session, what: str, wish: Wish, provider: str = "", name: str | None = None) -> Variant | None:
    """What the store has whole that a download means; None where it has none, or only the place could tell.

    Args:
        session: whose store.
        what, wish, name: as of the download. All quantisations that there are nobody knows without asking.
        provider: that must be able to run it here; "": nobody in particular.
    """
    if wish.quantization == "all":
        return None
    found = what_is_here(session, _exact(session, what), wish.format, wish.wanted)
    if found is None or name not in (None, found.key.model) or _source(found) is None:
        return None
    if not all(session.store.blobs.exists(file.blake3) for file in found.files):
        return None
    if provider:
        hardware = hardware_of(session, wish.memory)
        demand = demand_here(found, lambda file: str(session.store.blobs.path(file.blake3)), wish.context, hardware)
        if judge(session, session.layout(provider).name, found, demand, hardware).answer != "yes":
            return None
    return found


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
        why=f"{away}. {kept.key.variant} is here already{when}", dry_run=shown is None)


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
