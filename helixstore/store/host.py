"""Who is at work: one person on one host."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Host"]


@dataclass(frozen=True, slots=True)
class Host:
    """The writer of this process's records in a store.

    Attributes:
        id: random and lasting, one per machine and state directory; letters and digits.
        uid: the person's numeric user id.
        boot: changes at each start of the machine, so that a process id means something.
        ephemeral: a container or CI run whose claims end with it.
    """

    id: str
    uid: int
    boot: str
    ephemeral: bool = False
