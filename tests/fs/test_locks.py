"""Locks among processes, where the file that they lock comes and goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from helixstore.fs import locks

_WORKER = """
import os, sys
from helixstore.fs import locks
path = sys.argv[1]
for _ in range(300):
    with locks.lock_file(path):
        os.close(os.open(path + ".inside", os.O_CREAT | os.O_EXCL))
        os.unlink(path + ".inside")
        os.unlink(path)
"""


def test_one_process_at_a_time_though_each_removes_the_file_that_it_has_locked(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WORKER, str(tmp_path / "lock")]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [worker.communicate(timeout=60)[1] for worker in workers] == [""] * 4
    assert os.listdir(tmp_path) == []


def test_a_lock_that_nobody_holds_is_removed_and_no_other(tmp_path: Path) -> None:
    path, link = tmp_path / "lock", tmp_path / "link"
    with locks.lock_file(path):
        assert not locks.remove_lock(path)
        assert path.exists()
    link.symlink_to(path)
    assert not locks.remove_lock(link)
    assert locks.remove_lock(path)
    assert not path.exists()
    assert not locks.remove_lock(path)
