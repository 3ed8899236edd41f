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
        machine: tells machines from each other; the same for everybody on one.
        lease: seconds for which the claims of an ephemeral host outlive its last command.
    """

    id: str
    uid: int
    boot: str
    ephemeral: bool = False
    machine: str = ""
    lease: float = 6 * 3600.0
