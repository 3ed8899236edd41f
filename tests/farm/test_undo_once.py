"""An `undo` that is killed anywhere is finished by recovery, and what it took back cannot be taken back again."""

from __future__ import annotations

import os
from pathlib import Path

from farmland import Land, text

from helixstore.fs import kernel
from helixstore.store.host import Host
from helixstore.store.store import Store
from helixstore.values import Key
from support.disks import dying_at

A = Key("a", "gguf:Q4_K_M")
CALLS = (*((kernel, name) for name in ("hard_link", "replace", "replace_file", "publish", "unlink", "sync_folder")),
         (os, "mkdir"), (os, "rmdir"))


def test_killed_anywhere_an_operation_is_undone_once(tmp_path: Path) -> None:
    Store.create(tmp_path / "store", Host("h0", os.geteuid(), "b0"))
    number = 0
    while True:
        number += 1
        store = Store.open(tmp_path / "store", Host(f"h{number}", os.geteuid(), "b0"))
        land = Land(tmp_path / f"at{number}", store=store)
        land.sync(text("a.yml", b"a", A))
        lived = not dying_at(number, lambda land=land: land.another().undo(), CALLS)
        farm = land.another()
        farm.recover()
        begun = len(farm.journal.numbers()) == 2
        assert farm.journal.undoable(0) == ([] if begun else [1]), number
        assert land.tree() == ({} if begun else {"a.yml": b"a"}), number
        assert not begun or not store.keeps.digests("op-1")
        if lived:
            break
    assert number > 8
