"""What a file is, by its first bytes alone. Pickles are never opened further than this."""

from __future__ import annotations

from enum import StrEnum

from helixstore.formats import gguf
from helixstore.formats.names import extension
from helixstore.formats.opened import Opened

__all__ = ["UNSAFE", "Content", "sniff"]

#: Why a pickle is not opened, for people.
UNSAFE = "a PyTorch pickle: loading it runs whatever code it holds"

_HEAD = 128                                             # bytes; the name of a ZIP's first entry lies in them
#: "ggml", "ggmf", "ggjt", "ggla" as little-endian numbers: what came before GGUF.
_LEGACY = (b"lmgg", b"fmgg", b"tjgg", b"algg")
_PICKLE_NAMES = frozenset({"pt", "pth", "ckpt", "pkl", "pickle"})


class Content(StrEnum):
    """The container that the first bytes show."""

    GGUF = "gguf"
    SAFETENSORS = "safetensors"
    PICKLE = "pickle"
    LEGACY = "ggml"
    OTHER = "other"


def sniff(file: Opened) -> Content:
    """Name the content of an open file: at most 128 bytes are read.

    A file whose name says pickle and whose content says nothing known counts as a pickle: pickles of protocol 0 and
    in archives have no mark of their own.
    """
    head = file.read_at(0, _HEAD)
    if head.startswith(gguf.MAGIC):
        return Content.GGUF
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 100_000_000:
        return Content.SAFETENSORS
    if head.startswith(_LEGACY):
        return Content.LEGACY
    if _is_pickle(head) or extension(file.path) in _PICKLE_NAMES:
        return Content.PICKLE
    return Content.OTHER


def _is_pickle(head: bytes) -> bool:
    """A pickle of protocol 2 to 5, or the ZIP in which torch.save puts one."""
    if head[:1] == b"\x80" and len(head) > 2 and 2 <= head[1] <= 5:
        return True
    return head.startswith(b"PK\x03\x04") and (b"data.pkl" in head or b"/version" in head or b"constants.pkl" in head)
