"""What one command works with: this person's places and settings, the store, its index, the layouts and their roots."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helixstore.errors import ConfigError, HelixError, IndexUnusable, NotFound, Usage
from helixstore.places import Places
from helixstore.settings import Settings, load, set_value
from helixstore.values import Issue, LinkKind, Source

if TYPE_CHECKING:
    from helixstore.farm.choice import Choices
    from helixstore.farm.farm import Farm
    from helixstore.hub.names import HubNames
    from helixstore.hub.public import PublicRepositories
    from helixstore.index import Index
    from helixstore.providers.layout import Env, Facts, Layout, Reader, Root
    from helixstore.store.refs import Ref
    from helixstore.store.store import Store

__all__ = [
    "FORBIDDEN", "LAST_DISKS", "LAST_ISSUES", "Machine", "PlacedRoot", "Session", "disks_changed", "disks_of",
    "in_store",
]

_MINUTE = 60.0

#: Under this name the index keeps the issues of the last change, and thereby that it knows how things stand.
LAST_ISSUES = "issues of the last sync"


#: Under this name the index keeps which providers' folders get nothing, and why: told once, not of each model.
FORBIDDEN = "forbidden folders"

#: Under this name the index keeps which disks were here at the last change.
LAST_DISKS = "disks of the last sync"


def disks_of(session: Session) -> bytes:
    """Which volumes are here, and where."""
    return repr([(volume.id, volume.path, volume.away) for volume in session.store.volumes.attached]).encode()


def disks_changed(session: Session) -> bool:
    """Whether a volume has come or gone since the last change."""
    return (session.index.state(LAST_DISKS) or b"[]") != disks_of(session)


@dataclass(frozen=True, slots=True)
class PlacedRoot:
    """One root of one provider on this machine; `links`: the kinds that the person allows there, None: the layout's.
    `why`: the reason for which it is off although the provider is on."""

    provider: str
    layout: Layout
    root: Root
    on: bool
    links: tuple[LinkKind, ...] | None = None
    why: str = ""


@dataclass
class Machine:
    """What can be known before there is a store: the person, their settings, and where the programs look.

    Args:
        environ: environment variables; HOME decides where everything lies.
    """

    environ: Mapping[str, str]
    issues: list[Issue] = field(default_factory=list)

    @cached_property
    def places(self) -> Places:
        """Where things lie for this person on this host."""
        return Places.of(self.environ)

    @cached_property
    def settings(self) -> Settings:
        """The site's, the person's and the environment's settings together."""
        return load(self.places, self.environ)

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        """All layouts by name, in the order in which providers are listed."""
        from helixstore.providers.registry import load_layouts

        return load_layouts(self.places.config, self.environ, self.issues.append)

    def layout(self, name: str) -> Layout:
        """The layout of one provider; Usage with the list of names when there is none."""
        if name not in self.layouts:
            raise Usage(f"no provider is called {name}", f"one of: {' '.join(self.layouts)}")
        return self.layouts[name]

    def layout_failed(self, name: str, error: Exception) -> None:
        """Note that a layout, which may be a third party's, raised `error` when it was asked."""
        self.issues.append(Issue("layout", name, f"the layout fails: {type(error).__name__}: {error}",
                                 f"helixstore layouts check {name}"))

    @cached_property
    def facts(self) -> Facts:
        """The platform, as layouts may know it."""
        from helixstore.providers.layout import Facts

        return Facts(sys.platform, platform.machine(), self.settings.local_namespace)

    def env(self, provider: str, reader: Reader, farms: Path) -> Env:
        """What the layout of `provider` may know when it looks for roots."""
        from helixstore.providers.layout import Env

        return Env(self.places.home, self.environ, sys.platform, farms, reader, self.settings.provider(provider).root)

    def roots(self, reader: Reader, farms: Path) -> Iterator[PlacedRoot]:
        """Every root of every provider, those that are off too. A layout that fails is left out from then on."""
        for name, layout in list(self.layouts.items()):
            try:
                roots = list(layout.roots(self.env(name, reader, farms)))
            except Exception as error:  # noqa: BLE001 - a third party's layout may fail in any way; the rest goes on
                self.layout_failed(name, error)
                del self.layouts[name]
                continue
            for root in roots:
                yield PlacedRoot(name, layout, root, self.is_on(name), self.settings.provider(name).links)

    def is_on(self, provider: str) -> bool:
        """Whether models are projected for this provider."""
        return bool(self.settings.provider(provider).on)

    def is_common(self, placed: PlacedRoot) -> bool:
        """Whether a root may be read by the programs of several people: it is in nobody's home, and not our own."""
        return not placed.root.owned and not placed.root.path.is_relative_to(self.places.home)

    def forget_settings(self) -> None:
        """Read the settings anew when they are next asked for."""
        for name in ("settings", "facts", "public", "hub_names"):
            self.__dict__.pop(name, None)

    def installed(self, placed: PlacedRoot) -> bool:
        """Whether the program seems to be here: its folder exists, or its command is found."""
        if any(path.exists() for path in placed.root.present):
            return True
        if not placed.root.owned and not placed.root.present and placed.root.path.exists():
            return True
        command = placed.layout.launch[0] if placed.layout.launch else ""
        return bool(command) and "{" not in command and shutil.which(command, path=self.environ.get("PATH")) is not None


def in_store(store: Store, places: Places, folder: Path | str) -> str:
    """Why a folder cannot be a program's or a loose one: with all links resolved it is the store, or lies in it or in a
    volume, elsewhere than in this person's farms; "" when it does not."""
    return _lies_in(_grounds(store, places), folder)


def _grounds(store: Store, places: Places) -> list[tuple[str, str]]:
    """The store's folder and each volume's, and this person's farms there, with all links resolved."""
    return [(os.path.realpath(volume.path), os.path.realpath(places.farms(Path(volume.path), store.host)))
            for volume in (store.volumes.main, *store.volumes.attached) if volume.path]


def _lies_in(grounds: Iterable[tuple[str, str]], folder: Path | str) -> str:
    real = os.path.realpath(folder)
    for place, own in grounds:
        if real == place or real.startswith(place + os.sep):
            return "" if real.startswith(own + os.sep) else f"it lies in the store's own folder {place}"
    return ""


@dataclass
class Session(Machine):
    """A `Machine` with an open store.

    Args:
        folder: the store's folder; None for the configured one.
        create: make the store when the folder is empty or missing.
    """

    folder: Path | None = None
    create: bool = False
    notes: list[str] = field(default_factory=list)
    _finished: float = field(default=-float("inf"), init=False)

    @cached_property
    def store_folder(self) -> Path:
        """The folder given, else the one that the settings name, else NotFound."""
        if self.folder is not None:
            return Path(os.path.abspath(self.folder))
        if self.settings.store is not None:
            return self.settings.store
        default = self.places.default_store
        if (default / "store.json").exists():
            return default
        raise NotFound("there is no store yet", "helixstore init")

    @cached_property
    def store(self) -> Store:
        """The store, opened or made."""
        from helixstore.store.store import Store

        folder, host = self.store_folder, replace(self.places.host(), lease=self.settings.lease)
        try:
            store = Store.open(folder, host)
        except NotFound:
            if not self.create:
                raise
            return Store.create(folder, host)
        if store.sharing.shared:
            from helixstore.store.own_sources import OwnSources

            store.refs.own_sources = OwnSources(str(self.places.state_for(store.id) / "sources"), self._published)
            store.refs.proofs = self.hub_names
        self.greet(store)
        return store

    def greet(self, store: Store) -> None:
        """What each command does first: say that this person is here, and claim anew if they had been forgotten."""
        from helixstore.store.returning import come_back

        if store.read_only or not store.hosts.known:
            return
        if (back := come_back(store, lambda: self._remembered(store))) is not None:
            self.notes.append(back.describe())
            self.issues += [
                Issue("lost", name, f"files of {name} are gone from the store, since this computer's claims had ended",
                      "add it again from where it came from") for name in back.lost]
        store.hosts.renew()

    def _remembered(self, store: Store) -> list[Ref]:
        """The refs as the index has them from before."""
        from helixstore.index import Index

        try:
            index = Index.open(self.places.index_for(store.id), store)
        except HelixError:
            return []                                   # the store's own are there in all likelihood
        try:
            return index.claims()
        finally:
            index.close()

    def tend(self) -> None:
        """Before a change of what is there: as `greet`, and what anybody's last collection has left for later."""
        from helixstore.store.gc import finish_rounds

        self.greet(self.store)
        if time.monotonic() - self._finished >= _MINUTE:        # a process that stays does this many times in a minute
            self._finished = time.monotonic()
            finish_rounds(self.store, self.index)

    @cached_property
    def public(self) -> PublicRepositories:
        """What this person knows of repositories of the hub: whether everybody may read them."""
        from helixstore.hub.public import PublicRepositories

        return PublicRepositories(self.settings.public, str(self.places.state / "public.json"), self.environ)

    @cached_property
    def hub_names(self) -> HubNames:
        """Which of the hub's names that others give to content the hub has confirmed to this person."""
        from helixstore.hub.names import HubNames

        return HubNames(str(self.places.state / "hub-names.json"), self.environ, self.settings.trust_hub_names)

    def _published(self, source: Source) -> bool:
        """Whether the group that fills the store may read that a model comes from there."""
        return source.kind == "hub" and bool(source.repository) and self.public.known(source.repository or "") is True

    @cached_property
    def index(self) -> Index:
        """The index of this store, brought up to date with its refs."""
        from helixstore.fs.private import hold_private
        from helixstore.index import Index

        place = self.places.index_for(self.store.id).parent
        if why := hold_private(place):
            raise IndexUnusable(f"{place} cannot be used: {why}", "set HELIXSTORE_INDEX to a folder of yours", place)
        index = Index.open(self.places.index_for(self.store.id), self.store)
        index.refresh()
        return index

    @cached_property
    def farms(self) -> Path:
        """The folder for roots that helixstore owns: `<store>/farms/<host>/<uid>`."""
        return self.places.farms(self.store.path, self.store.host)

    @cached_property
    def farm(self) -> Farm:
        """Ledger, plan and apply for this person's roots."""
        from helixstore.farm.farm import Farm
        from helixstore.farm.handlers import handlers
        from helixstore.fs.private import hold_private

        for place in (self.places.state, self.places.state_for(self.store.id)):
            if why := hold_private(place):          # what is written there is carried out
                raise ConfigError(f"{place} cannot be used: {why}", "run helixstore as that user, or set "
                                  "XDG_STATE_HOME to a folder of yours", place)
        farm = Farm(self.store, self.index, self.places.state_for(self.store.id), self.settings)
        farm.handlers.update(handlers(self.store, self.index, self.choices, farm.intent))
        farm.in_use = self._in_use
        farm.needed = self._needed
        return farm

    def _in_use(self, path: str, providers: Iterable[str]) -> bool | None:
        """Whether one of these providers relies on a file that we put into its cache; None when it is in no cache."""
        from helixstore.providers.reader import DiskReader

        layouts = [self.layouts[name] for name in providers if name in self.layouts]
        said = {layout.in_use(Path(path), DiskReader(self.places.home)) for layout in layouts}
        return True in said if said - {None} else None

    def _needed(self, root: str, providers: Iterable[str]) -> Mapping[str, Collection[str]]:
        """Which files of a root others there need, by all of these providers."""
        from helixstore.providers.reader import DiskReader

        found: dict[str, set[str]] = {}
        for name in set(providers) & self.layouts.keys():
            for path, users in self.layouts[name].needed(Path(root), DiskReader(self.places.home)).items():
                found.setdefault(path, set()).update(users)
        return found

    @cached_property
    def choices(self) -> Choices:
        """Which models the person shared with certain providers only."""
        from helixstore.farm.choice import Choices

        return Choices(self.places.state_for(self.store.id))

    def roots(self, reader: Reader, farms: Path) -> Iterator[PlacedRoot]:
        """As `Machine`; a folder into which somebody else on this machine projects already is off, with the reason, and
        so is one that lies in the store's own."""
        from helixstore.fs.access import user_name

        self.loose()                    # so that whoever asks for the roots is told of all that is left out
        grounds = _grounds(self.store, self.places)
        for placed in super().roots(reader, farms):
            owner = None
            if placed.on and (why := _lies_in(grounds, placed.root.path)):
                self._left_out(placed.root.path, why, f"helixstore providers set {placed.provider} --root DIR")
                yield replace(placed, on=False, why=why)
                continue
            if placed.on and self.store.sharing.shared and self.is_common(placed):
                owner = self.store.roots.owner(str(placed.root.path))
            if owner in (None, self.store.host.uid):
                yield placed
            else:
                yield replace(placed, on=False, why=f"{user_name(owner)} shares models with it already")

    def loose(self) -> list[Path]:
        """The loose folders to look for models in, without those that lie in the store's own."""
        found = []
        grounds = _grounds(self.store, self.places) if self.settings.scan else ()
        for folder in self.settings.scan:
            if why := _lies_in(grounds, folder):
                self._left_out(folder, why, "helixstore config set scan DIR ...")
            else:
                found.append(folder)
        return found

    def set_value(self, key: str, value: Any, dry_run: bool = False) -> Any:
        """As `settings.set_value`; a folder in the store is refused, as far as there is a store that can be opened.

        Raises:
            Usage: so too when `in_store` has a reason against a folder.
        """
        now = set_value(self.places, key, value, dry_run=True)
        folders = now if key == "scan" else [now] if key.startswith("providers.") and key.endswith(".root") else []
        for folder in folders or ():
            why = ""
            with suppress(HelixError):
                why = in_store(self.store, self.places, folder) if folder is not None else ""
            if why:
                raise Usage(f"{folder} cannot be used: {why}", "name a folder outside of it", Path(folder))
        return now if dry_run else set_value(self.places, key, value)

    def _left_out(self, folder: Path, why: str, remedy: str) -> None:
        issue = Issue("own-folder", str(folder), f"{why}; nothing is looked for or put there", remedy)
        if issue not in self.issues:
            self.issues.append(issue)

    def forget_settings(self) -> None:
        """As `Machine`; an open farm goes by the new ones from now on."""
        super().forget_settings()
        self.issues[:] = [issue for issue in self.issues if issue.kind != "own-folder"]
        if "farm" in self.__dict__:
            self.farm.settings = self.settings
        if "store" in self.__dict__ and self.store.sharing.shared:
            self.store.refs.proofs = self.hub_names

    def close(self) -> None:
        """Let go of the index."""
        if "index" in self.__dict__:
            self.index.close()
