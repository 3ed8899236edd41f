"""Fixtures of real file systems."""

from __future__ import annotations

from disks import disk, disks, shared  # noqa: F401
