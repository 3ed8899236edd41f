"""When this person last read each blob in full, right or damaged, and which ones are to be read next.

`verified` in the state directory: a line for each reading, digest and seconds since 1970; the last one of a digest
counts. It is only appended to, so that an interrupted reading loses none that was finished, and written anew when
most of its lines are outdated. Nothing rests on it but the order in which blobs are read.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from helixstore.errors import Usage
from helixstore.fs import kernel
from helixstore.store.records import is_digest

__all__ = ["Sample", "Verified"]

_SLACK = 1000                       # outdated lines that are not worth writing the file anew
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_TIME = re.compile(r"\d+\.\d{6}")
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) *(?:(%)|([KMGT]I?)?(B)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sample:
    """How much is to be read: the first of these that is not None.

    Attributes:
        part: of all bytes, above 0 and up to 1.
        bytes: at least so many.
        count: so many blobs.
    """

    part: float | None = None
    bytes: int | None = None
    count: int | None = None

    @classmethod
    def of(cls, text: str) -> Sample:
        """From what a person types: "5%", "20GB" (or GiB), or "100" blobs.

        Raises:
            Usage: it is none of these, or nothing.
        """
        found = _AMOUNT.fullmatch(text.strip())
        number = float(found[1]) if found else 0.0
        if found is None or number <= 0 or (found[2] and number > 100):
            raise Usage(f"{text!r} is no part of a store", "--sample 5%, --sample 20GB, or --sample 100 (files)")
        if found[2]:
            return cls(part=number / 100)
        if found[3] or found[4]:
            return cls(bytes=int(number * _UNITS[(found[3] or "").upper()]))
        return cls(count=int(number) or 1)

    def choose(self, sizes: Mapping[str, int], read: Mapping[str, float]) -> list[str]:
        """The digests to read, those first that were not read for the longest time, so that repeated samples come
        round to each; at least one.

        Args:
            sizes: digest -> bytes, of all.
            read: digest -> when it was last read.
        """
        order = sorted(sizes, key=lambda digest: (read.get(digest, 0.0), digest))
        if self.part is None and self.bytes is None:
            return order[:self.count]
        wanted = sum(sizes.values()) * self.part if self.part is not None else self.bytes or 0
        chosen: list[str] = []
        total = 0
        for digest in order:
            if chosen and total >= wanted:
                break
            chosen.append(digest)
            total += sizes[digest]
        return chosen


class Verified:
    """The file. Safe between processes, which each append to it.

    Args:
        path: absolute; need not exist.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def times(self) -> dict[str, float]:
        """Digest -> when it was last read, seconds since 1970."""
        return self._load()[0]

    def note(self, digest: str, when: float) -> None:
        """A blob was read in full. Not flushed: what a power cut loses is read once more."""
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        with open(self._path, "ab", buffering=0) as file:
            file.write(f"{digest} {when:.6f}\n".encode())

    def compact(self) -> None:
        """Write the file anew where most of it is outdated."""
        times, lines = self._load()
        if lines > 2 * len(times) + _SLACK:
            data = "".join(f"{digest} {when:.6f}\n" for digest, when in times.items())
            kernel.replace_file(self._path, data.encode(), 0o600, durable=False)

    def _load(self) -> tuple[dict[str, float], int]:
        times: dict[str, float] = {}
        lines: list[str] = []
        with contextlib.suppress(FileNotFoundError), open(self._path, encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()
        for line in lines:
            digest, _, when = line.partition(" ")
            if is_digest(digest) and _TIME.fullmatch(when):         # not a last line that was cut short
                times[digest] = float(when)
        return times, len(lines)
