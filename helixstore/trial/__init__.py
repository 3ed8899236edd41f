"""What a mount can do, found out by doing it: `helixstore doctor --mount DIR`.

    alone      what one process sees: links, renames, modes, times, names, large files
    together   what two see of each other, on one host or two: locks, races, how late a change is seen, events
    meeting    how the two talk: through files in that folder, since two hosts may have nothing else in common
    verdicts   what follows for helixstore
    trying, second     the whole trial; the process that it starts beside itself
    report     what was tried and what follows, as plain values
"""

from __future__ import annotations

from helixstore.trial.report import MountReport, Trial, Verdict
from helixstore.trial.trying import try_mount

__all__ = ["MountReport", "Trial", "Verdict", "try_mount"]
