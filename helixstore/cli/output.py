"""The one place that writes to the terminal: answers on stdout, as text or as JSON, and everything else on stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from helixstore.errors import HelixError
    from helixstore.values import Issue

__all__ = ["Output", "count", "homely", "local_time", "moment", "printable", "table"]

T = TypeVar("T")


class Output:
    """Where answers, warnings and errors go.

    Args:
        as_json: answers as one JSON document instead of text; errors too, beside their text on stderr.
        quiet: no answers as text, only what went wrong.

    Attributes:
        clear: takes away what stands on the terminal for a while, a bar; called before a line comes there.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, stdout: TextIO | None = None,
                 stderr: TextIO | None = None) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._stdout = stdout
        self._stderr = stderr
        self.clear: Callable[[], None] = lambda: None

    @property
    def stdout(self) -> TextIO:
        """Where answers go; looked up when used, so that a test that replaces it sees them."""
        return self._stdout or sys.stdout

    @property
    def stderr(self) -> TextIO:
        """Where questions, progress, warnings and errors go."""
        return self._stderr or sys.stderr

    def answer(self, value: T, text: Callable[[T], Iterable[str]]) -> None:
        """Give the answer of a command: `value` as JSON under "schema": 1, or the lines that `text` makes of it.

        `value` must be an object in JSON: a mapping or a dataclass.
        """
        if self.as_json:
            from helixstore.results import SCHEMA, as_json

            self._document({"schema": SCHEMA} | as_json(value))
        elif not self.quiet:
            self.lines(text(value))

    def lines(self, lines: Iterable[str]) -> None:
        """Lines of text on stdout; control characters in them, from names on disk, are shown as escapes."""
        listed = list(lines)
        if not "".join(listed).isprintable():
            listed = [printable(line) for line in listed]
        self.stdout.write("".join([f"{line}\n" for line in listed]))

    def csv(self, rows: Iterable[Sequence[str]]) -> None:
        """Rows for a spreadsheet, as RFC 4180 has them; no cell is a formula there, whatever a model is called."""
        import csv

        writer = csv.writer(self.stdout, lineterminator="\n")
        for row in rows:
            shown = map(printable, row)
            writer.writerow([f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell for cell in shown])

    def path(self, path: Path) -> None:
        """The answer that is one path: alone on its line, in its own bytes where a program reads it."""
        if self.as_json:
            self._document({"schema": 1, "path": str(path)})
        elif self.stdout.isatty() or not hasattr(self.stdout, "buffer"):
            self.lines([str(path)])
        else:
            self.stdout.flush()
            self.stdout.buffer.write(os.fsencode(path) + b"\n")
            self.stdout.buffer.flush()

    def choose(self, text: str, among: Mapping[str, str]) -> str:
        """Ask for one of several words, the first being what Enter and an end of input mean."""
        default = next(iter(among))
        for word, meaning in among.items():
            self.note(f"  {word:10}  {meaning}")
        while True:
            self.stderr.write(f"{printable(text)} [{default}] ")
            self.stderr.flush()
            line = sys.stdin.readline()
            found = [word for word in among if word.startswith(line.strip().lower())]
            if not line.strip():
                return default
            if len(found) == 1:
                return found[0]

    def note(self, line: str) -> None:
        """One line on stderr that is not an answer; left out when quiet."""
        if not self.quiet:
            self.clear()
            self.stderr.write(f"{printable(line)}\n")
            self.stderr.flush()

    def error(self, message: str, remedy: str = "", kind: str = "failed", path: str | None = None) -> None:
        """What went wrong and what to do about it, on stderr; with `--json` as a document on stdout as well."""
        if self.as_json:
            self._document({"schema": 1, "error": {"kind": kind, "message": message, "remedy": remedy, "path": path}})
        self.clear()
        self.stderr.write(f"helixstore: {_shown(message)}\n")
        if remedy:
            self.stderr.write(f"  {_shown(remedy)}\n")
        self.stderr.flush()

    def failure(self, error: HelixError) -> int:
        """Report an error that helixstore raised on purpose; returns its exit code."""
        self.error(error.message, error.remedy, error.kind, error.path)
        return error.exit_code

    def issues(self, issues: Sequence[Issue]) -> None:
        """The issues of an answer, as text; in JSON they are part of the document."""
        if self.as_json or not issues:
            return
        stream = self.stderr if self.quiet else self.stdout
        lines = [""] if not self.quiet else []
        lines += [f"{count(len(issues), 'issue')}:"]
        for issue in issues:
            about = f"{issue.path}: " if issue.path and issue.path not in issue.message else ""
            lines.append(f"  {issue.kind}: {about}{issue.message}")
            if issue.remedy:
                lines.append(f"      {issue.remedy}")
        stream.write("".join(f"{printable(line)}\n" for line in lines))

    def _document(self, document: Mapping[str, Any]) -> None:
        import json

        json.dump(document, self.stdout, indent=2 if self.stdout.isatty() else None)
        self.stdout.write("\n")


def printable(text: str) -> str:
    """`text` as a terminal may see it: control, direction and surrogate characters as escapes."""
    if text.isprintable():
        return text
    from helixstore.fs.names import printable

    return printable(text)


def _shown(text: str) -> str:
    """A message of several lines, such as a list of candidates, keeps its lines; nothing else gets through."""
    return "\n  ".join(printable(line) for line in text.split("\n"))


def moment(seconds: float) -> str:
    """A time since 1970 for people, who may be in several zones."""
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def local_time(told: str) -> str:
    """A time of ISO 8601, as of a report, for the one who asks: by the clock on their wall."""
    from datetime import datetime

    return f"{datetime.fromisoformat(told).astimezone():%Y-%m-%d %H:%M}"


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: 1 model, 12 models."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def homely(path: str) -> str:
    """An absolute path for people: `~` for their home folder."""
    home = os.path.expanduser("~")
    return f"~{path[len(home):]}" if home != "/" and path.startswith(f"{home}/") else path


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Aligned columns, the headers in capitals, two spaces between; nothing when there is no row.

    Args:
        headers: one per column.
        rows: cells as text.
        right: the columns, counted from 0, that end flush (numbers).
    """
    cells = [tuple(row) for row in rows]
    if not cells:
        return []
    cells.insert(0, tuple(header.upper() for header in headers))
    columns = list(zip(*cells, strict=True))
    plain = ["".join(column) for column in columns]
    if all(text.isascii() and text.isprintable() for text in plain):
        widths = [max(map(len, column)) for column in columns]
        flush = frozenset(right)
        last = len(widths) - 1
        form = "  ".join(
            f"%{width}s" if i in flush else ("%s" if i == last else f"%-{width}s") for i, width in enumerate(widths)
        )
        return [(form % row).rstrip() for row in cells]
    widths = [max(map(_width, column)) for column in columns]
    return [_row(row, widths, frozenset(right)) for row in cells]


def _row(row: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    parts = []
    for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
        gap = " " * (width - _width(cell))
        parts.append(gap + cell if i in right else cell + gap)
    return "  ".join(parts).rstrip()


def _width(text: str) -> int:
    """Columns on a terminal: wide East Asian characters take two, combining marks none; escapes as they are shown."""
    if text.isascii():
        return len(text) if text.isprintable() else len(printable(text))
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in printable(text))
