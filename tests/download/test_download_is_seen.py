"""What a person sees while a model is coming: one bar on a real terminal, with how far, how fast, and how long."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
from repository import weights

from helixstore.cli.models import lines
from helixstore.download.results import DownloadReport, RemoteState
from helixstore.errors import Failed
from support.hub import Repository, Trouble, hub
from support.person import Person

MIB = 1 << 20


def shown(person: Person, *words: str, columns: int = 100) -> tuple[int, str]:
    """`helixstore WORDS` at a terminal: the exit code, and all that was written there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    process = subprocess.Popen([sys.executable, "-m", "helixstore", *words], stdin=theirs, stdout=theirs, stderr=theirs,
                               env=person.environ | {"TERM": "xterm"}, start_new_session=True)
    os.close(theirs)
    seen, end = b"", time.monotonic() + 60
    while time.monotonic() < end and select.select([ours], [], [], 60)[0]:
        try:
            data = os.read(ours, 65536)
        except OSError:                                 # EIO: the other end is closed
            break
        seen += data
    os.close(ours)
    return process.wait(60), seen.decode(errors="replace")


def bars(text: str) -> list[tuple[int, float, str]]:
    """(percent, MB/s, time left) of each state of the bar."""
    state = re.compile(r"downloading [^\r\n]*?(\d+)%\|[^|]*\|[^\r\n\[]*\[[\d:]+<([\d:?]+),\s*([\d.]+)([kMG])B/s")
    scale = {"k": 1e-3, "M": 1.0, "G": 1e3}
    return [(int(percent), float(rate) * scale[unit], left) for percent, left, rate, unit in state.findall(text)]


@pytest.mark.parametrize("columns", [100, 0])
def test_one_bar_for_several_files_with_speed_and_time_left(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int,
) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    for part in (1, 2, 3):
        (folder / f"a-{part}-Q8_0.gguf").write_bytes(weights(part, 10, quantized=True))
    served = Repository.of("acme/several-GGUF", "1" * 40, folder)
    wait, went = threading.Event(), Repository.went

    def paced(self: Repository, path: str, count: int) -> None:
        went(self, path, count)
        wait.wait(0.25)

    monkeypatch.setattr(Repository, "went", paced)
    with hub(served) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        code, text = shown(person, "models", "download", "hf:acme/several-GGUF", "--quantize", "all", columns=columns)
    assert code in (0, 3), text
    states = bars(text)
    assert len(states) > 3, text
    assert [one[0] for one in states] == sorted(one[0] for one in states), "one bar, which only grows"
    assert any(left not in ("?", "00:00") for _, _, left in states)
    assert "3 files" in text


def test_several_files_come_at_once(person: Person, tmp_path: Path) -> None:
    """The hub answers nobody before four of the files have been asked for."""
    folder = tmp_path / "served"
    folder.mkdir()
    for part in range(4):
        (folder / f"a{part}-Q8_0.gguf").write_bytes(weights(part, 1, quantized=True))
    served, together = Repository.of("acme/four-GGUF", "1" * 40, folder), threading.Barrier(4, timeout=20)

    def wait(path: str, number: int) -> None:
        together.wait()

    served.trouble = wait
    with hub(served) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            store.download("hf:acme/four-GGUF", quantization="all")
    assert not together.broken
    assert sorted(served.sent) == sorted(served.files)


@pytest.mark.parametrize(("free", "says"), [
    (10 * MIB, "It does not fit: 10.5 MB are free where the store lies, 10.5 MB more are needed."),
    (30 * MIB, "31.5 MB are free where the store lies."), (None, "would be downloaded.")])
def test_a_dry_run_says_whether_the_disk_suffices(free: int | None, says: str) -> None:
    report = DownloadReport("acme/a", "1" * 40, "a", (RemoteState("a.gguf", 24 * MIB, 4 * MIB),), free, dry_run=True)
    text = "\n".join(lines(report))
    assert says in text
    assert "21.0 MB of 25.2 MB would be downloaded." in text
    assert "17%" in text, "what is here of a file"


def test_what_does_not_fit_is_refused_in_sizes_as_people_read_them(online: Person, served: Repository,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    from helixstore.download import getting

    monkeypatch.setattr(getting, "free_bytes", lambda session: 10 * MIB)
    with online.open() as store, pytest.raises(Failed) as error:
        store.download(f"hf:{served.name}:F16")
    assert error.value.message == (
        "it does not fit: 21.0 MB are to be downloaded, and 10.5 MB are free where the store lies")
    assert error.value.remedy.startswith("free 10.5 MB there: helixstore gc")
    assert served.sent == {}


def test_what_was_here_counts_for_how_far_and_not_for_how_fast(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a-Q8_0.gguf").write_bytes(weights(1, 30, quantized=True))
    served = Repository.of("acme/one-GGUF", "1" * 40, folder)
    served.trouble = lambda path, number: Trouble(404) if number else Trouble(cut=23 * MIB)
    wait, went, pause = threading.Event(), Repository.went, 0.0

    def paced(self: Repository, path: str, count: int) -> None:
        went(self, path, count)
        wait.wait(pause)

    monkeypatch.setattr(Repository, "went", paced)
    with hub(served) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        assert shown(person, "models", "download", "hf:acme/one-GGUF")[0] == 1
        served.trouble = lambda path, number: None
        pause = 0.2                                     # of each MiB: 5 MB/s over one connection
        code, text = shown(person, "models", "download", "hf:acme/one-GGUF")
    assert code in (0, 3), text
    states = bars(text)
    assert states, text
    assert states[0][0] >= 70
    assert max(rate for _, rate, _ in states) < 30
