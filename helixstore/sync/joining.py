"""How a member of a group begins with the group's store: without an `init` of their own."""

from __future__ import annotations

from dataclasses import replace

from helixstore.providers.reader import DiskReader
from helixstore.session import Machine, Session
from helixstore.settings import new_namespace, set_values

__all__ = ["installed", "join"]


def installed(machine: Machine) -> tuple[str, ...]:
    """The providers whose program seems to be here."""
    reader = DiskReader(machine.places.home)
    roots = machine.roots(reader, machine.places.default_store / "farms")
    return tuple(dict.fromkeys(placed.provider for placed in roots if machine.installed(placed)))


def join(session: Session, *, keep: bool = True) -> None:
    """What a member's first command does in a group's store, instead of an `init` of their own.

    The programs that are installed are turned on unless somebody has said otherwise of them, and this person's own
    folders are made in the store. Nothing happens in a store of one's own, nor for who has begun already.

    Args:
        session: the person's.
        keep: write it down; False: only for this run, which is a rehearsal.
    """
    store = session.store
    if not store.sharing.shared or store.registered or store.read_only:
        return
    on = [name for name in installed(session) if session.settings.provider(name).on is None]
    if not keep:
        providers = dict(session.settings.providers)
        providers |= {name: replace(session.settings.provider(name), on=True) for name in on}
        session.__dict__["settings"] = replace(session.settings, providers=providers)
        return
    values: dict[str, object] = {f"providers.{name}.on": True for name in on}
    if session.settings.origin("local_namespace") == "default":
        values["local_namespace"] = new_namespace()
    set_values(session.places, values)
    session.forget_settings()
    store.register()                                # last: an interrupted beginning is begun again
