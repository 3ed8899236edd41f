"""What a watch depends on beside the folders: settings, the store, its disks, and what other people and hosts claim."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from helixstore.session import disks_changed

if TYPE_CHECKING:
    from helixstore.session import Session

__all__ = ["Surroundings"]

Stamp = tuple[tuple[str, int, int, int], ...]


class Surroundings:
    """Compares them with what they were, by a few stats.

    Args:
        session: whose; its store must be open.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._folder = str(session.store.path)
        self._store = session.store.id
        self._settings = self._stamp()

    def store_there(self) -> bool:
        """Whether the store that was opened is where it was: its disk may be unmounted, and another one there."""
        try:
            with open(os.path.join(self._folder, "store.json"), "rb") as file:
                return bool(json.load(file).get("store_id") == self._store)
        except (OSError, ValueError, AttributeError):
            return False

    def settings_changed(self) -> bool:
        """Whether somebody wrote a settings file or a layout of their own; they are read anew when next asked for."""
        now = self._stamp()
        if now == self._settings:
            return False
        self._settings = now
        self._session.forget_settings()
        self._session.__dict__.pop("layouts", None)
        return True

    def disks_changed(self) -> bool:
        """Whether a volume has come or gone."""
        self._session.store.volumes.refresh()
        return disks_changed(self._session)

    def claims_changed(self) -> bool:
        """Whether other people, hosts or commands have changed what there is; the index has taken it in then."""
        return self._session.index.refresh()

    def _stamp(self) -> Stamp:
        places = self._session.places
        files = [*places.site_config_files, places.config_file]
        with contextlib.suppress(OSError):      # most people make no such folder
            files += sorted(places.layouts.iterdir())
        found = []
        for file in files:
            try:
                status = os.stat(file)
            except OSError:
                continue
            found.append((str(file), status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)
