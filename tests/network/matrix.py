"""The matrix of docs/filesystems.md: its rows, and how one is made of what `doctor --mount` and the main job found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("file system", "hard", "symbolic", "reflink", "rename, never over", "leases", "modes", "locks",
           "events", "taken in", "programs get", "store", "index", "watch")
_ANSWERS = {True: "yes", False: "no", None: "?"}

#: kind -> its row, as it was found; `make filesystems` finds them again
ROWS: dict[str, tuple[str, ...]] = {cells[0]: cells for cells in (
    ("ext4", "yes", "yes", "no", "yes", "yes", "yes", "yes", "yes", "in place", "hard", "yes", "yes", "events"),
    ("xfs", "yes", "yes", "yes", "yes", "yes", "yes", "yes", "yes", "in place", "hard", "yes", "yes", "events"),
    ("btrfs", "yes", "yes", "yes", "yes", "yes", "yes", "yes", "yes", "in place", "hard", "yes", "yes", "events"),
    ("tmpfs", "yes", "yes", "no", "yes", "yes", "yes", "yes", "yes", "in place", "hard", "care", "yes", "events"),
    ("overlay", "yes", "yes", "no", "yes", "yes", "yes", "yes", "yes", "in place", "hard", "yes", "yes", "events"),
    ("exfat", "no", "no", "no", "no", "no", "no", "yes", "yes", "by `add`", "pending", "care", "yes", "events"),
    ("sshfs", "no", "yes", "no", "no", "no", "yes", "yes", "yes", "by `add`", "symlink", "care", "no", "looking"),
    ("nfs", "yes", "yes", "no", "no", "no", "yes", "no", "yes", "in place", "hard", "yes", "no", "looking"),
    ("smb", "no", "yes", "no", "no", "no", "no", "no", "yes", "by `add`", "symlink", "care", "no", "looking"),
)}


def row(kind: str, report: Mapping[str, Any], job: Mapping[str, Any]) -> tuple[str, ...]:
    works = {trial["name"]: trial["works"] for trial in report["trials"]}
    answers = {verdict["what"]: verdict["answer"] for verdict in report["verdicts"]}
    both = works["flock"] and works["record_locks"]
    links = {standing.split()[-1] for programs in job["synced"].values() for standing in programs.values()
             if standing.startswith("linked")}
    own = {standing for programs in job["synced"].values() for standing in programs.values()}
    return (kind, *(_ANSWERS[works[name]] for name in (
        "hard_links", "symbolic_links", "reflinks", "rename_no_replace", "leases", "modes")), _ANSWERS[both],
        _ANSWERS[works["others_events"]], "in place" if job["adopted"] else "by `add`",
        " and ".join(sorted(links)) or ", ".join(sorted(own)), answers["store"], answers["index"],
        "events" if answers["watch"] == "yes" else "looking")


def table() -> str:
    """As the documentation has it."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *ROWS.values()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
