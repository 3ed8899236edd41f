"""While nothing happens, nothing is done; and the same session serves other threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from watched import Home, until

from helixstore import HelixStore
from helixstore.watch.told import Told


@contextmanager
def running(home: Home) -> Iterator[tuple[HelixStore, list[Told]]]:
    """A watch in a thread of this process."""
    told: list[Told] = []
    with HelixStore(environ=home.environ) as store:
        watch = store.watch(told.append)
        thread = threading.Thread(target=watch.run)
        thread.start()
        try:
            until(lambda: any(one.event == "started" for one in told), "it works")
            yield store, told
        finally:
            watch.stop()
            thread.join(60)
            assert not thread.is_alive()


def test_other_threads_use_the_same_store_meanwhile(home: Home) -> None:
    with running(home) as (store, told):
        path = home.model("models/asked-Q4_K_M.gguf", "asked", 2)
        until(lambda: any(one.facts.get("adopted") for one in told), "it is taken in")
        assert store.path("asked").exists()
        store.hide("asked", "jan")
        assert store.sync().actions == ()
        assert str(path) not in [issue.path for issue in store.status().issues]


def test_idle_costs_next_to_nothing(home: Home) -> None:
    home.model("models/quiet-Q4_K_M.gguf", "quiet", 3)
    home.helix("sync", "--yes")
    with home.watch() as watching:
        stat = Path(f"/proc/{watching.process.pid}/stat")

        def used() -> float:
            fields = stat.read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        before, began, passes = used(), time.monotonic(), len(watching.passes)
        until(lambda: time.monotonic() - began > 4, "some seconds have passed")
        assert used() - before < 0.2                    # it polls ten times as often as by default
        assert len(watching.passes) == passes
