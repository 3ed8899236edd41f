"""The header of a GGUF file, read lazily: version 2 and 3, either byte order, bounded memory and time.

Array values (vocabularies of 262,144 strings) are walked over, never kept. Every length and count in the file is taken
for a lie until it is below a cap or the file proves it. The format is described in ggml's `docs/gguf.md`; what
llama.cpp refuses (duplicate keys and tensors, offsets that are not aligned, more than four dimensions) is refused here.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from helixstore.errors import Incomplete, Unreadable
from helixstore.formats.ggml import TENSOR_TYPES
from helixstore.formats.opened import Opened, Window, show

__all__ = ["MAGIC", "Gguf", "Value", "read_gguf"]

MAGIC = b"GGUF"
Value = int | float | bool | str

# Caps. The largest headers known have 16 MB, 60 keys, 0.5 million strings and 30,000 tensors.
MAX_HEADER = 256 << 20          # bytes from the start of the file to its data
MAX_KEYS = 8192
MAX_KEY = 1024                  # bytes
MAX_STRING = 64 << 20           # bytes; a whole tokenizer.json may lie in one
MAX_KEPT = 4096                 # bytes of a string that is kept
MAX_ITEMS = 1 << 22             # strings and inner arrays in all arrays together
MAX_DEPTH = 4
MAX_TENSORS = 1 << 17
MAX_NAME = 512                  # bytes; ggml itself stops at 64
MAX_DIMENSIONS = 4
MAX_ELEMENTS = 1 << 60
MAX_ALIGNMENT = 1 << 20

_STRING, _ARRAY = 8, 9
#: value type -> (struct code, bytes); 7 is a bool
_SCALARS = {
    0: ("B", 1), 1: ("b", 1), 2: ("H", 2), 3: ("h", 2), 4: ("I", 4), 5: ("i", 4), 6: ("f", 4), 7: ("B", 1),
    10: ("Q", 8), 11: ("q", 8), 12: ("d", 8),
}


@dataclass(slots=True)
class Gguf:
    """What the header of one GGUF file says, literally.

    Attributes:
        size: of the file, in bytes.
        version: 2 or 3.
        byte_order: "little" or "big".
        values: key -> number or string (its first 4,096 bytes); no arrays.
        lengths: key -> how many entries an array has, or bytes a string.
        tensors: how many.
        parameters: elements of all tensors.
        types: tensor type -> how many tensors; `type-N` where N is not known here, and its ends were not checked.
        weight_elements: tensor type -> elements in matrices of the layers (all matrices, where there are no layers).
        has_layers: there are tensors below `blk.`.
        has_tower: there are tensors of a vision or audio tower: `v.`, `a.`, `mm.`.
        data_offset: where the tensors start, in bytes.
        end: where the last tensor ends, in bytes.
    """

    size: int
    version: int
    byte_order: str
    values: dict[str, Value] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    tensors: int = 0
    parameters: int = 0
    types: dict[str, int] = field(default_factory=dict)
    weight_elements: dict[str, int] = field(default_factory=dict)
    has_layers: bool = False
    has_tower: bool = False
    data_offset: int = 0
    end: int = 0


def read_gguf(file: Opened) -> Gguf:
    """Read the header of an open file and check its tensors against the file's size.

    Returns:
        What it says. Tensors are known to lie apart from each other, aligned, and inside the file.

    Raises:
        Unreadable: not GGUF, a version nobody reads, or a header that lies.
        Incomplete: the file ends before its last tensor does, or within the header.
    """
    return _Reader(file).read()


class _Reader:
    """One pass over one header."""

    def __init__(self, file: Opened) -> None:
        self._file = file
        self._window = Window(file, 0, file.size)
        self._items = MAX_ITEMS
        self._order = "<"
        self._u32 = struct.Struct("<I")
        self._u64 = struct.Struct("<Q")

    def read(self) -> Gguf:
        facts, tensors, keys = self._start()
        self._read_values(facts, keys)
        alignment = self._alignment(facts)
        offsets, sizes = self._read_tensors(facts, tensors)
        facts.data_offset = -(-self._window.offset // alignment) * alignment
        self._check_data(facts, offsets, sizes, alignment)
        self._file.check_unchanged()
        return facts

    def _lie(self, what: str) -> Unreadable:
        return Unreadable(f"{show(self._file.path)} is not a sound GGUF: {what}", "download it again", self._file.path)

    def _start(self) -> tuple[Gguf, int, int]:
        window = self._window
        if self._file.size >= 4:
            window.need(4)
        if window.buffer[:4] != MAGIC:
            raise Unreadable(f"{show(self._file.path)} is not a GGUF file", path=self._file.path)
        window.need(24)
        raw = window.buffer[4:8]
        little, big = int.from_bytes(raw, "little"), int.from_bytes(raw, "big")
        version, byte_order = (little, "little") if little <= big else (big, "big")
        if version not in (2, 3):
            raise Unreadable(
                f"{show(self._file.path)} is GGUF version {version}, not 2 or 3",
                "convert it again with a current llama.cpp" if version < 2 else "a newer helixstore may read it",
                self._file.path,
            )
        self._order = "<" if byte_order == "little" else ">"
        self._u32, self._u64 = struct.Struct(self._order + "I"), struct.Struct(self._order + "Q")
        tensors, keys = struct.unpack_from(self._order + "QQ", window.buffer, 8)
        window.pos = 24
        if keys > MAX_KEYS:
            raise self._lie(f"it claims {keys:,} keys")
        if tensors > MAX_TENSORS:
            raise self._lie(f"it claims {tensors:,} tensors")
        return Gguf(self._file.size, version, byte_order), tensors, keys

    # ---- values

    def _number(self, unpacker: struct.Struct) -> int:
        window = self._window
        window.need(unpacker.size)
        value: int = unpacker.unpack_from(window.buffer, window.pos)[0]
        window.pos += unpacker.size
        return value

    def _bytes(self, limit: int, what: str) -> bytes:
        window = self._window
        length = self._number(self._u64)
        if length > limit:
            raise self._lie(f"it claims {what} of {length:,} bytes")
        window.need(length)
        data = window.buffer[window.pos : window.pos + length]
        window.pos += length
        return data

    def _read_values(self, facts: Gguf, count: int) -> None:
        seen: set[bytes] = set()
        for _ in range(count):
            raw = self._bytes(MAX_KEY, "a key")
            if raw in seen:
                raise self._lie(f"the key {raw!r} occurs twice")
            seen.add(raw)
            key = raw.decode("utf-8", "replace")
            kind = self._number(self._u32)
            if kind == _STRING:
                self._read_string(facts, key)
            elif kind == _ARRAY:
                facts.lengths[key] = self._skip_array(0)
            else:
                facts.values[key] = self._scalar(kind)
            if self._window.offset > MAX_HEADER:
                raise self._lie("its header has no end")

    def _scalar(self, kind: int) -> Value:
        if kind not in _SCALARS:
            raise self._lie(f"it has a value of type {kind}")
        code, size = _SCALARS[kind]
        window = self._window
        window.need(size)
        value: int | float = struct.unpack_from(self._order + code, window.buffer, window.pos)[0]
        window.pos += size
        return bool(value) if kind == 7 else value

    def _read_string(self, facts: Gguf, key: str) -> None:
        window = self._window
        length = self._number(self._u64)
        if length > MAX_STRING:
            raise self._lie(f"it claims a string of {length:,} bytes")
        facts.lengths[key] = length
        if length <= MAX_KEPT:
            window.need(length)
            facts.values[key] = window.buffer[window.pos : window.pos + length].decode("utf-8", "replace")
        window.skip(length)

    def _skip_array(self, depth: int) -> int:
        """Walk over one array; returns how many entries it has."""
        if depth >= MAX_DEPTH:
            raise self._lie("its arrays are nested too deep")
        kind, count = self._number(self._u32), self._number(self._u64)
        if kind == _STRING:
            self._spend(count)
            self._skip_strings(count)
        elif kind == _ARRAY:
            self._spend(count)
            for _ in range(count):
                self._skip_array(depth + 1)
        elif kind in _SCALARS:
            if count > MAX_HEADER:
                raise self._lie(f"it claims an array of {count:,} entries")
            self._window.skip(count * _SCALARS[kind][1])
        else:
            raise self._lie(f"it has an array of type {kind}")
        return count

    def _spend(self, count: int) -> None:
        self._items -= count
        if self._items < 0:
            raise self._lie(f"it claims an array of {count:,} entries")

    def _skip_strings(self, count: int) -> None:
        window, unpack = self._window, self._u64.unpack_from
        while count:
            window.need(8)
            buffer, pos = window.buffer, window.pos
            last = len(buffer) - 8
            while count and pos <= last:
                pos += unpack(buffer, pos)[0] + 8
                count -= 1
            ahead = pos - window.pos
            if pos - len(buffer) > MAX_STRING:
                raise self._lie("it claims a string that is longer than any")
            window.skip(ahead)
            if window.offset > MAX_HEADER:
                raise self._lie("its header has no end")

    # ---- tensors

    def _alignment(self, facts: Gguf) -> int:
        alignment = facts.values.get("general.alignment", 32)
        sound = isinstance(alignment, int) and 0 < alignment <= MAX_ALIGNMENT and alignment & (alignment - 1) == 0
        if not sound or "general.alignment" in facts.lengths:
            raise self._lie(f"it claims an alignment of {alignment}")
        return int(alignment)

    def _read_tensors(self, facts: Gguf, count: int) -> tuple[array[int], array[int]]:
        offsets, sizes = array("Q"), array("Q")
        rest = [struct.Struct(f"{self._order}{n}QIQ") for n in range(MAX_DIMENSIONS + 1)]
        window, seen, layers, others = self._window, set[bytes](), dict[str, int](), dict[str, int]()
        for _ in range(count):
            name = self._bytes(MAX_NAME, "a tensor's name")
            if name in seen:
                raise self._lie(f"the tensor {name!r} occurs twice")
            seen.add(name)
            dimensions = self._number(self._u32)
            if dimensions > MAX_DIMENSIONS:
                raise self._lie(f"the tensor {name!r} has {dimensions:,} dimensions")
            window.need(rest[dimensions].size)
            *shape, kind, offset = rest[dimensions].unpack_from(window.buffer, window.pos)
            window.pos += rest[dimensions].size
            elements, size = self._size(name, shape, kind)
            offsets.append(offset)
            sizes.append(size)
            label = TENSOR_TYPES[kind].name if kind in TENSOR_TYPES else f"type-{kind}"
            facts.types[label] = facts.types.get(label, 0) + 1
            facts.parameters += elements
            in_layer = name.startswith(b"blk.")
            facts.has_layers |= in_layer
            facts.has_tower |= name.startswith((b"v.", b"a.", b"mm."))
            if dimensions >= 2:
                target = layers if in_layer else others
                target[label] = target.get(label, 0) + elements
        facts.tensors = count
        facts.weight_elements = layers or others
        return offsets, sizes

    def _size(self, name: bytes, shape: list[int], kind: int) -> tuple[int, int]:
        """Elements and bytes of one tensor; 0 bytes where the type is not known."""
        elements = 1
        for length in shape:
            elements *= length
            if elements > MAX_ELEMENTS or length > MAX_ELEMENTS:
                raise self._lie(f"the tensor {name!r} claims more elements than exist")
        if kind not in TENSOR_TYPES:
            if kind > 0xFFFF:
                raise self._lie(f"the tensor {name!r} is of type {kind:,}")
            return elements, 0
        _, block, size = TENSOR_TYPES[kind]
        if (shape[0] if shape else 1) % block:
            raise self._lie(f"the rows of the tensor {name!r} are no multiple of {block}")
        return elements, elements // block * size

    def _check_data(self, facts: Gguf, offsets: array[int], sizes: array[int], alignment: int) -> None:
        """Tensors aligned, apart from each other, inside the file."""
        end = start = 0
        spans: Iterable[tuple[int, int]] = zip(offsets, sizes, strict=True)
        if any(a > b for a, b in pairwise(offsets)):
            spans = sorted(spans)
        for offset, size in spans:
            if offset % alignment:
                raise self._lie(f"a tensor starts at {offset:,}, which is no multiple of {alignment}")
            if offset < end or (size and offset == start and end > start):
                raise self._lie("two of its tensors overlap")
            start, end = offset, offset + size
        facts.end = facts.data_offset + end if len(offsets) else self._window.offset
        if facts.end > MAX_ELEMENTS:
            raise self._lie(f"a tensor ends at {facts.end:,}")
        if facts.end > facts.size:
            raise Incomplete(
                f"{show(self._file.path)} has {facts.size:,} of {facts.end:,} bytes", "download it again",
                self._file.path,
            )
