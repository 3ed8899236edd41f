"""What a form of a model is before it is downloaded: its own readers, over ranges of the remote files.

A GGUF's header and a model's configuration say all that a layout asks for, and they are a few MiB at the start of files
of many GB. So the readers of `formats` are given files that fetch what is read of them, and nothing else; what they say
is what they would say of the same files in the store. Nothing is written.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from helixstore.catalogue import Shape, shape_of_config, shape_of_gguf
from helixstore.download.choosing import Package
from helixstore.download.crew import Crew
from helixstore.download.offered import Offered
from helixstore.download.stream import NoRanges, stream
from helixstore.errors import Failed, Unreadable
from helixstore.formats.describe import Description, describe_folder
from helixstore.formats.gguf import read_gguf
from helixstore.formats.inspection import Part
from helixstore.formats.jsonstream import parse
from helixstore.formats.loose import describe_ggufs
from helixstore.formats.names import extension, role_of
from helixstore.formats.opened import Opened
from helixstore.hub.remote import RemoteFile
from helixstore.sync.naming import variant_id
from helixstore.values import Family, File, Key, Role, Variant

__all__ = ["Peek", "peek"]

_HEAD = 1 << 16                 # bytes that the first request of a file asks for: most small files are whole in it
_MOST = 64 << 20                # bytes that are read of one file; the largest headers known have 16 MiB
_AT_ONCE = 8                    # headers of shards that are fetched at a time
_UNKNOWN = "0" * 64             # the digest of what has not come yet


class Peek(NamedTuple):
    """What a form is.

    Attributes:
        variant: as the store would have it, but for the digests.
        shape: what its memory follows from; None where it does not say.
    """

    variant: Variant
    shape: Shape | None


def peek(offered: Offered, package: Package, name: str) -> Peek:
    """Read what a form says of itself.

    Args:
        offered: the place that lists it.
        package: the form.
        name: of the model.

    Raises:
        Unreadable, Incomplete: what lies there is no sound model.
        Passing, Failed: it cannot be read.
    """
    files = {file.path: _Remote(file) for file in package.files}

    def opened(path: Path) -> Opened:
        return files[path.as_posix()]

    if package.family is not Family.PICKLE:             # those are never opened
        _fetch_headers([files[file.path] for file in package.weights])
    if package.family is Family.GGUF:
        headers = []
        for file in package.weights:
            headers.append((file.path.rpartition("/")[2], read_gguf(files[file.path])))
        said = describe_ggufs(headers, True, package.weights[0].path)
        shape = shape_of_gguf(headers[0][1].values, headers[0][1].lengths)
    else:
        parts = [Part(file.path, Path(file.path), file.bytes, role_of(file.path)) for file in package.files]
        said = describe_folder(parts, opened)
        shape = _shape(files)
    return Peek(_variant(offered, package, name, said), shape)


def _fetch_headers(shards: Sequence[_Remote]) -> None:
    """Fetch the headers of all shards together: each counts, and of large models there are more than a hundred.

    The index beside safetensors would not do: it names each tensor and its file, but neither its type nor its size.
    """
    crew = Crew(min(_AT_ONCE, len(shards)))
    crew.add(shard.fetch_header for shard in shards)
    crew.run()


def _variant(offered: Offered, package: Package, name: str, said: Description) -> Variant:
    """The value that layouts decide by."""
    key = Key(name, variant_id(said.format, said.quantization))
    listed = [File(file.path, file.bytes, _UNKNOWN, _role(file.path), file.sha256, file.gitsha1)
              for file in sorted(package.files, key=lambda file: file.path)]
    return Variant(key, _UNKNOWN, said.format, said.quantization, said.purpose, said.header, tuple(listed),
                   (offered.source,))


def _role(path: str) -> Role:
    projector = extension(path) == "gguf" and "mmproj" in path.rpartition("/")[2].lower()
    return Role.PROJECTOR if projector else role_of(path)


def _shape(files: dict[str, _Remote]) -> Shape | None:
    """From the configuration."""
    config = files.get("config.json")
    if config is None:
        return None
    try:
        found = parse(config.read_at(0, config.size))
    except ValueError:
        return None                                     # its own reader has said so
    return shape_of_config(found) if isinstance(found, dict) else None


class _Remote(Opened):
    """A file that lies elsewhere, as the readers of headers see it: each range is fetched when it is read."""

    __slots__ = ("_file", "_head", "_left")

    def __init__(self, file: RemoteFile) -> None:
        self.path, self.size = file.path, file.bytes
        self._fd = -1
        self._file, self._left = file, _MOST
        self._head: bytes | None = None

    def read_at(self, offset: int, count: int) -> bytes:
        """As of a file here. What was read of its beginning is not fetched again.

        Raises:
            Unreadable: more is asked for than any header has.
            Passing, Failed: it cannot be had.
        """
        count = max(0, min(count, self.size - offset))
        if self._head is None and offset < _HEAD:
            self._head = self._fetch(0, min(_HEAD, self.size))
        if self._head is None or offset >= len(self._head):
            return self._fetch(offset, count)
        here = self._head[offset:offset + count]
        return here if len(here) == count else here + self._fetch(offset + len(here), count - len(here))

    def fetch_header(self) -> None:
        """What every reader asks for first, the beginning; of safetensors the whole header, which says how long it is.

        Raises:
            Passing, Failed: it cannot be had.
        """
        first = self.read_at(0, 9)
        if extension(self.path) == "safetensors" and first[8:] == b"{" and self._head is not None:
            end = min(8 + int.from_bytes(first[:8], "little"), self.size, _MOST)
            if len(self._head) < end:
                self._head += self._fetch(len(self._head), end - len(self._head))

    def check_unchanged(self) -> None:
        """A file at a commit never changes."""

    def _fetch(self, offset: int, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            raise Unreadable(f"the header of {self._file.address.name} has no end", path=self.path)
        try:
            return b"".join(bytes(part) for _, part in stream(self._file.address, offset, offset + count, _NEVER))
        except NoRanges:
            raise Failed(f"{self._file.address.name}: its server sends no parts of files, so that nothing can be said "
                         "of it before it is downloaded", "name the quantisation that you want: --quantize") from None


#: What ends a fetch early; nothing does.
_NEVER = threading.Event()
