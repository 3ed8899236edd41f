"""What the watch tells: one event is one line for people, or one JSON object for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from helixstore.fs.names import printable

__all__ = ["Told"]


@dataclass(frozen=True, slots=True)
class Told:
    """One event.

    Attributes:
        event: one word: "started", "pass", "waiting", "polling", "lost", "away", "there", "replaced", "settings",
            "failed", "verified", "damaged", "stopped"; others may be added.
        text: one sentence for people.
        facts: what programs may want to know, JSON-ready.
        time: when, UTC.
    """

    event: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def line(self) -> str:
        """For a log that has its own times; nothing in it reaches a terminal raw."""
        return printable(self.text)

    def document(self) -> str:
        """One line of JSON."""
        time = self.time.isoformat(timespec="milliseconds")
        return json.dumps({"schema": 1, "time": time, "event": self.event, "text": self.text, **self.facts})
