"""What there is to download, as values; and the one thing that a downloader asks of a place on the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Address", "RemoteFile"]


class Address(Protocol):
    """Where one file's bytes can be had. Used from several threads at once."""

    @property
    def name(self) -> str:
        """As people read it: the repository and the file."""
        ...

    @property
    def host(self) -> str:
        """The server that gives it, as people read it; whoever is given up is given up for all its files."""
        ...

    def open(self, offset: int, length: int) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """Ask for a range.

        Args:
            offset, length: in bytes.

        Returns:
            Where what comes begins (0 where the server does not know ranges), and the bytes in chunks of any size.

        Raises:
            Passing: it may work when it is tried again; chunks raise it too.
            HelixError: it will not.
        """
        ...

    def wrong(self) -> None:
        """What came has another digest than the listing says; whoever has two places for a file takes the other."""
        ...


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a listing.

    Attributes:
        path: POSIX, relative to the model's own folder; as the listing has it, not checked yet.
        bytes: size in bytes.
        sha256: hex, where the listing tells it (large files).
        gitsha1: hex of git's blob, where the listing tells it.
        address: where its bytes are.
    """

    path: str
    bytes: int
    sha256: str | None
    gitsha1: str | None
    address: Address

    @property
    def digest(self) -> str:
        """What proves it: its SHA-256, else git's SHA-1, in hex."""
        return self.sha256 or self.gitsha1 or ""
