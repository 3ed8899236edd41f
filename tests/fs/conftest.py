"""Fixtures of real file systems."""

from __future__ import annotations

from support.disks import disk, disks, shared  # noqa: F401
