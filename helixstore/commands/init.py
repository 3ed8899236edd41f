"""`init`: choose where the store lies and which providers are on, and write that down. No provider is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helixstore.commands.site import Site, write_site
from helixstore.commands.survey import survey
from helixstore.errors import Usage
from helixstore.fs.access import members
from helixstore.fs.mounts import FLEETING, mount_of
from helixstore.session import Machine, in_store
from helixstore.settings import new_namespace, set_values
from helixstore.sync.joining import installed

if TYPE_CHECKING:
    from helixstore.store.store import Store

__all__ = ["InitReport", "Proposal", "init", "propose"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """Where a store would best lie, and why; and the providers that are installed here."""

    store: Path
    why: str
    found: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InitReport:
    """What `init` did. `created`: the store did not exist before. `config`: the file that it wrote. `group`: fills the
    store together; "" for a store of one's own. `site`: what became of the site's settings. `notes`: what an
    administrator has to do still, so that the others get there."""

    store: Path
    why: str
    created: bool
    on: tuple[str, ...]
    found: tuple[str, ...]
    scan: tuple[Path, ...]
    share: str
    config: Path
    group: str = ""
    site: Site | None = None
    notes: tuple[str, ...] = ()


def propose(machine: Machine) -> Proposal:
    """The disk that holds most of the person's models, since no bytes move between disks. Writes nothing.

    Args:
        machine: the person, and where their programs look.
    """
    found = installed(machine)
    if machine.settings.store is not None:
        return Proposal(machine.settings.store, f"set by {machine.settings.origin('store')}", found)
    default = machine.places.default_store
    held: dict[str, tuple[int, str]] = {}
    for holding in survey(machine).holdings:
        if mount_of(holding.disk).kind in FLEETING:
            continue
        total, root = held.get(holding.disk, (0, holding.root))
        held[holding.disk] = (total + holding.bytes, root)
    disk, (_, root) = max(held.items(), key=lambda item: item[1][0], default=("", (0, "")))
    if not disk or disk == mount_of(default).point:
        return Proposal(default, "the default place, on the disk that holds your models" if disk else
                        "the default place", found)
    folder = _writable(disk, root)
    if folder is None:
        return Proposal(default, f"the default place; {disk} holds most of your models, but you cannot write there",
                        found)
    return Proposal(folder / "helixstore", f"{disk} holds most of your models, and no bytes need to move", found)


def init(
    machine: Machine, folder: Path | None = None, *, providers: Sequence[str] | None = None,
    every: bool = False, scan: Sequence[Path] = (), share: str | None = None, group: str = "", site: bool = False,
) -> InitReport:
    """Make the store (or take the one that is there) and turn providers on.

    In a group's store that is there already, this writes only the person's own configuration and folders.

    Args:
        machine: the person, and where their programs look.
        folder: the store's folder; None for the proposed one.
        providers: these are turned on; None for those that are installed.
        every: all providers are turned on.
        scan: loose folders to look for models in from now on, with those that are configured already.
        share: "all", "duplicates" or "chosen"; None leaves the setting as it is.
        group: the group whose members fill the store together.
        site: write where the store is into the site's settings, for everybody; see `site.write_site`.

    Raises:
        Usage: no such provider, or a folder to scan that is not there, or a store that is another group's.
        StoreError: the folder holds something else, or cannot be given to the group.
    """
    for name in providers or ():
        machine.layout(name)
    for one in scan:
        if not one.is_dir():
            raise Usage(f"{one} is not a folder", "name a folder that exists with --scan", one)
    proposal = propose(machine) if folder is None else Proposal(_absolute(folder), "as you asked", installed(machine))
    chosen = tuple(machine.layouts) if every else tuple(providers if providers is not None else proposal.found)
    store, created = _opened_or_made(machine, proposal.store, group)
    if store.sharing.shared and not store.read_only:
        store.register()
    places, settings = machine.places, machine.settings
    told: Site | None = None
    if site:
        told = write_site(places, {"store": store.path} | ({"share": share} if share is not None else {}))
        machine.forget_settings()
        settings = machine.settings
    folders = tuple(dict.fromkeys((*settings.scan, *(_absolute(one) for one in scan))))
    for one in scan:
        if why := in_store(store, places, one):
            raise Usage(f"{one} cannot be looked in: {why}", "name a folder outside of it", one)
    values: dict[str, Any] = {}
    if settings.store != store.path or settings.origin("store") == "default":
        values["store"] = store.path
    values |= {f"providers.{name}.on": True for name in chosen}
    if folders != settings.scan:
        values["scan"] = list(map(str, folders))
    if share is not None:
        values["share"] = share
    if settings.origin("local_namespace") == "default":
        values["local_namespace"] = new_namespace()
    set_values(places, values)
    on = tuple(name for name in machine.layouts if name in chosen or settings.provider(name).on)
    return InitReport(proposal.store, proposal.why, created, on, proposal.found, folders, share or settings.share,
                      places.config_file, store.sharing.group, told, tuple(_barred(store)))


def _opened_or_made(machine: Machine, folder: Path, group: str) -> tuple[Store, bool]:
    """The store in `folder`, and whether it was made now.

    Raises:
        Usage: the folder is no place for a group's store, or the store there is another's.
    """
    from helixstore.store.store import Store

    created = not Store.is_in(folder)
    if group and folder.is_relative_to(machine.places.home):
        raise Usage(f"{folder} is in your home, where the others do not get",
                    f"name a folder that they reach: helixstore init --store DIR --group {group}", folder)
    host = machine.places.host()
    store = Store.create(folder, host, group) if created else Store.open(folder, host)
    if group and store.sharing.group != group:
        whose = f"the group {store.sharing.group}'s" if store.sharing.shared else "one person's"
        raise Usage(f"the store in {store.path} is {whose}",
                    f"make another: helixstore init --store DIR --group {group}", store.path)
    return store, created


def _barred(store: Store) -> Iterator[str]:
    """Which folders keep the members out, and what opens them."""
    from helixstore.commands.access import barring

    if store.sharing.shared:
        gid = store.sharing.gid
        for barrier in barring(store.path, members(gid), gid):
            yield f"{barrier.why}: {barrier.remedy}"


def _writable(disk: str, root: str) -> Path | None:
    """A folder of that disk in which the person can make another: its top, else above the models."""
    for folder in (Path(disk), *reversed(Path(root).parents)):
        if mount_of(folder).point == disk and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


def _absolute(folder: Path) -> Path:
    return Path(os.path.abspath(folder))
