"""What is set while a store is open counts from then on."""

from __future__ import annotations

import pytest

from helixstore.errors import Failed
from support.person import Person


def test_a_setting_reaches_the_open_store(synced: Person) -> None:
    with synced.open() as store:
        assert store.undo(dry_run=True).actions
        store.set_config("undo_window", 0)
        with pytest.raises(Failed, match="nothing to undo"):
            store.undo()
        store.set_config("undo_window", 3600)
        assert store.undo(dry_run=True).actions
