"""The header of a safetensors file: our own reader, with the limits of the format's own.

Facts from huggingface/safetensors `tensor.rs`: eight bytes of length, at most 100,000,000 bytes of JSON, offsets that
start at 0, follow each other without hole or overlap and cover the file exactly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from helixstore.errors import Incomplete, Unreadable
from helixstore.formats.jsonstream import JsonStream, parse
from helixstore.formats.opened import Opened, show

__all__ = ["Safetensors", "read_safetensors"]

MAX_HEADER = 100_000_000        # bytes, as in the format's own reader
MAX_TENSORS = 1 << 18
MAX_NAME = 512                  # bytes
MAX_INFO = 2048                 # bytes of one tensor's entry
MAX_ELEMENTS = 1 << 60
MAX_METADATA = 64               # entries that are kept
MAX_SUFFIXES = 4096
MAX_DTYPES = 64
_METADATA = b"__metadata__"

#: Bits of one element.
DTYPES = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}

_USUAL = re.compile(
    rb'\{\s*"dtype"\s*:\s*"([A-Z0-9_]{1,16})"\s*,\s*"shape"\s*:\s*\[([0-9,\s]{0,512})\]\s*,'
    rb'\s*"data_offsets"\s*:\s*\[\s*([0-9]{1,19})\s*,\s*([0-9]{1,19})\s*\]\s*\}'
)
_DTYPE = re.compile(r"[A-Z][A-Z0-9_]{0,15}")
_BODY = re.compile(rb"\{[^{}]*+\}")


@dataclass(slots=True)
class Safetensors:
    """What the header of one safetensors file says.

    Attributes:
        size: of the file, in bytes.
        tensors: how many.
        elements: (last part of the tensor's name, dtype) -> elements; names beyond 4,096 different ones under "".
        bytes: dtype -> bytes.
        counts: dtype -> tensors.
        metadata: the first 64 short entries of `__metadata__`.
        exl3: elements, unpacked, of all EXL3 trellises.
        exl2: elements, unpacked, of all EXL2 matrices.
    """

    size: int
    tensors: int = 0
    elements: dict[tuple[str, str], int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    exl3: int = 0
    exl2: int = 0


def read_safetensors(file: Opened) -> Safetensors:
    """Read the header of an open file and check it against the file's size.

    Raises:
        Unreadable: not safetensors, or a header that lies.
        Incomplete: the file ends before its last tensor does, or within the header.
    """
    return _Reader(file).read()


class _Reader:
    def __init__(self, file: Opened) -> None:
        self._file = file
        self._facts = Safetensors(file.size)
        self._seen: set[int] = set()
        self._spans: list[tuple[int, int]] = []
        self._open_exl2: dict[str, int] = {}

    def _lie(self, what: str) -> Unreadable:
        name = show(self._file.path)
        return Unreadable(f"{name} is not a sound safetensors file: {what}", "download it again", self._file.path)

    def read(self) -> Safetensors:
        file = self._file
        start = file.read_at(0, 9)
        if len(start) < 9 or start[8:] != b"{":
            raise Unreadable(f"{show(file.path)} is not a safetensors file", path=file.path)
        length = int.from_bytes(start[:8], "little")
        if length > MAX_HEADER:
            raise self._lie(f"it claims a header of {length:,} bytes")
        if 8 + length > file.size:
            raise Incomplete(
                f"{show(file.path)} has {file.size:,} bytes and a header of {length:,}", "download it again", file.path
            )
        stream = JsonStream(file, 8, 8 + length, "the header of safetensors")
        for raw in stream.members():
            key = hash(stream.decode(raw) if b"\\" in raw else raw)
            if key in self._seen or len(raw) > MAX_NAME:
                raise self._lie("a name occurs twice or is too long")
            self._seen.add(key)
            if raw == _METADATA:
                self._metadata(stream)
            else:
                self._tensor(stream, stream.decode(raw))
        stream.at_end()
        self._check_data(file.size - 8 - length)
        file.check_unchanged()
        return self._facts

    def _metadata(self, stream: JsonStream) -> None:
        if stream.peek() == ord("n"):                   # some writers leave null
            return stream.skip()
        for raw in stream.members():
            if stream.peek() != 0x22:
                raise self._lie("its metadata holds more than text")
            if len(self._facts.metadata) >= MAX_METADATA or len(raw) > MAX_NAME:
                stream.skip_string()
            elif isinstance(value := stream.value(), str) and len(value) <= 1024:
                self._facts.metadata[stream.decode(raw)] = value
        return None

    def _tensor(self, stream: JsonStream, name: str) -> None:
        dtype, shape, begin, end = self._entry(stream)
        elements = 1
        for length in shape:
            elements *= length
            if elements > MAX_ELEMENTS or length > MAX_ELEMENTS:
                raise self._lie(f"the tensor {name!r} claims more elements than exist")
        if begin > end:
            raise self._lie(f"the tensor {name!r} ends before it starts")
        bits = DTYPES.get(dtype)
        if bits is not None and elements * bits != (end - begin) * 8:
            raise self._lie(f"the tensor {name!r} of {elements:,} {dtype} has {end - begin:,} bytes")
        facts = self._facts
        facts.tensors += 1
        if facts.tensors > MAX_TENSORS:
            raise self._lie(f"it has more than {MAX_TENSORS:,} tensors")
        self._spans.append((begin, end))
        module, _, suffix = name.rpartition(".")
        key = (suffix, dtype)
        if key not in facts.elements and len(facts.elements) >= MAX_SUFFIXES:
            key = ("", dtype)
        facts.elements[key] = facts.elements.get(key, 0) + elements
        facts.bytes[dtype] = facts.bytes.get(dtype, 0) + end - begin
        facts.counts[dtype] = facts.counts.get(dtype, 0) + 1
        if len(facts.counts) > MAX_DTYPES:
            raise self._lie("it has too many types of tensors")
        self._count_exl(module, suffix, shape)

    def _entry(self, stream: JsonStream) -> tuple[str, list[int], int, int]:
        if stream.peek() != ord("{"):
            raise self._lie("a tensor's entry is no object")
        window = stream.window
        window.need(min(MAX_INFO, window.left))
        if match := _USUAL.match(window.buffer, window.pos):
            window.pos = match.end()
            try:
                shape = [int(part) for part in match[2].split(b",")] if match[2].strip() else []
            except ValueError as error:
                raise self._lie("a shape holds what is no number") from error
            return match[1].decode(), shape, int(match[3]), int(match[4])
        match = _BODY.match(window.buffer, window.pos, window.pos + MAX_INFO)
        if match is None:
            raise self._lie("a tensor's entry is longer than any")
        window.pos = match.end()
        return self._unusual(match[0])

    def _unusual(self, body: bytes) -> tuple[str, list[int], int, int]:
        """An entry whose members come in another order."""
        try:
            entry = parse(body, unique=True)
        except ValueError as error:
            raise self._lie(f"a tensor's entry cannot be read: {error}") from error
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
            raise self._lie("a tensor has no type")
        if not _natural(shape) or not _natural(offsets) or len(offsets) != 2:
            raise self._lie("a tensor has no shape or place")
        return dtype, shape, offsets[0], offsets[1]

    def _count_exl(self, module: str, suffix: str, shape: list[int]) -> None:
        """EXL3: a trellis holds tiles of 16 x 16. EXL2: rows from `q_invperm`, columns from `q_weight`."""
        if suffix == "trellis" and len(shape) == 3:
            self._facts.exl3 += shape[0] * shape[1] * 256
        elif (suffix == "q_weight" and len(shape) == 2) or (suffix == "q_invperm" and len(shape) == 1):
            length = shape[-1]
            if module in self._open_exl2:
                self._facts.exl2 += self._open_exl2.pop(module) * length
            else:
                self._open_exl2[module] = length

    def _check_data(self, available: int) -> None:
        end = 0
        for begin, stop in sorted(self._spans):
            if begin != end:
                raise self._lie("its tensors overlap" if begin < end else "there are bytes between its tensors")
            end = stop
        if end > available:
            whole = self._file.size - available + end
            raise Incomplete(
                f"{show(self._file.path)} has {self._file.size:,} of {whole:,} bytes", "download it again",
                self._file.path,
            )
        if end < available:
            raise self._lie(f"{available - end:,} bytes at its end belong to no tensor")


def _natural(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
