"""What may have the bytes of a blob that is damaged: other copies here, and whatever can be asked over a network."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from helixstore.errors import Failed

__all__ = ["Donor", "Donors", "LocalFile", "open_itself", "open_quietly", "read_range"]


class Donor(Protocol):
    """Something that may have the bytes of a blob, or some of them. It is never believed, only tried.

    Attributes:
        name: for people: a path, or a repository with the file in it.
        remote: its bytes come over a network, so that nothing is asked of it that is not needed.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see the class

    @property
    def remote(self) -> bool: ...  # noqa: D102 - see the class

    def read(self, offset: int, length: int) -> bytes:
        """That range, in bytes; less where it has less.

        Raises:
            OSError, HelixError: it cannot be read.
        """
        ...

    def ask(self, size: int, sha256: str | None) -> None:
        """Make sure, as cheaply as can be, that it has a file of that size, and of that digest where it says one.

        Raises:
            OSError, HelixError: it has not.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file that can be read here: another copy, on whatever disk."""

    name: str
    remote: bool = False

    def read(self, offset: int, length: int) -> bytes:
        """See `Donor.read`."""
        with open(self.name, "rb", buffering=0, opener=open_quietly) as file:
            return read_range(file.fileno(), offset, length)

    def ask(self, size: int, sha256: str | None) -> None:
        """See `Donor.ask`."""
        if not stat.S_ISREG(os.stat(self.name).st_mode):
            raise Failed(f"{self.name} is no file")


class Donors:
    """Donors that are looked for as they are needed, and can be gone through again."""

    def __init__(self, donors: Iterable[Donor]) -> None:
        self._more = iter(donors)
        self._known: list[Donor] = []

    def __iter__(self) -> Iterator[Donor]:
        yield from list(self._known)
        for donor in self._more:
            self._known.append(donor)
            yield donor


def open_quietly(path: str, flags: int) -> int:
    """Open for reading; a pipe must not stop us."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def open_itself(path: str, flags: int) -> int:
    """As `open_quietly`, but not through a symbolic link: a blob is none."""
    return open_quietly(path, flags | getattr(os, "O_NOFOLLOW", 0))


def read_range(descriptor: int, offset: int, length: int) -> bytes:
    """A range of an open file; less at its end."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    data = bytearray()
    while len(data) < length and (part := os.read(descriptor, length - len(data))):
        data += part
    return bytes(data)
