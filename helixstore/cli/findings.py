"""What upkeep found, as lines of text, and as issues where a person must act."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from helixstore.cli.output import count, size, table
from helixstore.values import Issue

if TYPE_CHECKING:
    from helixstore.index import ReindexReport
    from helixstore.results import Check
    from helixstore.store.gc import CollectReport
    from helixstore.store.verify import VerifyReport

__all__ = ["checks", "collected", "damage", "problems", "reindexed", "restored", "trash", "verified"]


def checks(found: Mapping[str, Any]) -> Iterator[str]:
    """`doctor`: one line for each finding."""
    listed: Sequence[Check] = found["checks"]
    for check in listed:
        yield f"{check.state:8}  {check.name}: {check.message}"
    if all(check.state == "ok" for check in listed):
        yield "Nothing is wrong."


def problems(found: Sequence[Check]) -> list[Issue]:
    """What `doctor` found that is not well; each with the command that mends it."""
    return [Issue(check.state, check.name, check.message, check.remedy) for check in found if check.state != "ok"]


def verified(found: VerifyReport) -> Iterator[str]:
    """`verify`: how much was read."""
    yield f"{count(found.checked, 'file')} read, {count(len(found.bad), 'file')} damaged."


def damage(found: VerifyReport) -> list[Issue]:
    """The damaged files."""
    return [Issue("quarantined", digest, "its bytes are not what its name says; it is in quarantine",
                  "add the model again from its source; `helixstore explain` names the models that use it")
            for digest in found.bad]


def collected(found: CollectReport) -> Iterator[str]:
    """`gc`: how far each file has come on its way out."""
    yield "Nothing to collect."


def reindexed(found: ReindexReport) -> Iterator[str]:
    """`reindex`: what the index holds now."""
    yield "The index was built again."


def restored(found: Mapping[str, Any]) -> Iterator[str]:
    """`trash restore`."""
    yield f"{count(found['restored'], 'file')} restored."


def trash(found: Mapping[str, Any]) -> Iterator[str]:
    """`trash list`."""
    rows = [(str(row["digest"]), size(row["bytes"]), str(row["since"])) for row in found["trash"]]
    yield from table(("file", "size", "since"), rows, right=(1,)) or ["The trash is empty."]
