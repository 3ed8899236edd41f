"""What `undo` needs of the store: a keep for each operation, let go of when nothing takes it back any more."""

from __future__ import annotations

from helixstore.farm.journal import Journal
from helixstore.farm.ledger import Ledgers
from helixstore.farm.outcome import Bases
from helixstore.store.keeps import Keeps

__all__ = ["forget", "keep_of"]

_PREFIX = "op-"


def keep_of(number: int) -> str:
    """The name of the keep of an operation."""
    return f"{_PREFIX}{number}"


def forget(journal: Journal, keeps: Keeps, ledgers: Ledgers, bases: Bases, before: float, upto: int = 0) -> None:
    """Let go of what undo needs of old operations, under the farm's lock.

    The plans go first: nothing that can still be undone is ever without what it needs. What a crash left between the
    two is found the next time.

    Args:
        journal: of this person.
        keeps: this person's on this host.
        ledgers, bases: of all roots; the texts that only those plans needed go, too.
        before: seconds since 1970.
        upto: and of all operations up to this one, however young.
    """
    old = journal.forget_plans(before, upto)
    for name in keeps.mine():
        number = name.removeprefix(_PREFIX)
        if name != number and number.isdecimal() and journal.closed(int(number)):
            keeps.drop(name)
    if old:
        records = [record for root in ledgers.roots() for record in ledgers.of(root).records.values()]
        bases.keep_only({record.base for record in records} | {record.original for record in records})
