"""Bytes to send around, and little patience."""

from __future__ import annotations

import hashlib

from helixstore.oci.access import Patience

__all__ = ["QUICK", "bytes_of", "sha256"]

QUICK = Patience(first=0.01, longest=0.05, silence=5.0)


def bytes_of(size: int, seed: int = 1) -> bytes:
    """The same `size` bytes for the same seed, all different."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
