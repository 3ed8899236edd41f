"""`HelixStore`: everything that helixstore can do, for programs and for the command line alike.

It never prompts, prints, or reads arguments. Each method opens what it needs when it is first needed, so that making
an object costs nothing; one object may be used from several threads, one call at a time going through.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import update_wrapper
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from helixstore.commands.without_store import WithoutStore
from helixstore.errors import NotFound, Usage
from helixstore.session import FORBIDDEN, LAST_ISSUES, Session, disks_changed
from helixstore.values import LIBRARY, Format

if TYPE_CHECKING:
    from helixstore.commands.hosts import Computers
    from helixstore.commands.volumes import Disks
    from helixstore.index import ReindexReport
    from helixstore.results import (
        Check,
        DownloadReport,
        Explanation,
        Model,
        Mounts,
        ProviderDetail,
        ProviderView,
        Status,
        SyncReport,
        UsageTable,
        Verdict,
    )
    from helixstore.settings import Setting
    from helixstore.store.gc import CollectReport
    from helixstore.store.verify import VerifyReport
    from helixstore.sync.wanted import Ask, Change, Progress
    from helixstore.watch.service import Service
    from helixstore.watch.told import Told
    from helixstore.watch.watch import Watch

__all__ = ["HelixStore"]

P = ParamSpec("P")
R = TypeVar("R")


def _one_at_a_time(
    method: Callable[Concatenate[HelixStore, P], R],
) -> Callable[Concatenate[HelixStore, P], R]:
    """The method under the object's lock."""
    def locked(self: HelixStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            return method(self, *args, **kwargs)

    update_wrapper(locked, method)
    return locked


class HelixStore(WithoutStore):
    """A store, and this person's view of it.

    Args:
        path: the store's folder; made when it is missing or empty. None: the configured store, which must exist.
        environ: environment variables; the process's own by default. HOME decides whose settings and programs.
        progress: (what, path, bytes done, bytes in all), called from the thread that works.

    Raises:
        NotFound: no store is configured, or it is not there.
        StoreError: the folder is not a store, or one that only a newer helixstore can use.

    Example:
        >>> from helixstore import HelixStore, Format
        >>> with HelixStore() as store:
        ...     store.sync()
        ...     gguf = store.path("gemma-3-270m", Format.GGUF)
    """

    def __init__(
        self, path: str | Path | None = None, *, environ: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        folder = Path(path) if path is not None else None
        self._session = Session(dict(os.environ if environ is None else environ), folder=folder,
                                create=folder is not None and _empty(folder))
        self._progress = progress
        self._lock = threading.RLock()
        self.folder = self._session.store.path
        self.id = self._session.store.id

    def close(self) -> None:
        """Let go of the index; the object can be used again afterwards."""
        self._session.close()

    def __enter__(self) -> HelixStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- ask -------------------------------------------------------------------------------------------------------

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """One small mapping per variant, the fastest list; who gets nothing, whatever it is, is not named with each."""
        silent = {(name, "pending") for name in json.loads(self._informed().index.state(FORBIDDEN) or b"{}")}
        shown: dict[int, Mapping[str, str]] = {}        # most models stand alike, and share one mapping
        for row in self._informed().index.rows():
            states = row["providers"]
            if id(states) not in shown:
                shown[id(states)] = {name: state for name, state in states.items()
                                     if name != LIBRARY and (name, state) not in silent}
            row["providers"] = shown[id(states)]
            yield row

    @_one_at_a_time
    def shared_models(self) -> list[Model]:
        """Every model with its variants, and how each stands with each provider."""
        from helixstore.commands.queries import models

        return models(self._informed())

    @_one_at_a_time
    def show(self, ref: str) -> Model:
        """One model by any name a program uses for it."""
        from helixstore.commands.queries import show

        return show(self._informed(), ref)

    @_one_at_a_time
    def path(self, ref: str, format: Format | str | None = None) -> Path:
        """Where a program can load the model from: a file with its real name, or a folder. Answers without the index.

        Raises:
            NotFound: no such model, or not in that format.
            Ambiguous: several variants fit; the message lists them.
        """
        from helixstore.commands.queries import path

        return path(self._session, ref, Format(format) if format is not None else None)

    @_one_at_a_time
    def explain(self, subject: str) -> Explanation:
        """What a path or a model is, how it is linked, and why so."""
        from helixstore.commands.explain import explain

        return explain(self._informed(), subject)

    @_one_at_a_time
    def status(self) -> Status:
        """The store's figures, each provider's state, and what is wrong."""
        from helixstore.commands.queries import status

        return status(self._informed())

    @_one_at_a_time
    def du(self, by: str = "model") -> UsageTable:
        """Who uses what, and what each would free: by "model", "provider", "user" or "month", and the total."""
        from helixstore.commands.usage import usage

        return usage(self._informed(), by)

    @_one_at_a_time
    def compat(self, subject: str, provider: str | None = None) -> list[Verdict]:
        """Whether providers can run a model, or a file or folder that is not in the store yet."""
        from helixstore.commands.queries import compat

        return compat(self._session, subject, provider)

    @_one_at_a_time
    def doctor(self) -> list[Check]:
        """What holds and what does not, found out by trying."""
        from helixstore.commands.doctor import doctor

        return doctor(self._session)

    @_one_at_a_time
    def providers(self) -> list[ProviderView]:
        """Every provider: on or off, installed or not, where its roots are."""
        from helixstore.commands.queries import providers

        return providers(self._session)

    @_one_at_a_time
    def provider(self, name: str) -> ProviderDetail:
        """One provider in full: how its folders stand, and by which links its models lie there."""
        from helixstore.commands.queries import provider

        return provider(self._session, name)

    @_one_at_a_time
    def mounts(self, provider: str) -> Mounts:
        """The folders that a container needs so that this program in it sees the same models, read only.

        Raises:
            NotFound: none of the program's folders is there.
        """
        from helixstore.commands.containers import mounts

        return mounts(self._session, provider)

    @_one_at_a_time
    def log(self, limit: int = 20) -> list[Mapping[str, Any]]:
        """The latest operations first."""
        return [one.describe() for one in self._session.farm.operations()[:limit]]

    @_one_at_a_time
    def config(self) -> list[Setting]:
        """Every setting with its value and where it comes from."""
        from helixstore.settings import listing

        return listing(self._session.settings)

    # ---- change ----------------------------------------------------------------------------------------------------

    @_one_at_a_time
    def sync(
        self, *, providers: Sequence[str] | None = None, restore: bool = False, save_plan: Path | None = None,
        keep: str | None = None, dry_run: bool = False, ask: Ask | None = None,
    ) -> SyncReport:
        """Scan all roots, adopt what is there, and show every model to every provider that can load it.

        Args:
            providers: only these.
            restore: bring back what was deleted or declined.
            save_plan: write the plan there instead of carrying it out.
            keep: of files that are on several disks, keep the copy on this volume only ("main": the store's own disk).
            dry_run: say what would be done.
            ask: shown the plan when files are adopted or replaced; False stops.
        """
        for name in providers or ():
            self._session.layout(name)
        wanted = _change("sync", providers=providers, restore=restore)
        if keep is not None:
            from helixstore.commands.moving import across

            return across(self._session, wanted, keep, dry_run=dry_run, ask=ask, progress=self._progress)
        return self._change(wanted, dry_run=dry_run, ask=ask, save_plan=save_plan)

    @_one_at_a_time
    def plan(self) -> SyncReport:
        """What `sync` would do."""
        return self._change(_change("sync"), dry_run=True)

    @_one_at_a_time
    def apply_file(self, file: str | Path, *, dry_run: bool = False) -> SyncReport:
        """Carry out a saved plan.

        Raises:
            PlanOutdated: something is not as it was when the plan was made; nothing was changed.
        """
        from helixstore.sync.change import apply_file

        return apply_file(self._session, Path(file), dry_run=dry_run, progress=self._progress)

    @_one_at_a_time
    def add(self, path: str | Path, *, name: str | None = None, dry_run: bool = False) -> SyncReport:
        """Take a file or folder into the store, from any disk, and show it to all providers; it stays where it is."""
        return self._change(_change("add", paths=((_there(path), name),), scan=False, copy=True), dry_run=dry_run)

    @_one_at_a_time
    def download(
        self, what: str, *, format: str | None = None, quantization: str = "", name: str | None = None,
        dry_run: bool = False,
    ) -> DownloadReport:
        """Download a model, and show it to all providers; see `helixstore.commands.download`."""
        from helixstore.commands.download import download

        return download(self._session, what, format=format, quantization=quantization, name=name, dry_run=dry_run,
                        progress=self._progress)

    @_one_at_a_time
    def share(
        self, target: str | Path, *, provider: str | None = None, name: str | None = None, dry_run: bool = False
    ) -> SyncReport:
        """Share a model of the store, or a file or folder, with all providers or with one by name."""
        from helixstore.commands.intents import share

        return share(self._session, str(target), provider, name, dry_run=dry_run, progress=self._progress)

    @_one_at_a_time
    def hide(self, ref: str, provider: str, *, dry_run: bool = False) -> SyncReport:
        """Take a model out of one provider; later syncs leave it out."""
        from helixstore.commands.intents import hide

        return hide(self._session, ref, provider, dry_run=dry_run)

    @_one_at_a_time
    def unhide(self, ref: str, provider: str | None = None, *, dry_run: bool = False) -> SyncReport:
        """Show a model again where it was hidden or deleted."""
        from helixstore.commands.intents import unhide

        return unhide(self._session, ref, provider, dry_run=dry_run)

    @_one_at_a_time
    def pin(self, ref: str, pinned: bool = True) -> None:
        """Keep a variant at its version, or no longer."""
        from helixstore.commands.intents import pin

        pin(self._session, ref, pinned)

    def unpin(self, ref: str) -> None:
        """Let a variant follow its source again."""
        self.pin(ref, False)

    @_one_at_a_time
    def link(self, ref: str, folder: str | Path, *, dry_run: bool = False) -> SyncReport:
        """Put the model's files, under their real names, into a folder of the person's."""
        from helixstore.commands.intents import link

        return link(self._session, ref, Path(os.path.abspath(folder)), dry_run=dry_run)

    @_one_at_a_time
    def remove(
        self, ref: str | None = None, *, unused: bool = False, everyone: bool = False, dry_run: bool = False,
        ask: Ask | None = None,
    ) -> SyncReport:
        """Drop this person's claim on a model, or (the store's owner) everyone's, and the links made for it.

        Paths that the person gave stay; bytes go by `gc`.
        """
        from helixstore.commands.intents import remove

        if (ref is None) == (not unused):
            raise Usage("name a model, or ask for the unused ones", "helixstore remove MODEL, or remove --unused")
        return remove(self._session, ref, everyone=everyone, dry_run=dry_run, ask=ask)

    @_one_at_a_time
    def undo(self, n: int = 1, *, dry_run: bool = False, ask: Ask | None = None) -> SyncReport:
        """Walk back the latest `n` operations."""
        from helixstore.commands.back import undo

        return undo(self._session, n, dry_run=dry_run, ask=ask)

    @_one_at_a_time
    def leave(self, provider: str | None = None, *, dry_run: bool = False, ask: Ask | None = None) -> SyncReport:
        """Make every linked or adopted file an ordinary one in its place: the way out, at any time."""
        from helixstore.commands.back import leave

        return leave(self._session, provider, dry_run=dry_run, ask=ask)

    @_one_at_a_time
    def set_provider(self, name: str, *, on: bool | None = None, root: str | Path | None = None) -> None:
        """Turn a provider on or off, or say where its folder is. The next sync acts on it."""
        from helixstore.settings import set_value

        self._session.layout(name)
        if on is not None:
            set_value(self._session.places, f"providers.{name}.on", on)
        if root is not None:
            set_value(self._session.places, f"providers.{name}.root", Path(os.path.abspath(root)))
        self._session.forget_settings()

    @_one_at_a_time
    def set_config(self, key: str, value: Any) -> None:
        """Write one setting; None takes it out."""
        from helixstore.settings import set_value

        set_value(self._session.places, key, value)
        self._session.forget_settings()

    def watch(self, tell: Callable[[Told], None] = lambda told: None) -> Watch:
        """What keeps everything in step as programs and people change it, once its `run` is called, until its `stop`.

        Args:
            tell: is told what happens, mostly by the thread that runs.
        """
        from helixstore.watch.watch import Watch

        return Watch(self._session, self._lock, tell, self._progress)

    @_one_at_a_time
    def watch_service(self, install: bool = True, *, dry_run: bool = False) -> Service:
        """Have the system run a watch from login on, or no more."""
        from helixstore.watch import service

        return (service.install if install else service.uninstall)(self._session, dry_run=dry_run)

    @property
    def volumes(self) -> Disks:
        """The disks that the store lies on: list, add, move a model, detach, remove."""
        from helixstore.commands.volumes import Disks

        return Disks(self._session, self._lock, self._progress)

    @property
    def hosts(self) -> Computers:
        """The computers that use the store: list them, forget one that is gone for good."""
        from helixstore.commands.hosts import Computers

        return Computers(self._session, self._lock)

    @property
    def notes(self) -> Sequence[str]:
        """What a person should hear before anything else: that this computer was forgotten, and has come back."""
        return self._session.notes

    # ---- upkeep ----------------------------------------------------------------------------------------------------

    @_one_at_a_time
    def trash(self) -> list[Mapping[str, Any]]:
        """What `gc` moved out of the way and can still be restored."""
        from helixstore.commands.upkeep import trash

        return trash(self._session)

    @_one_at_a_time
    def restore_from_trash(self, which: str) -> int:
        """Bring back an epoch, or one digest; the number of blobs that came back."""
        from helixstore.commands.upkeep import restore

        return restore(self._session, which)

    @_one_at_a_time
    def gc(self, *, now: bool = False, dry_run: bool = False) -> CollectReport:
        """Let go of what nobody claims: condemned, then in the trash, then gone."""
        from helixstore.commands.upkeep import collect

        return collect(self._session, now=now, dry_run=dry_run)

    @_one_at_a_time
    def verify(
        self, ref: str | None = None, *, sample: str | None = None, repair: bool = False,
        source: Sequence[str | Path] = (), dry_run: bool = False,
    ) -> VerifyReport:
        """Read blobs again and compare them with their names; what is wrong is quarantined, never deleted.

        Args:
            ref: the model; None for the whole store.
            sample: only "5%", "20GB" or "100" files; first what was not read for the longest time.
            repair: bring damaged and missing files back from other copies, or from where they came.
            source: files, folders or other stores that may have them.
            dry_run: write and fetch nothing; with `repair` say what would be taken from where.
        """
        from helixstore.commands.upkeep import verify

        return verify(self._session, ref, self._progress, sample=sample, repair=repair,
                      sources=[Path(one) for one in source], dry_run=dry_run)

    @_one_at_a_time
    def reindex(self) -> ReindexReport:
        """Make the index anew from the store."""
        from helixstore.commands.upkeep import reindex

        return reindex(self._session, self._progress)

    def _informed(self) -> Session:
        """The session, when its index knows how every variant stands: it may be new, or disks have come or gone."""
        self._session.store.volumes.refresh()
        if self._session.index.state(LAST_ISSUES) is None or disks_changed(self._session):
            from helixstore.sync.change import state_anew

            state_anew(self._session)
        return self._session

    def _change(self, wanted: Change, *, dry_run: bool = False, ask: Ask | None = None,
                save_plan: Path | None = None) -> SyncReport:
        from helixstore.sync.change import change

        return change(self._session, wanted, dry_run=dry_run, ask=ask, progress=self._progress, save_plan=save_plan)


def _change(command: str, **wanted: Any) -> Change:
    from helixstore.sync.wanted import Change

    return Change(command, **wanted)


def _there(path: str | Path) -> Path:
    """`path`, absolute; NotFound when nothing is there."""
    absolute = Path(os.path.abspath(path))
    if not os.path.lexists(absolute):
        raise NotFound(f"there is no file or folder {absolute}", "", absolute)
    return absolute


def _empty(folder: Path) -> bool:
    """Whether a store may be made in `folder`: it is missing, or holds nothing."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
