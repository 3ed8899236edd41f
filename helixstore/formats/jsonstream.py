"""JSON read from a file as a stream, in bounded memory, whatever its size and depth.

Only what is asked for is kept; the rest is walked over. Used for the headers of safetensors files (up to 100 MB), for
weight indexes and for configurations that anybody may have written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from helixstore.errors import Unreadable
from helixstore.formats.opened import Opened, Window, show

__all__ = ["LARGE", "JsonStream", "parse", "read_members", "weight_map"]

MAX_DEPTH = 64
MAX_CAPTURED = 1 << 20          # bytes of one value that is kept
MAX_NAME = 4096                 # bytes of a key
MAX_DOCUMENT = 64 << 20         # bytes of a configuration or index
MAX_STEPS = 500_000             # brackets, strings and members that are walked over; bounds the time
MAX_FILES = 10_000              # different names in an index

_SPACE = re.compile(rb"[ \t\r\n]*+")
_IN_STRING = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\[^\x00-\x1f])*+')
_BETWEEN = re.compile(rb'[^"\[\]{}]*+')
_SCALAR = re.compile(rb"[^\s,\]}]*+")
_CLOSES = {ord("{"): ord("}"), ord("["): ord("]")}


class _Large:
    """Stands for a value of more than a mebibyte, which was not kept."""


#: What `read_members` gives for a value that is larger than what is kept.
LARGE = _Large()


def parse(data: bytes | str, unique: bool = False) -> Any:
    """A JSON value from little text that was already bounded.

    Args:
        data: UTF-8.
        unique: refuse a key that occurs twice in one object; else the last counts, as for the programs.

    Raises:
        ValueError: it is not JSON, not UTF-8, or nested too deep.
    """
    try:
        return json.loads(data, object_pairs_hook=_unique if unique else None)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key occurs twice")
    return members


class JsonStream:
    """Walks over one JSON document in a window of a file.

    Args:
        file: the open file.
        start: where the document starts, in bytes.
        end: behind its last byte.
        what: what it should be, for messages, with its article.
    """

    __slots__ = ("_file", "_steps", "_what", "window")

    def __init__(self, file: Opened, start: int, end: int, what: str) -> None:
        self._file = file
        self._what = what
        self._steps = MAX_STEPS
        self.window = Window(file, start, end, what)

    def _step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise self.wrong(f"it has more than {MAX_STEPS:,} parts")

    def wrong(self, why: str) -> Unreadable:
        """The error that says what is wrong with the document."""
        return Unreadable(
            f"{show(self._file.path)} cannot be read as {self._what}: {why}", "download it again", self._file.path
        )

    def _ended(self) -> Unreadable:
        """The error for a document that stops in the middle: the file was cut, or what is around the document lies."""
        return self.window.too_short() if self.window.at_file_end else self.wrong("it ends too early")

    def peek(self) -> int:
        """The next byte that is not white space, not consumed; -1 at the end."""
        window = self.window
        while True:
            match = _SPACE.match(window.buffer, window.pos)
            assert match is not None
            window.pos = match.end()
            if window.pos < len(window.buffer):
                return window.buffer[window.pos]
            if not window.left:
                return -1
            window.need(1)

    def expect(self, character: str) -> None:
        """Consume this character, after white space."""
        here = self.peek()
        if here < 0:
            raise self._ended()
        if here != ord(character):
            raise self.wrong(f"{character!r} is missing at byte {self.window.offset:,}")
        self.window.pos += 1

    def string(self, limit: int = MAX_NAME) -> bytes:
        """The raw bytes of a string of at most `limit` bytes, still escaped."""
        self.expect('"')
        window = self.window
        while True:
            match = _IN_STRING.match(window.buffer, window.pos)
            assert match is not None
            end = match.end()
            if end - window.pos > limit:
                raise self.wrong(f"a name is longer than {limit:,} bytes")
            if end < len(window.buffer) and window.buffer[end] == 0x22:
                data = window.buffer[window.pos : end]
                window.pos = end + 1
                return data
            if end + 1 < len(window.buffer):
                raise self.wrong("a string holds a control character")
            if not window.more():
                raise self._ended()

    def text(self, limit: int = MAX_NAME) -> str:
        """A string of at most `limit` bytes, decoded."""
        return self.decode(self.string(limit))

    def decode(self, raw: bytes) -> str:
        """What the bytes between two quotes stand for."""
        try:
            return str(json.loads(b'"' + raw + b'"')) if b"\\" in raw else raw.decode("utf-8")
        except ValueError as error:
            raise self.wrong("a string is not sound text") from error

    def skip_string(self) -> None:
        """Walk over a string of any length."""
        self.expect('"')
        window = self.window
        while True:
            match = _IN_STRING.match(window.buffer, window.pos)
            assert match is not None
            window.pos = match.end()
            if window.pos + 1 < len(window.buffer) or (
                window.pos < len(window.buffer) and window.buffer[window.pos] != 0x5C
            ):
                if window.buffer[window.pos] != 0x22:
                    raise self.wrong("a string holds a control character")
                window.pos += 1
                return
            if not window.more():
                raise self._ended()

    def skip(self) -> None:
        """Walk over one value of any kind."""
        first = self.peek()
        if first == 0x22:
            return self.skip_string()
        window = self.window
        if first not in _CLOSES:
            return self._skip_scalar()
        stack = bytearray()
        while True:
            self._step()
            here = self.peek_structure()
            if here in _CLOSES:
                stack.append(_CLOSES[here])
                if len(stack) > MAX_DEPTH:
                    raise self.wrong("it is nested too deep")
            elif here == 0x22:
                self.skip_string()
                continue
            elif not stack or stack.pop() != here:
                raise self.wrong("its brackets do not match")
            window.pos += 1
            if not stack:
                return None

    def _skip_scalar(self) -> None:
        window = self.window
        if window.left < 1:
            raise self._ended()
        start = window.offset
        while True:
            match = _SCALAR.match(window.buffer, window.pos)
            assert match is not None
            window.pos = match.end()
            if window.offset == start or window.offset - start > MAX_NAME:
                raise self.wrong(f"there is no value at byte {start:,}")
            if window.pos < len(window.buffer) or not window.more():
                return

    def peek_structure(self) -> int:
        """The next bracket, brace or quote, not consumed."""
        window = self.window
        while True:
            match = _BETWEEN.match(window.buffer, window.pos)
            assert match is not None
            window.pos = match.end()
            if window.pos < len(window.buffer):
                return window.buffer[window.pos]
            if not window.more():
                raise self._ended()

    def members(self) -> Iterator[bytes]:
        """The raw keys of an object; the caller consumes each value before it asks for the next."""
        self.expect("{")
        if self.peek() == 0x7D:
            self.window.pos += 1
            return
        while True:
            self._step()
            key = self.string()
            self.expect(":")
            yield key
            if self.peek() == 0x7D:
                self.window.pos += 1
                return
            self.expect(",")

    def value(self) -> Any:
        """The next value, parsed; `LARGE` when it is larger than what is kept (1 MiB)."""
        self.peek()
        start = self.window.offset
        self.skip()
        length = self.window.offset - start
        if length > MAX_CAPTURED:
            return LARGE
        try:
            return parse(self._file.read_at(start, length))
        except ValueError as error:
            raise self.wrong(str(error)) from error

    def at_end(self) -> None:
        """Raise unless nothing but white space is left."""
        if self.peek() != -1:
            raise self.wrong(f"something follows at byte {self.window.offset:,}")


def read_members(file: Opened, wanted: Callable[[str], bool], what: str = "a configuration") -> dict[str, Any]:
    """Those members of the JSON object in a file whose key is wanted; values above 1 MiB become `LARGE`.

    Of a key that occurs twice the last counts, as in the programs that read the same file.

    Raises:
        Unreadable: not a JSON object, larger than 64 MiB, or nested too deep.
        Incomplete: it ends too early.
    """
    stream = _document(file, what)
    found: dict[str, Any] = {}
    for raw in stream.members():
        key = stream.decode(raw)
        if wanted(key):
            found[key] = stream.value()
        else:
            stream.skip()
    stream.at_end()
    return found


def weight_map(file: Opened) -> tuple[tuple[str, ...], int]:
    """The names of the files in a `*.index.json`, sorted, and how many tensors it lists.

    Raises:
        Unreadable: not an index, or it names more than 10,000 files.
    """
    stream = _document(file, "an index")
    names: set[str] = set()
    known: set[bytes] = set()
    tensors = 0
    for raw in stream.members():
        if stream.decode(raw) != "weight_map":
            stream.skip()
            continue
        for _ in stream.members():
            name = stream.string()
            tensors += 1
            if name not in known:
                known.add(name)
                names.add(stream.decode(name))
            if len(known) > MAX_FILES:
                raise stream.wrong(f"it names more than {MAX_FILES:,} files")
    stream.at_end()
    if not names:
        raise stream.wrong("it names no file")
    return tuple(sorted(names)), tensors


def _document(file: Opened, what: str) -> JsonStream:
    if file.size > MAX_DOCUMENT:
        raise Unreadable(f"{show(file.path)} is not {what}: it has {file.size:,} bytes", path=file.path)
    start = 3 if file.read_at(0, 3) == b"\xef\xbb\xbf" else 0
    return JsonStream(file, start, file.size, what)
