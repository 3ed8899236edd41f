"""Who acts on a store: one person on one host, in one boot of it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Host"]


@dataclass(frozen=True)
class Host:
    """The names under which a person's refs, keeps and staging lie in a store. Made by `helixstore.places`.

    Attributes:
        id: random lower-case hex, the same for as long as the state directory lives; a folder name.
        uid: the person's number on that host.
        boot: differs after each start of the machine; hex, may be empty.
        ephemeral: the host ends with this run or soon after, so its claims are leases.
    """

    id: str
    uid: int
    boot: str
    ephemeral: bool
