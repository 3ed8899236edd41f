"""The computers that use a store: who they are, what they claim, and taking leave of one that is gone for good."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from helixstore.errors import Ambiguous, Failed, NotFound
from helixstore.fs.access import user_name
from helixstore.results import ForgetReport, HostView
from helixstore.session import Session
from helixstore.store.alive import Alive
from helixstore.store.hosts import Expiry, Forgotten
from helixstore.store.refs import Claimant, Ref, current

__all__ = ["Computers"]

_NS = 10**9


class Computers:
    """The hosts of one store, for programs: `HelixStore.hosts`. One call at a time goes through."""

    def __init__(self, session: Session, lock: AbstractContextManager[object]) -> None:
        self._session, self._lock = session, lock

    def list(self) -> list[HostView]:
        """Every person on every host, this one first, then who was here last."""
        with self._lock:
            return views(self._session)

    def forget(self, host: str, *, uid: int | None = None, dry_run: bool = False,
               ask: Callable[[ForgetReport], bool] | None = None) -> ForgetReport:
        """End the claims of a host, or of one person on it; see `forget`."""
        with self._lock:
            return forget(self._session, host, uid, dry_run=dry_run, ask=ask)


def views(session: Session) -> list[HostView]:
    """Every person on every host, this one first, then who was here last."""
    store = session.store
    expiry = store.hosts.expiry(store.now_ns)
    seen = {one[:2]: one for one in store.hosts.seen()}
    claims = _claims(session, expiry)
    sizes = session.index.holdings()
    found = []
    for host, uid in {*store.hosts.people(), *claims}:
        last = seen.get((host, uid))
        theirs = claims.get((host, uid), [])
        blobs = {digest: size for ref in theirs for digest, size in sizes.get(ref.manifest or "", ())}
        ends, forgotten = expiry.ends_ns(host, uid), expiry.forgotten_ns(host, uid)
        found.append(HostView(
            host, store.hosts.name(host), uid, user_name(uid), (host, uid) == (store.host.id, store.host.uid),
            last.since_ns / _NS if last is not None else None, len({ref.name for ref in theirs}), sum(blobs.values()),
            bool(ends), ends / _NS if ends else None, forgotten / _NS if forgotten else None))
    return sorted(found, key=lambda one: (not one.here, -(one.seen or 0), one.id, one.uid))


def _claims(session: Session, expiry: Expiry) -> dict[Claimant, list[Ref]]:
    """What everybody claims and still counts."""
    found: dict[Claimant, list[Ref]] = {}
    for ref in current(session.index.claims()):
        if ref.manifest is not None and not expiry.over(ref.host, ref.uid, ref.mtime_ns):
            found.setdefault(ref.claimant, []).append(ref)
    return found


def forget(session: Session, word: str, uid: int | None, *, dry_run: bool = False,
           ask: Callable[[ForgetReport], bool] | None = None) -> ForgetReport:
    """End what a host has claimed until now, or one person on it. Should it come back, it claims anew.

    Args:
        session: whose store.
        word: the host's id, the beginning of it, or its name.
        uid: whose claims; None for everybody's on that host.
        dry_run: only say what it would mean.
        ask: shown that before anything is done; False leaves all as it is.

    Raises:
        NotFound, Ambiguous: no such host, or several.
        Failed: this person may not: only the store's owner ends another's claims.
    """
    store = session.store
    everybody = views(session)
    chosen = _chosen(word, everybody)
    theirs = tuple(one for one in chosen if uid in (None, one.uid))
    if not theirs:
        raise NotFound(f"nobody with the number {uid} uses the store from {chosen[0].name or chosen[0].id}",
                       "helixstore host list")
    me = store.host.uid
    if any(one.here for one in theirs):
        raise Failed("this is the computer that you are at, and it would claim everything anew at once",
                     "to give models up: helixstore remove MODEL, or helixstore leave")
    may = me in (store.sharing.steward, 0)
    if not may and uid is None and {one.uid for one in theirs} == {me}:
        uid = me
    if not may and uid != me:
        own = (f", or for your own: helixstore host forget {theirs[0].id} --user {me}"
               if any(one.uid == me for one in chosen) else "")
        raise Failed("only the owner of the store ends the claims of others",
                     f"ask {user_name(store.sharing.steward)}" + own, store.path)
    report = ForgetReport(theirs, *_freed(session, theirs[0].id, uid), ended=False)
    if dry_run or (ask is not None and not ask(report)):
        return report
    store.hosts.forget(theirs[0].id, uid)
    return ForgetReport(theirs, report.models, report.frees_bytes, ended=True)


def _chosen(word: str, everybody: Iterable[HostView]) -> list[HostView]:
    every = list(everybody)
    found = [one for one in every if word == one.id] or [one for one in every if word == one.name] or [
        one for one in every if len(word) > 3 and one.id.startswith(word)]
    ids = sorted({one.id for one in found})
    if not found:
        raise NotFound(f"no computer that uses this store is called {word}", "helixstore host list")
    if len(ids) > 1:
        raise Ambiguous(f"{word} means {len(ids)} computers: {', '.join(ids)}",
                        "name one by its id: helixstore host list")
    return found


def _freed(session: Session, host: str, uid: int | None) -> tuple[tuple[str, ...], int]:
    """What nobody else claims: the names of the models, and the bytes."""
    store, index = session.store, session.index
    now_ns = store.now_ns()
    alive = Alive(store, index)
    claimed, _ = alive.read()
    without, _ = alive.read(Forgotten("", host, uid, now_ns + 1))
    only = claimed - without
    holdings = index.holdings() if only else {}
    sizes = {digest: size for files in holdings.values() for digest, size in files}
    names = {ref.name for ref in current(index.claims()) if ref.manifest is not None and ref.host == host
             and any(digest in only for digest, _ in holdings.get(ref.manifest, ()))} if only else set()
    return tuple(sorted(names)), sum(sizes.get(digest, 0) for digest in only)
