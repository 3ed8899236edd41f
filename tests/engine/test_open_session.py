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


def test_the_log_speaks_of_files_and_models(synced: Person) -> None:
    with synced.open() as store:
        store.hide("other", "jan")
        store.undo()
        for row in store.log():
            assert row["summary"], row
            for word in ("make", "intake", "folder", "own", "unhide"):
                assert word not in row["summary"].split(), row["summary"]
        assert "took in" in store.log()[-1]["summary"]
