"""What depends on a terminal, a signal or a pipe: the real process, on a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.typist import typed
from tests.support.models import tiny_gguf

SECONDS = 60.0


def variables(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"HOME": str(home), "TERM": "xterm", "COLUMNS": "120"}


class Terminal:
    """`helixstore WORDS` with somebody at the keyboard."""

    def __init__(self, home: Path, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "helixstore", *words], stdin=theirs, stdout=theirs, stderr=theirs,
            env=variables(home), cwd=home, start_new_session=True)
        os.close(theirs)
        self.seen = ""

    def until(self, text: str) -> None:
        """Read until the text has been shown."""
        end = time.monotonic() + SECONDS
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if not self._read():
                raise AssertionError(f"ended before {text!r}:\n{self.seen}")

    def type(self, line: str) -> None:
        os.write(self._ours, line.encode())

    def end(self) -> int:
        """Read all that is left; the exit code."""
        while self._read():
            pass
        return self.process.wait(SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], SECONDS)
        try:
            data = os.read(self._ours, 65536) if ready else b""
        except OSError:                         # EIO: the last process has closed its end
            data = b""
        self.seen += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for one in opened:
        one.close()


@pytest.fixture
def ready(home: Path) -> Path:
    """A home with one model twice, a store, and no sync yet."""
    tiny_gguf(home / ".lmstudio/models/org/tiny-GGUF/tiny-F16.gguf")
    tiny_gguf(home / "models/tiny-F16.gguf")
    typed("init", "--all", "--scan", "models", environ=variables(home), folder=home, check=True)
    return home


def plain(home: Path, *words: str | bytes, **more: str) -> subprocess.CompletedProcess[str]:
    """`helixstore WORDS` with nobody there."""
    return subprocess.run([sys.executable, "-m", "helixstore", *words], env=variables(home) | more, cwd=home,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="surrogateescape",
                          check=False, timeout=SECONDS)


def inodes(home: Path) -> set[int]:
    return {(home / path).stat().st_ino for path in
            (".lmstudio/models/org/tiny-GGUF/tiny-F16.gguf", "models/tiny-F16.gguf")}


def test_a_sync_that_replaces_files_asks_first_and_no_means_no(ready: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(ready, "sync")
    terminals.append(terminal)
    terminal.until("[y/N]")
    assert "lmstudio" in terminal.seen
    assert re.search(r"frees \d+\.\d [kM]B", terminal.seen)
    terminal.type("n\n")
    assert terminal.end() == 0
    assert "Nothing was changed" in terminal.seen
    assert len(inodes(ready)) == 2


def test_yes_at_the_question_does_it_and_the_next_sync_has_nothing_to_ask(
    ready: Path, terminals: list[Terminal]
) -> None:
    first = Terminal(ready, "sync")
    terminals.append(first)
    first.until("[y/N]")
    first.type("y\n")
    assert first.end() == 0, first.seen
    assert len(inodes(ready)) == 1
    second = Terminal(ready, "sync")
    terminals.append(second)
    assert second.end() == 0
    assert "[y/N]" not in second.seen
    assert "Nothing to do" in second.seen


def test_with_yes_or_off_a_terminal_nothing_is_asked(ready: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(ready, "sync", "--yes")
    terminals.append(terminal)
    assert terminal.end() == 0
    assert "[y/N]" not in terminal.seen
    assert len(inodes(ready)) == 1
    done = plain(ready, "undo")
    assert done.returncode == 0, done.stderr
    assert "[y/N]" not in done.stdout + done.stderr
    assert len(inodes(ready)) == 2


def test_ctrl_c_at_the_question_is_one_line_and_changes_nothing(ready: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(ready, "sync")
    terminals.append(terminal)
    terminal.until("[y/N]")
    shown = len(terminal.seen)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert terminal.seen[shown:].strip() == (
        "helixstore: interrupted; what was done is kept, and the same command goes on from there")
    assert len(inodes(ready)) == 2


def test_gc_now_asks_before_it_deletes(ready: Path, terminals: list[Terminal]) -> None:
    import blake3

    data = b"nobody names these bytes"
    digest = blake3.blake3(data).hexdigest()
    orphan = ready / ".local/share/helixstore/store/blobs" / digest[:2] / digest
    orphan.write_bytes(data)
    first = Terminal(ready, "gc", "--now")
    terminals.append(first)
    first.until("Delete this for good? [y/N]")
    first.type("n\n")
    assert first.end() == 0
    assert orphan.exists()
    second = Terminal(ready, "gc", "--now")
    terminals.append(second)
    second.until("[y/N]")
    second.type("yes\n")
    assert second.end() == 0, second.seen
    assert not orphan.exists()
    third = Terminal(ready, "gc", "--now")
    terminals.append(third)
    assert third.end() == 0
    assert "Nothing to collect" in third.seen


def test_init_asks_what_is_to_be_shared(home: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(home, "init")
    terminals.append(terminal)
    terminal.until("What is to be shared? [all]")
    terminal.type("what\n")
    terminal.until("[all] what")
    terminal.type("dup\n")
    assert terminal.end() == 0, terminal.seen
    assert plain(home, "config", "get", "share").stdout == "duplicates\n"


def test_init_off_a_terminal_asks_nothing(home: Path) -> None:
    done = plain(home, "init")
    assert done.returncode == 0
    assert "?" not in done.stdout + done.stderr


def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    for words in (["--help"], ["config"]):
        process = subprocess.Popen([sys.executable, "-m", "helixstore", *words], env=variables(home),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(SECONDS) in (1, 141)


HOSTILE = [b"\xff\xfe", b"\x1b]0;owned\x07", b"../../../etc/passwd", b"a\nb", b"x" * 5000, b"/dev/zero", b"", b"-",
           b"%s%n{0}", "‮gpj.exe".encode(), b"CON", b"/proc/self/mem"]


@pytest.mark.parametrize("command", ["show", "path", "explain", "compat", "share", "add", "remove", "apply", "verify"])
def test_hostile_arguments_are_answered_in_a_line(ready: Path, command: str) -> None:
    argument = HOSTILE[sum(command.encode()) % len(HOSTILE)]
    for word in {argument, b"\xff\x1b[31m\nx"}:
        done = plain(ready, command, "--", word) if command == "show" else typed(
            command, "--", os.fsdecode(word), environ=variables(ready), folder=ready)
        assert done.returncode in (1, 2), (command, word, done)
        assert "Traceback" not in done.stderr
        assert "unexpected" not in done.stderr, done.stderr
        assert not set(done.stderr + done.stdout) & set("\x1b\x07\u202e"), (command, word)
        assert len(done.stderr.splitlines()) <= 8


@pytest.mark.parametrize("words", [["config"], ["--help"], ["list"], ["status"]])
def test_a_terminal_without_unicode_is_no_error(ready: Path, words: list[str]) -> None:
    done = plain(ready, *words, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0, done.stderr
