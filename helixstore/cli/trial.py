"""What `doctor --mount` found, as lines of text, and as an issue where no store can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from helixstore.cli.output import table
from helixstore.values import Issue

if TYPE_CHECKING:
    from helixstore.trial import MountReport

__all__ = ["refused", "tried"]

#: Where the name of a trial alone would say too little.
_TITLES = {
    "rename_no_replace": "rename, never over", "unlink_open": "read on when deleted",
    "unlink_by_other": "read on when another deletes", "same_clock": "same clock as ours",
    "clocks_agree": "same clock on both hosts", "shared_maps": "shared memory maps", "create_race": "one creator wins",
    "folder_race": "one maker of a folder wins", "publish_race": "one publisher wins",
    "seen_name": "another's new file seen", "seen_listing": "another's new file listed",
    "seen_size": "another's file seen to grow", "own_events": "events of our own", "others_events": "events of others",
}
_ANSWERS = {True: "yes", False: "no", None: "?"}


def tried(found: MountReport) -> Iterator[str]:
    """The mount, what it does, and what follows."""
    where = f"{found.kind or 'a file system'} from {found.source}" if found.source else found.kind or "a file system"
    yield f"{found.path}: {where}, mounted at {found.point}{', on the network' if found.network else ''}"
    yield f"Tried by two processes, one of them on {found.other}." if found.other else "Tried by two processes here."
    yield ""
    yield from table(("tried", "holds", ""), [
        (_TITLES.get(trial.name, trial.name.replace("_", " ")), _ANSWERS[trial.works], trial.detail)
        for trial in found.trials])
    yield ""
    yield from table(("for", "answer", ""), [
        (verdict.what, "with care" if verdict.answer == "care" else verdict.answer, verdict.why)
        for verdict in found.verdicts])


def refused(found: MountReport) -> list[Issue]:
    """That no store can be there; anything else is only told."""
    return [Issue("mount", found.path, f"no store can be here: {verdict.why}", "keep the store on another disk")
            for verdict in found.verdicts if (verdict.what, verdict.answer) == ("store", "no")]
