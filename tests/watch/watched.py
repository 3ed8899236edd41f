"""A home, and a real `helixstore watch` over it, whose events are read as they come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from support.household import gguf
from support.sandbox import Sandbox
from support.typist import typed

__all__ = ["Event", "Home", "Watching", "until"]

Event = Mapping[str, Any]
PATIENCE = 60.0                 # seconds; a machine that runs other tests beside is slow, not wrong


def until(true: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait for a condition; it is looked at often, and must come true."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)
    return found


class Home(Sandbox):
    """A sandbox with all programs on and an empty loose folder `models`."""

    @classmethod
    def made(cls, folder: Path) -> Home:
        home = cls.make(folder)
        home.environ |= {"HELIXSTORE_POLL": "0.3", "PYTHONWARNINGS": "error::ResourceWarning"}
        (home.home / "models").mkdir()
        home.helix("init", "--all", "--scan", str(home.home / "models"))
        return home

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return typed(*arguments, environ=self.environ, folder=self.home)

    def model(self, where: str, name: str, seed: int) -> Path:
        """A whole GGUF, put there in one step."""
        path = self.home / where
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(gguf(name, seed=seed))
        part.rename(path)
        return path

    def watch(self, *before: str, **environ: str) -> Watching:
        """Start the watch and wait until it works; `before`: words in front of the command."""
        return Watching(self, before, environ)

    def where(self, model: str) -> dict[str, tuple[str, ...]]:
        """Provider -> the paths of a model that is linked there."""
        found = {}
        for one in self.document("list")["models"]:
            if one["name"].startswith(model):
                for variant in one["variants"]:
                    found.update({name: tuple(how["paths"]) for name, how in variant["providers"].items()
                                  if how["state"] == "linked"})
        return found

    def everywhere(self, model: str) -> dict[str, tuple[str, ...]]:
        """The same, of a model that every program that reads GGUF must see, under paths that open."""
        found = self.where(model)
        assert len(found) >= 10, (model, sorted(found))
        for paths in found.values():
            assert paths
            assert all(os.path.exists(path) for path in paths), paths
        return found


class Watching:
    """One process. `with` stops it and makes sure that it ends well."""

    def __init__(self, home: Home, before: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.events: list[Event] = []
        self._more = threading.Condition()
        command = [*before, str(Path(sys.executable).with_name("helixstore")), "watch", "--json"]
        self.process = subprocess.Popen(command, env=home.environ | (environ or {}), cwd=home.home, text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.errors: list[str] = []
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True),
                         threading.Thread(target=self.errors.extend, args=(self.process.stderr,), daemon=True)]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Watching:
        self.event("started")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        if kind is None:
            assert code == 0, (code, "".join(self.errors))
            assert [line for line in self.errors if not line.startswith(("reading", "linking"))] == []
            assert self.events[-1]["event"] == "stopped"

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            event = json.loads(line)
            assert event["schema"] == 1
            with self._more:
                self.events.append(event)
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def event(self, name: str, true: Callable[[Event], Any] = lambda event: True, since: int = 0) -> Event:
        """Wait for an event."""
        deadline = time.monotonic() + PATIENCE
        with self._more:
            while True:
                for event in self.events[since:]:
                    if event["event"] == name and true(event):
                        return event
                told = [event["text"][:300] for event in self.events]
                left = deadline - time.monotonic()
                assert left > 0, f"no {name}: {told}"
                assert self.process.poll() is None, (told, "".join(self.errors))
                self._more.wait(min(left, 0.2))

    def adopted(self, path: Path) -> Event:
        """Wait for the pass that took in this file, or folder."""
        return self.event("pass", lambda event: any(
            one["path"] == str(path) or one["path"].startswith(f"{path}/") for one in event["adopted"]))

    @property
    def passes(self) -> list[Event]:
        """The passes so far."""
        with self._more:
            return [event for event in self.events if event["event"] == "pass"]

    def count(self) -> int:
        """How many events there were."""
        with self._more:
            return len(self.events)
