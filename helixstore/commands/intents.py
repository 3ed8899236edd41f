"""What a person wants of single models: shared, hidden, pinned, linked somewhere, removed.

Each is a `Change` of the farm that goes the same way as a sync, without looking for new models.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from helixstore.errors import Failed, NotFound
from helixstore.farm.handlers import Move
from helixstore.farm.library import Library
from helixstore.fs.access import user_name
from helixstore.providers.layout import Copy, Entry, Weight
from helixstore.providers.reader import DiskReader
from helixstore.results import SyncReport
from helixstore.session import Session
from helixstore.sync.change import change
from helixstore.sync.claims import claim_again, claim_of, claims_of_others
from helixstore.sync.disks import must_be_here
from helixstore.sync.intake import LINKED_ROLES, Intake
from helixstore.sync.others import prove
from helixstore.sync.progress import Progress
from helixstore.sync.reporting import report
from helixstore.sync.wanted import Ask, Change
from helixstore.values import Key, LinkKind, State, Variant

__all__ = ["hide", "link", "pin", "remove", "share", "unhide"]


def share(
    session: Session, target: str, provider: str | None, name: str | None, *, dry_run: bool = False,
    progress: Progress | None = None,
) -> SyncReport:
    """Share a path, or a model by name, with all providers or with one.

    A path that exists wins over a model of the same name, unless it has no folder part and the model exists.

    Raises:
        Failed: that one provider cannot load it; nothing was changed.
    """
    if provider is not None:
        _loadable(session, target, provider)
    path = Path(os.path.abspath(target))
    if os.path.lexists(path) and (os.sep in target or name is not None or not _is_model(session, target)):
        wanted = Change("share", scan=False, paths=((path, name),), only=provider or "", accept=_below(session, path))
        return change(session, wanted, dry_run=dry_run, progress=progress)
    first = SyncReport()
    try:
        variants = session.index.find(target)
    except NotFound:                                        # withdrawn by this person, and still here by others
        first = change(session, Change("share", scan=False, moves=claim_again(session, target)), dry_run=dry_run)
        if dry_run:
            return first
        variants = session.index.find(target)
    wanted = Change("share", scan=False, only=provider or "", models={v.key.model for v in variants},
                    unhide=[(provider or "", v.key) for v in variants])
    return first.then(change(session, wanted, dry_run=dry_run, progress=progress))


def _loadable(session: Session, target: str, provider: str) -> None:
    """Nothing, if the provider can load one of the variants that `target` means."""
    from helixstore.commands.queries import compat

    verdicts = compat(session, target, provider)
    if verdicts and all(verdict.answer != "yes" for verdict in verdicts):
        first = verdicts[0]
        raise Failed(f"format {first.variant.partition(':')[0]} is not compatible with provider {provider}",
                     f"{first.reason}; `helixstore compat {target}` names the providers that can load it")


def hide(session: Session, ref: str, provider: str, *, dry_run: bool = False) -> SyncReport:
    """Take the variants that `ref` means out of one provider."""
    session.layout(provider)
    wanted = Change("hide", scan=False, hide=[(provider, v.key) for v in session.index.find(ref)])
    others = _neighbours(session, provider, (key for _, key in wanted.hide), {State.LINKED})
    done = change(session, wanted, dry_run=dry_run)
    return _noting(done, others, f"where it stays for them, and {provider} may find it")


def unhide(session: Session, ref: str, provider: str | None, *, dry_run: bool = False) -> SyncReport:
    """Show them again in one provider, or everywhere."""
    if provider is not None:
        session.layout(provider)
    wanted = Change("unhide", scan=False, unhide=[
        (name, v.key) for v in session.index.find(ref) for name in _lifted(session, provider or "", v.key)])
    others = _neighbours(session, provider, (key for _, key in wanted.unhide), {State.LINKED, State.HIDDEN})
    return _noting(change(session, wanted, dry_run=dry_run), others, "and find it too")


def _lifted(session: Session, provider: str, key: Key) -> list[str]:
    """The provider, and those in whose common folder the variant was deleted: it is back there for all of them."""
    rows = [row for row in session.farm.intent.hidden() if (row["model"], row["variant"]) == key]
    by_command = {row["provider"] for row in rows if not row["root"]}
    together = {name for row in rows if provider in row.get("providers", ()) for name in row["providers"]}
    return [provider, *sorted(together - by_command - {provider})]


def _neighbours(session: Session, provider: str | None, keys: Iterable[Key], states: Container[str]) -> list[str]:
    """The other programs that read a folder of the provider's, and with which one of the variants stands so."""
    everywhere = list(session.roots(DiskReader(session.places.home), session.farms))
    folders = {place.root.path for place in everywhere if place.provider == provider}
    standings = session.index.standings(keys).values()
    return list(dict.fromkeys(
        place.provider for place in everywhere
        if place.on and place.provider != provider and place.root.path in folders
        and any(name == place.provider and one.state in states for stands in standings for name, one in stands.items())
    ))


def _noting(done: SyncReport, others: Sequence[str], what: str) -> SyncReport:
    """The report, with the programs that read the same folder."""
    verb = "read" if len(others) > 1 else "reads"
    note = f"{' '.join(others)} {verb} the same folder, {what}"
    return replace(done, notes=(*done.notes, note)) if others else done


def pin(session: Session, ref: str, pinned: bool) -> None:
    """Write a ref that says so for each variant that `ref` means."""
    moves = [Move(v.key, v.manifest, None, v.sources, pinned, claim_of(session, v.key))
             for v in session.index.find(ref) if v.pinned is not pinned]
    change(session, Change("pin" if pinned else "unpin", scan=False, moves=moves))


def link(session: Session, ref: str, folder: Path, *, dry_run: bool = False) -> SyncReport:
    """Put the files of one model into `folder` under their real names; all variants that `ref` means.

    The links are recorded like those of a provider, so that `undo` and `leave` know them; no sync changes them.

    Raises:
        NotFound: one of them is on a disk that is not here.
    """
    from helixstore.farm.desired import join

    if not dry_run:
        session.farm.recover()
    variants = session.index.find(ref)
    must_be_here(session, variants)
    entries = [_entry(variant, index) for variant in variants for index in range(len(variant.files))]
    root, issues = join(str(folder), [("link", entries)])
    plan = session.farm.plan([root])
    if dry_run:
        return report(plan, Intake(), [*issues, *plan.issues], dry_run=True)
    prove(session, plan)
    outcome = session.farm.apply(plan, command="link")
    return report(plan, Intake(), [*issues, *plan.issues, *outcome.issues], dry_run=False, operation=outcome.number)


def remove(
    session: Session, ref: str | None, *, everyone: bool = False, dry_run: bool = False, ask: Ask | None = None,
) -> SyncReport:
    """Withdraw the names of what `ref` means, or (None) of what no provider shows, and take our links away.

    Paths that the person gave stay, and are left alone from now on, so that the next sync does not bring it back.
    Other people's claims stay, unless the store's owner withdraws them too (`everyone`).

    Raises:
        Failed: `everyone`, and this person does not own the store.
    """
    owner = os.stat(session.store.path).st_uid
    if everyone and session.store.host.uid not in (owner, 0):
        raise Failed(f"only {user_name(owner)}, who owns the store, can remove a model for everyone",
                     "without --everyone it is removed for you")
    if not dry_run:
        session.farm.recover()                  # one that was cut short has withdrawn the name already
    variants = session.index.find(ref) if ref is not None else _unused(session)
    if not variants:
        return SyncReport(dry_run=dry_run)
    keys, others = {variant.key for variant in variants}, claims_of_others(session, variants)
    moves = [Move(v.key, None, before=claim_of(session, v.key),
                  others=[o.id for o in others if everyone and o.manifest == v.manifest]) for v in variants]
    wanted = Change("remove", scan=False, moves=moves,
                    decline=sorted({*(path for path, owners in _adopted(session).items() if owners <= keys),
                                    *_lent(session, variants)}))
    expiry = session.store.hosts.expiry(session.store.now_ns)
    counting = [one for one in others if not expiry.over(one.host, one.uid, one.mtime_ns)]
    people = ", ".join(sorted({user_name(other.uid) for other in counting}))
    what = "it leaves their programs at their next sync" if everyone else "so its bytes stay in the store"
    note = f"also claimed by {people}: {what}" if counting else ""

    def noted(done: SyncReport) -> SyncReport:
        return replace(done, notes=(*done.notes, note)) if note else done

    if ask is not None and not dry_run and not ask(noted(change(session, wanted, dry_run=True))):
        return SyncReport(dry_run=True)
    return noted(change(session, wanted, dry_run=dry_run))


def _entry(variant: Variant, index: int) -> Entry:
    file = variant.files[index]
    kinds = (LinkKind.HARD, LinkKind.SYMBOLIC)
    body = Weight(file.blake3, file.bytes, kinds) if file.role in LINKED_ROLES else Copy(file.blake3, file.bytes)
    return Entry(file.path, body, variant.key, witness=index == 0)


def _adopted(session: Session) -> dict[str, set[Key]]:
    """Every path that was adopted where it lies -> the variants it belongs to."""
    return {path: set(record.keys) for path, record in session.farm.ledgers.of("").records.items()}


def _lent(session: Session, variants: Iterable[Variant]) -> Iterator[str]:
    """Weights that we linked and with which the person made models of their own in the program: these stay there."""
    own = {(source.program, variant.key) for variant in variants for source in variant.sources if source.sidecars}
    for root in session.farm.roots():
        for record in session.farm.ledgers.of(root).records.values():
            if record.kind in ("hard", "symlink") and any(claim[:2] in own for claim in record.claims):
                yield f"{root}/{record.path}"


def _unused(session: Session) -> list[Variant]:
    """Variants that no program shows and that no path of the person's holds: only the store has them.

    From what is away nothing is concluded.
    """
    variants = session.index.variants()
    standings = session.index.standings(variant.key for variant in variants)
    adopted = {key for path, owners in _adopted(session).items() if os.path.lexists(path) for key in owners}
    return [v for v in variants if v.key not in adopted and not any(
        one.state is State.AWAY or (one.state is State.LINKED and name != Library.name)
        for name, one in standings[v.key].items())]


def _is_model(session: Session, name: str) -> bool:
    try:
        return bool(session.index.find(name))
    except NotFound:
        return False


def _below(session: Session, path: Path) -> Sequence[str]:
    """The declined paths that `share PATH` takes back: PATH itself and what lies below it."""
    real = os.path.realpath(path)
    return [one for one in session.farm.intent.declined() if one == real or one.startswith(real + os.sep)]

