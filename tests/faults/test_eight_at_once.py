"""Eight processes of mixed commands at once, collections and repairs among them, beside one that watches: every file
is readable all the time, and in the end all is as some order of them would have left it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from armed import Armed, Ran
from judge import Judging
from world import World

from support.household import gguf
from support.soak import SOAK, note

_SECONDS = 60.0 if SOAK else 3.0
_AT_ONCE = {"HELIXSTORE_GRACE": "0", "HELIXSTORE_UNDO_WINDOW": "0"}
_MODELS = ("gem", "other", "plain", "looker")


class Worker:
    """One process after another, as one terminal would start them."""

    def __init__(self, number: int, world: World, armed: Armed) -> None:
        self.number, self.armed = number, armed
        self.world = World(world.ground, armed)
        self.chance = random.Random(number)
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.mine = [f"mine-{number}-{one}" for one in range(3)]

    def work(self, until: float) -> None:
        """Commands by chance."""
        choices: list[Callable[[], tuple[str, ...]]] = [
            lambda: ("sync", "--yes"), lambda: ("gc",), lambda: ("gc", "--now", "--yes"), lambda: ("verify",),
            lambda: ("verify", "--repair"),
            lambda: ("undo", "--yes"), lambda: ("status",), lambda: ("list",), lambda: ("doctor",),
            lambda: ("reindex",), lambda: ("pin", self.model()), lambda: ("unpin", self.model()),
            lambda: ("hide", self.model(), "--provider", self.chance.choice(("jan", "llamacpp"))),
            lambda: ("unhide", self.model()), lambda: ("share", self.model()),
            lambda: ("add", f"~/elsewhere/{self.one()}.gguf", "--name", self.one()),
            lambda: ("remove", self.one(), "--yes"), lambda: ("link", self.model(), f"~/mine-{self.number}"),
            lambda: ("config", "set", "share", "all"), lambda: ("trash", "list"),
            lambda: ("providers", self.chance.choice(("on", "off")), "gpt4all"), lambda: ("volume", "list"),
        ]
        while time.monotonic() < until:
            self.told(self.chance.choice(choices)())

    def model(self) -> str:
        return self.chance.choice((*_MODELS, self.chance.choice(self.mine)))

    def one(self) -> str:
        return self.chance.choice(self.mine)

    def told(self, line: tuple[str, ...]) -> None:
        """Run it; it succeeds, has issues, or says what stands in its way."""
        self.world.environ |= _AT_ONCE if "gc" in line else {}
        ran = self.world.run(*line)
        self.done[line[0]] += 1
        if why := _astonishing(ran):
            self.wrong.append(f"{' '.join(line)}: exit {ran.code}: {why}")


def _astonishing(ran: Ran) -> str:
    text = ran.out + ran.err
    if ran.code not in (0, 1, 3) or "Traceback" in text or "unexpected" in text:
        return text[-1500:]
    if ran.code == 1 and len(ran.err.splitlines()) < 2:
        return f"no remedy: {text[-500:]}"
    return ""


@contextmanager
def watching(world: World, tmp_path: Path) -> Iterator[None]:
    """`helixstore watch` is at work, and ends when it is asked to."""
    told = tmp_path / "watch.txt"
    with told.open("w") as file:
        watch = subprocess.Popen([sys.executable, "-m", "helixstore", "watch", "--json"], env=world.environ, cwd="/",
                                 stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            yield
        finally:
            watch.terminate()
            code = watch.wait()
    text = told.read_text()
    assert code == 0, text[-1500:]
    assert "Traceback" not in text, text[-1500:]
    assert "unexpected" not in text, text[-1500:]
    assert '"event": "stopped"' in text, text[-1500:]


class Reader(threading.Thread):
    """Reads the person's files again and again, as their programs would."""

    def __init__(self, paths: dict[Path, bytes]) -> None:
        super().__init__(daemon=True)
        self.paths, self.wrong, self.over, self.reads = paths, list[str](), threading.Event(), 0

    def run(self) -> None:
        while not self.over.is_set():
            for path, data in self.paths.items():
                try:
                    if path.read_bytes() != data:
                        self.wrong.append(f"{path} reads something else")
                except OSError as error:
                    self.wrong.append(f"{path}: {error}")
                self.reads += 1


@pytest.mark.timeout(1200)
def test_eight_at_once(judging: Judging, library: Path, tmp_path: Path) -> None:
    judge = judging("ext4")
    judge.begin("empty")
    world = World(judge.ground, judge.world.armed)
    theirs = {Path(path): Path(path).read_bytes() for path in world.files()}
    judge.begin("synced")
    for number in range(8):
        for one in range(3):
            world.put(f"elsewhere/mine-{number}-{one}.gguf", gguf(f"mine-{number}-{one}", seed=100 + number * 3 + one))
    world.must("add", "~/elsewhere/new.gguf", "--name", "kept")
    kept = (world.home / "elsewhere/new.gguf").read_bytes()
    (world.home / "elsewhere/new.gguf").unlink()                # the store alone has it from now on
    for about in world.state.glob("ops/*/about.json"):          # long ago, for `undo`
        about.write_text(json.dumps(json.loads(about.read_text()) | {"time": 1e9}))
    theirs |= {path: path.read_bytes() for path in world.home.glob("elsewhere/mine-*.gguf")}
    del theirs[world.home / "elsewhere/new.gguf"]
    reader = Reader(theirs)
    workers = [Worker(number, world, Armed(library)) for number in range(8)]
    until = time.monotonic() + _SECONDS
    threads = [threading.Thread(target=worker.work, args=(until,)) for worker in workers]
    reader.start()
    with watching(world, tmp_path):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    reader.over.set()
    reader.join()
    for worker in workers:
        worker.armed.close()

    done = sum((worker.done for worker in workers), Counter[str]())
    note("eight at once", {"operations": done.total(), "reads meanwhile": reader.reads,
                           "contents lost": len(reader.wrong)})
    assert not [why for worker in workers for why in worker.wrong]
    assert not reader.wrong
    assert Path(world.must("path", "kept").out.strip()).read_bytes() == kept
    world.must("sync", "--yes")
    assert "Nothing to do" in world.must("sync", "--yes").out
    assert world.document("verify").get("issues", []) == []
    assert [check for check in world.document("doctor")["checks"] if check["state"] != "ok"] == []
    seen = world.look()
    assert "dangling" not in seen.content.values()
    assert os.listdir(world.store / "staging") == []
