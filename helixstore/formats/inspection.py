"""What a look at files tells: one model with its parts, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from helixstore.values import Format, Header, Purpose, Role

__all__ = ["Inspection", "Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a model.

    Attributes:
        path: POSIX, relative to the model's own folder.
        location: where it lies, absolute; may be a link.
        bytes: size in bytes, of the file that it leads to.
        role: what it is for.
    """

    path: str
    location: Path
    bytes: int
    role: Role


@dataclass(frozen=True, slots=True)
class Inspection:
    """One loadable thing as it lies on the disk.

    Attributes:
        location: the file (first shard) or folder, absolute.
        name: the stem without quantisation and shard suffix, or the folder's name.
        format: how the bytes are to be read.
        quantization: "Q4_K_M", "BF16", "int4-g128", ...; "" when unknown.
        purpose: what it can do.
        header: what the header of the weights, or the configuration, says.
        parts: its files, sorted by path.
        missing: names of shards or files that its own header or index asks for and that are not there.
        unsafe: why it must not be opened (pickles), else "".
        notes: what a person may wonder about: a file type that contradicts the tensors, files that were left out.
    """

    location: Path
    name: str
    format: Format
    quantization: str
    purpose: Purpose
    header: Header
    parts: tuple[Part, ...]
    missing: tuple[str, ...] = ()
    unsafe: str = ""
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Nothing is missing."""
        return not self.missing

    @property
    def bytes(self) -> int:
        """Size of all parts together, in bytes."""
        return sum(part.bytes for part in self.parts)
