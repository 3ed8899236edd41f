"""`HelixStore`: everything that helixstore can do, for programs and for the command line alike.

It never prompts, prints, or reads arguments. Each method opens what it needs when it is first needed, so that making
an object costs nothing; one object may be used from several threads, one call at a time going through.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helixstore.commands.without_store import WithoutStore
from helixstore.errors import NotFound, Usage
from helixstore.looking import Looking, one_at_a_time
from helixstore.values import Format

if TYPE_CHECKING:
    from helixstore.commands.hosts import Computers
    from helixstore.commands.models.download_all import AllReport
    from helixstore.commands.models.push import PushReport
    from helixstore.commands.volumes import Disks
    from helixstore.download.results import DownloadReport, UpdateReport
    from helixstore.index import ReindexReport
    from helixstore.results import SyncReport
    from helixstore.store.gc import CollectReport
    from helixstore.store.verify import VerifyReport
    from helixstore.sync.wanted import Ask, Change
    from helixstore.watch.service import Service
    from helixstore.watch.told import Told
    from helixstore.watch.watch import Watch

__all__ = ["HelixStore"]


class HelixStore(Looking, WithoutStore):
    """A store, and this person's view of it.

    Args:
        path: the store's folder; made when it is missing or empty. None: the configured store, which must exist.
        environ: environment variables; the process's own by default. HOME decides whose settings and programs.
        progress: (what, path, bytes done, bytes in all), called from the thread that works, one call at a time; while a
            server fails ("wait", which one and why, seconds that are over, seconds until it is tried again).

    Raises:
        NotFound: no store is configured, or it is not there.
        StoreError: the folder is not a store, or one that only a newer helixstore can use.

    Example:
        >>> from helixstore import HelixStore, Format
        >>> with HelixStore() as store:
        ...     store.sync()
        ...     gguf = store.path("gemma-3-270m", Format.GGUF)
    """

    # ---- change ----------------------------------------------------------------------------------------------------

    @one_at_a_time
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

    @one_at_a_time
    def plan(self) -> SyncReport:
        """What `sync` would do."""
        return self._change(_change("sync"), dry_run=True)

    @one_at_a_time
    def apply_file(self, file: str | Path, *, dry_run: bool = False) -> SyncReport:
        """Carry out a saved plan.

        Raises:
            PlanOutdated: something is not as it was when the plan was made; nothing was changed.
        """
        from helixstore.sync.change import apply_file

        return apply_file(self._session, Path(file), dry_run=dry_run, progress=self._progress)

    @one_at_a_time
    def add(self, path: str | Path, *, name: str | None = None, dry_run: bool = False) -> SyncReport:
        """Take a file or folder into the store, from any disk, and show it to all providers; it stays where it is."""
        return self._change(_change("add", paths=((_there(path), name),), scan=False, copy=True), dry_run=dry_run)

    @one_at_a_time
    def download(
        self, what: str, *, format: Format | str | None = None, quantization: str = "", provider: str = "",
        context: int = 0, memory: int | None = None, name: str | None = None, dry_run: bool = False,
    ) -> DownloadReport:
        """Download a model by reference or by its name in the catalogue, and show it to all providers; see
        `helixstore.commands.models.download`, and for the format, quantisation, context and memory `prospects.Wish`."""
        from helixstore.commands.models.download import download
        from helixstore.commands.models.prospects import Wish

        return download(self._session, what, Wish(format or "", quantization, context, memory), provider=provider,
                        name=name, dry_run=dry_run, progress=self._progress)

    @one_at_a_time
    def push(self, ref: str, target: str = "", *, form: str = "all", dry_run: bool = False) -> PushReport:
        """Push a model to a registry, `oci://host/name[:tag]`, or to the site's mirror; only what it lacks is sent."""
        from helixstore.commands.models.push import push

        return push(self._session, ref, target, form=form, dry_run=dry_run, progress=self._progress)

    @one_at_a_time
    def download_for_all_providers(
        self, what: str, format: Format | str | None = None, *, context: int = 0, memory: int | None = None,
        dry_run: bool = False,
    ) -> AllReport:
        """Download the smallest set of forms that serves all providers that are on; arguments as of `download`."""
        from helixstore.commands.models.download_all import download_all
        from helixstore.commands.models.prospects import Wish

        return download_all(self._session, what, Wish(format or "", "", context, memory), dry_run=dry_run,
                            progress=self._progress)

    @one_at_a_time
    def get(self, what: str, format: Format | str | None = None) -> Path:
        """Where a program can load a model from: a file, or a folder. What is not here is downloaded first.

        Args:
            what: an exact reference, a name of the catalogue, or any name of a model of the store.
            format: only in this one. Of several that are here, the one that fits this computer best.
        """
        from helixstore.commands.models.get import get

        return get(self._session, what, format or "", self._progress)

    @one_at_a_time
    def update(self, ref: str = "", *, check: bool = False) -> UpdateReport:
        """Bring models that came from the hub to its latest revision, or (check) say what there is."""
        from helixstore.commands.models.update import update

        return update(self._session, ref, check=check, progress=self._progress)

    @one_at_a_time
    def rollback(self, ref: str, to: str = "", *, dry_run: bool = False) -> SyncReport:
        """Let a model be what it was before, or at the version that begins with `to`."""
        from helixstore.commands.models.versions import rollback

        return rollback(self._session, ref, to, dry_run=dry_run, progress=self._progress)

    @one_at_a_time
    def share(
        self, target: str | Path, *, provider: str | None = None, name: str | None = None, dry_run: bool = False
    ) -> SyncReport:
        """Share a model of the store, or a file or folder, with all providers or with one by name."""
        from helixstore.commands.intents import share

        return share(self._session, str(target), provider, name, dry_run=dry_run, progress=self._progress)

    @one_at_a_time
    def hide(self, ref: str, provider: str, *, dry_run: bool = False) -> SyncReport:
        """Take a model out of one provider; later syncs leave it out."""
        from helixstore.commands.intents import hide

        return hide(self._session, ref, provider, dry_run=dry_run)

    @one_at_a_time
    def unhide(self, ref: str, provider: str | None = None, *, dry_run: bool = False) -> SyncReport:
        """Show a model again where it was hidden or deleted."""
        from helixstore.commands.intents import unhide

        return unhide(self._session, ref, provider, dry_run=dry_run)

    @one_at_a_time
    def pin(self, ref: str, pinned: bool = True) -> None:
        """Keep a variant at its version, or no longer."""
        from helixstore.commands.intents import pin

        pin(self._session, ref, pinned)

    def unpin(self, ref: str) -> None:
        """Let a variant follow its source again."""
        self.pin(ref, False)

    @one_at_a_time
    def link(self, ref: str, folder: str | Path, *, dry_run: bool = False) -> SyncReport:
        """Put the model's files, under their real names, into a folder of the person's."""
        from helixstore.commands.intents import link

        return link(self._session, ref, Path(os.path.abspath(folder)), dry_run=dry_run)

    @one_at_a_time
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

    @one_at_a_time
    def undo(self, n: int = 1, *, dry_run: bool = False, ask: Ask | None = None) -> SyncReport:
        """Walk back the latest `n` operations."""
        from helixstore.commands.back import undo

        return undo(self._session, n, dry_run=dry_run, ask=ask)

    @one_at_a_time
    def go_back(self, generation: int, *, dry_run: bool = False, ask: Ask | None = None) -> SyncReport:
        """Let programs show what they showed after an operation, back or forth."""
        from helixstore.commands.generations import go_back

        return go_back(self._session, generation, dry_run=dry_run, ask=ask)

    @one_at_a_time
    def leave(self, provider: str | None = None, *, dry_run: bool = False, ask: Ask | None = None) -> SyncReport:
        """Make every linked or adopted file an ordinary one in its place: the way out, at any time."""
        from helixstore.commands.back import leave

        return leave(self._session, provider, dry_run=dry_run, ask=ask)

    @one_at_a_time
    def set_provider(self, name: str, *, on: bool | None = None, root: str | Path | None = None) -> None:
        """Turn a provider on or off, or say where its folder is. The next sync acts on it."""
        self._session.layout(name)
        if on is not None:
            self._session.set_value(f"providers.{name}.on", on)
        if root is not None:
            self._session.set_value(f"providers.{name}.root", Path(os.path.abspath(root)))
        self._session.forget_settings()

    @one_at_a_time
    def set_config(self, key: str, value: Any) -> None:
        """Write one setting; None takes it out."""
        self._session.set_value(key, value)
        self._session.forget_settings()

    def watch(self, tell: Callable[[Told], None] = lambda told: None) -> Watch:
        """What keeps everything in step as programs and people change it, once its `run` is called, until its `stop`.

        Args:
            tell: is told what happens, mostly by the thread that runs.
        """
        from helixstore.watch.watch import Watch

        return Watch(self._session, self._lock, tell, self._progress)

    @one_at_a_time
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

    # ---- upkeep ----------------------------------------------------------------------------------------------------

    @one_at_a_time
    def trash(self) -> list[Mapping[str, Any]]:
        """What `gc` moved out of the way and can still be restored."""
        from helixstore.commands.trash import listed

        return listed(self._session)

    @one_at_a_time
    def restore_from_trash(self, which: str) -> int:
        """Bring back an epoch, or one digest; the number of blobs that came back."""
        from helixstore.commands.trash import restore

        return restore(self._session, which)

    @one_at_a_time
    def gc(self, *, now: bool = False, dry_run: bool = False) -> CollectReport:
        """Let go of what nobody claims: condemned, then in the trash, then gone.

        Args:
            now: at once what is yours alone, and with it what only `undo` keeps.
            dry_run: only say what would be done.
        """
        from helixstore.commands.gc import collect

        return collect(self._session, now=now, dry_run=dry_run)

    @one_at_a_time
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
        from helixstore.commands.verify import verify

        return verify(self._session, ref, self._progress, sample=sample, repair=repair,
                      sources=[Path(one) for one in source], dry_run=dry_run)

    @one_at_a_time
    def reindex(self) -> ReindexReport:
        """Make the index anew from the store."""
        from helixstore.sync.change import reindex

        return reindex(self._session, self._progress)

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
