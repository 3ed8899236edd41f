"""A server that fails for every file: words say what is waited for, and all ends soon, with one error."""

from __future__ import annotations

import io
import os
import pty
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from repository import COMMIT

from helixstore import HelixStore
from helixstore.cli.output import Output
from helixstore.cli.progress import Bars, Lines
from helixstore.errors import Failed, NotFound, Passing
from helixstore.hub import waiting
from support.hub import Repository, Trouble, hub
from support.models import tiny_hf
from support.person import Person
from support.registry import StandIn, serve

FILES = 60
WHAT = "hf:acme/many"
Told = list[tuple[str, str, int, int]]


@pytest.fixture
def many(person: Person, tmp_path: Path) -> Iterator[Repository]:
    """A model with many small files, each with bytes of its own."""
    folder = tmp_path / "many"
    tiny_hf(folder)
    for number in range(FILES):
        (folder / f"notes-{number}.json").write_text(f'{{"number": {number}}}')
    served = Repository.of("acme/many", COMMIT, folder)
    with hub(served) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        yield served


@pytest.fixture
def registry() -> Iterator[StandIn]:
    with serve(StandIn()) as found:
        yield found


@pytest.fixture
def slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are long enough to be seen, in seconds of a tenth."""
    from helixstore.download import patience

    monkeypatch.setattr(patience, "_LONGEST", 0.3)
    monkeypatch.setattr(patience, "_SILENT", 0.0)
    monkeypatch.setattr(patience, "_STEP", 0.05)
    monkeypatch.setattr(waiting, "_SHORT", 0.0)


def asked(served: Repository) -> list[str]:
    """The requests for files."""
    return [line for line in served.asked if "/resolve/" in line]


def test_once_a_file_was_given_up_the_others_are_asked_for_once(person: Person, many: Repository) -> None:
    many.trouble = lambda path, number: Trouble(500)
    with person.open() as store, pytest.raises(Failed) as error:
        store.download(WHAT)
    count = len(many.files)
    assert len(asked(many)) < count + 8 * 7, "eight connections were patient, and the rest asked once"
    said = error.value.message
    assert said.startswith(f"{count} of {count} files of many could not be downloaded; the first: acme/many@1edfc51f: ")
    assert said.endswith(": the server answers 500; what else has come stays, and the same command goes on with it")
    many.trouble = lambda path, number: None
    with person.open() as store:
        assert store.download(WHAT).fetched_bytes


def test_what_came_stays_and_only_the_rest_is_missing(person: Person, many: Repository) -> None:
    gone = threading.Event()

    def trouble(path: str, number: int) -> Trouble | None:
        if sum(many.sent.values()) > 2000:
            gone.set()
        return Trouble(503) if gone.is_set() else None

    many.trouble = trouble
    with person.open() as store, pytest.raises(Failed, match=rf"\d+ of {len(many.files)} files of many"):
        store.download(WHAT)
    came = set(many.sent)
    assert 0 < len(came) < len(many.files)
    many.trouble = lambda path, number: None
    many.sent.clear()
    with person.open() as store:
        store.download(WHAT)
    assert not came & set(many.sent), "what had come came once more"


def test_a_large_file_goes_on_where_the_server_began_to_fail(online: Person, served: Repository) -> None:
    served.trouble = lambda path, number: Trouble(500) if number else Trouble(cut=3 << 20)
    with online.open() as store, pytest.raises(Failed, match="2 of 2 files of small-GGUF could not be downloaded"):
        store.download("hf:acme/small-GGUF", quantization="all")
    assert len(asked(served)) <= 2 * (1 + 7)
    served.trouble, came = lambda path, number: None, sum(served.sent.values())
    with online.open() as store:
        report = store.download("hf:acme/small-GGUF", quantization="all")
    assert came >= 2 * (3 << 20)
    assert report.fetched_bytes <= sum(file.bytes for file in report.files) - 2 * (2 << 20)


def test_a_file_that_alone_fails_costs_the_others_no_patience(person: Person, many: Repository) -> None:
    """Bytes come from the same server: it is not given up, and what is cut or busy beside it is asked for again."""
    def trouble(path: str, number: int) -> Trouble | None:
        if path == "notes-7.json":
            return Trouble(500)
        return Trouble(503) if path.startswith("notes-") and number < 4 else None

    many.trouble = trouble
    with person.open() as store, pytest.raises(Failed, match=r"notes-7\.json: the server answers 500; what else"):
        store.download(WHAT)
    assert set(many.sent) == set(many.files) - {"notes-7.json"}


def test_a_server_that_recovers_within_the_patience_is_no_error(person: Person, many: Repository) -> None:
    many.trouble = lambda path, number: Trouble(502) if number < 6 else None
    with person.open() as store:
        assert store.download(WHAT).fetched_bytes == sum(file.stat().st_size for file in many.files.values())


def test_a_server_that_was_given_up_a_while_ago_is_asked_for_nothing_more(
    person: Person, many: Repository, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that lets each wait half a minute for its answer would take hours to fail for all."""
    from helixstore.download import patience

    monkeypatch.setattr(patience, "_LAST", 0.0)
    many.trouble = lambda path, number: Trouble(500)
    with person.open() as store, pytest.raises(Failed, match=f"{len(many.files)} of {len(many.files)} files"):
        store.download(WHAT)
    assert len(asked(many)) <= 8 * 7


@pytest.mark.usefixtures("slower")
def test_words_say_who_is_waited_for_and_how_long(person: Person, many: Repository) -> None:
    """Until bytes come again; of a server that asks for a wait, that wait."""
    told: Told = []
    many.trouble = lambda path, number: Trouble(429, {"Retry-After": "1.3"}) if len(asked(many)) < 8 else None
    with HelixStore(environ=person.environ, progress=lambda *one: told.append(one)) as store:
        store.download(WHAT)
    waits = [one for one in told if one[0] == "wait"]
    host = person.environ["HF_ENDPOINT"].removeprefix("http://")
    assert {why for _, why, _, _ in waits} == {f"{host}: the server answers 429"}
    assert {total for _, _, _, total in waits} == {2}
    assert {done for _, _, done, _ in waits} >= {0, 1}
    assert told.index(waits[0]) < max(index for index, one in enumerate(told) if one[0] == "download" and one[2])


def test_a_connection_that_is_cut_once_is_not_told_of(person: Person, many: Repository) -> None:
    told: Told = []
    many.trouble = lambda path, number: Trouble(cut=1) if number == 0 else None
    with HelixStore(environ=person.environ, progress=lambda *one: told.append(one)) as store:
        store.download(WHAT)
    assert not [one for one in told if one[0] == "wait"]


@pytest.mark.usefixtures("slower")
def test_a_busy_listing_is_told_of_too(person: Person, many: Repository) -> None:
    told: Told = []
    many.listing = lambda number: Trouble(503) if number < 1 else None
    with HelixStore(environ=person.environ, progress=lambda *one: told.append(one)) as store:
        store.download(WHAT)
    assert next(one[:2] for one in told if one[0] == "wait") == ("wait", "acme/many: the server answers 503")


@pytest.mark.usefixtures("slower")
def test_a_registry_that_is_busy_is_told_of_too(person: Person, registry: StandIn) -> None:
    told: Told = []
    registry.answers = [("/manifests/", 503, {})] * 2
    with HelixStore(environ=person.environ, progress=lambda *one: told.append(one)) as store, pytest.raises(NotFound):
        store.download(f"oci://{registry.host}/team/nothing:v1")
    assert (told[0][0], told[0][1]) == ("wait", f"{registry.host} answers 503 (TOLD: as told)")


@pytest.mark.usefixtures("slower")
def test_off_a_terminal_a_line_says_so_at_once_and_then_now_and_then(person: Person, many: Repository) -> None:
    many.trouble = lambda path, number: Trouble(500)
    text = io.StringIO()
    with HelixStore(environ=person.environ, progress=Lines(Output(stderr=text))) as store, pytest.raises(Failed):
        store.download(WHAT)
    [line] = text.getvalue().splitlines()
    assert line.endswith(": the server answers 500; trying again in 1 s")


@pytest.mark.usefixtures("slower")
@pytest.mark.parametrize("columns", [100, 40])
def test_on_a_terminal_the_bar_says_so_until_bytes_come(person: Person, many: Repository, columns: int) -> None:
    many.trouble = lambda path, number: Trouble(429, {"Retry-After": "0.5"}) if len(asked(many)) < 8 else None
    text = at_a_terminal(columns, lambda bars: _download(person, bars))
    states = [state for state in text.replace("\n", "").split("\r") if state.strip(" \x1b[A")]
    words = [index for index, state in enumerate(states) if "  0%  127.0.0.1:" in state]
    assert words, text
    assert all(len(state) <= columns for state in states)
    if columns == 100:
        assert states[words[0]].startswith("downloading many:   0%  127.0.0.1:")
        assert states[words[0]].rstrip().endswith(": the server answers 429; trying again in 1 s")


def _download(person: Person, bars: Bars) -> None:
    with HelixStore(environ=person.environ, progress=bars) as store:
        store.download(WHAT)


def at_a_terminal(columns: int, use: Callable[[Bars], None]) -> str:
    """What bars write on a real terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    seen = bytearray()

    def read() -> None:
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:
                return
            seen.extend(data)

    reading = threading.Thread(target=read)
    reading.start()
    with os.fdopen(theirs, "w") as terminal:
        use(Bars(Output(stderr=terminal)))
    reading.join(20)
    os.close(ours)
    return seen.decode(errors="replace")


def test_a_wait_before_there_is_a_bar_leaves_nothing_behind() -> None:
    def use(bars: Bars) -> None:
        bars("wait", "acme/many: the server answers {503}", 0, 3)
        bars("wait", "acme/many: the server answers {503}", 3, 3)

    text = at_a_terminal(80, use)
    assert "acme/many: the server answers {503}; trying again in 3 s" in text
    assert [state.strip() for state in text.split("\r")[-2:]] == ["", ""]


def test_an_error_stands_on_a_line_of_its_own() -> None:
    def use(bars: Bars) -> None:
        bars("download", "a", 10, 100)
        bars("wait", "host: the server answers 503", 0, 3)
        bars._out.error("it failed")

    *_, cleared, last = at_a_terminal(80, use).removesuffix("\r\n").split("\r")
    assert (cleared.strip(), last) == ("", "helixstore: it failed")


def test_when_bytes_come_the_bar_is_as_before() -> None:
    def use(bars: Bars) -> None:
        bars("download", "a", 10, 100)
        bars("wait", "host: the server answers 503", 0, 3)
        time.sleep(0.6)                                 # the bar itself comes half a second after it begins
        bars("download", "a", 60, 100)
        time.sleep(0.2)
        bars("download", "a", 70, 100)

    states = at_a_terminal(80, use).split("\r")
    waits = next(index for index, state in enumerate(states) if "503" in state)
    assert any("70%|" in state or "60%|" in state for state in states[waits:])


def test_a_wait_that_is_over_lets_go_at_once_when_all_is_stopped() -> None:
    from helixstore.download.patience import Patience
    from helixstore.download.web import WebAddress

    stopped = threading.Event()
    stopped.set()
    begun = time.monotonic()
    Patience().failed(WebAddress("a", "https://host/a"), Passing("a: busy", seconds=600), 1, begun, stopped)
    assert time.monotonic() - begun < 5
