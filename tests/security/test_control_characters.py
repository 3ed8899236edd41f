"""Names from every origin hold what a terminal would obey; no command lets a byte of it through, terminal or not."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helixstore import HelixStore
from support.person import GGUF, Person
from support.raw import model_gguf
from support.typist import typed

EVIL = ["\x1b[31mred", "\x1b]8;;http://evil/\x07link\x1b]8;;\x07", "bell\x07", "c1\x9b31m", "bidi\u202egpj",
        "line\nfeed",
        "back\x08space", "cr\rover", "\u2066iso", "nul-less\x7f", "\u200fmark", "title\x1b]0;x\x07"]
#: what a terminal obeys: C0 but newline, DEL, C1, and what turns the direction of text
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
COMMANDS = [["status"], ["list"], ["doctor"], ["log"], ["du"], ["du", "--by", "user"], ["du", "--by", "provider"],
            ["sync", "--dry-run"], ["sync", "--yes"], ["config", "list"], ["providers"], ["volume", "list"],
            ["host", "list"], ["trash", "list"], ["layouts", "list"], ["gc", "--dry-run"], ["verify"], [],
            *([*words, EVIL[0]] for words in (
                ["show"], ["path"], ["explain"], ["compat"], ["history"], ["share"], ["remove"], ["add"], ["link"],
                ["hide"], ["config", "get"], ["apply"])),
            [EVIL[0]], ["sync", "--provider", EVIL[1]], ["list", f"--{EVIL[0]}"], ["du", "--by", EVIL[2]],
            ["undo", EVIL[3]], ["path", "x", "--format", EVIL[0]], ["--store", f"/tmp/{EVIL[0]}", "status"]]


def name_of(text: str) -> str:
    return text.replace("/", "_")


@pytest.fixture(scope="module")
def haunted(tmp_path_factory: pytest.TempPathFactory) -> Person:
    """Such names in files, folders, headers, sidecars, manifests, refs of others, hosts, settings and volumes."""
    home = tmp_path_factory.mktemp("home")
    person = Person(home, {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm",
                           "COLUMNS": "100", "USER": EVIL[0], "LOGNAME": EVIL[1]})
    person.put("models/good.gguf", GGUF)
    for number, evil in enumerate(EVIL):
        data = model_gguf(seed=50 + number)
        person.put(f"models/{name_of(evil)}.gguf", data)
        person.put(f"models/{name_of(evil)}/x.gguf", data[:-9])
        person.put(f".lmstudio/models/{name_of(evil)}/{name_of(evil)}/{name_of(evil)}.gguf", data)
        person.put(f".ollama/models/manifests/registry/{name_of(evil)}/{name_of(evil)}/{name_of(evil)}", evil.encode())
        person.put(f".local/share/Jan/data/llamacpp/models/{name_of(evil)}/model.yml",
                   f"model_path: {json.dumps(evil)}\nname: {json.dumps(evil)}\n".encode())
        person.put(f".cache/huggingface/hub/models--{name_of(evil)}--x/refs/main", evil.encode())
    HelixStore.init(every=True, scan=[home / "models"], environ=person.environ)
    with person.open() as store:
        store.sync()
        root = Path(store._session.store.path)
        uid = os.getuid()
    mine = next((root / "refs").glob(f"*/{uid}/*.json"))
    record = json.loads(mine.read_bytes())
    host = root / "refs/0123456789abcdef" / str(uid)
    host.mkdir(parents=True)
    for number, evil in enumerate(EVIL):
        (host / f"{number:08d}.json").write_text(json.dumps(record | {
            "name": evil, "variant": f"gguf:{evil}", "sources": [
                {"kind": "hub", "repository": evil, "revision": evil, "program": evil, "name": evil}]}))
        (root / "condemned" / f"{name_of(evil)}.json").write_text(evil)
        (root / "volumes").mkdir(exist_ok=True)
        (root / "volumes" / f"{number:032x}.json").write_text(json.dumps({"schema": 1, "name": evil}))
        (root / "trash" / name_of(evil)).mkdir()
    there = root / "hosts/0123456789abcdef"
    there.mkdir()
    (there / "host.json").write_text(json.dumps({"schema": 1, "name": EVIL[0]}))
    (there / str(uid)).mkdir()
    (there / str(uid) / "saved").mkdir()
    (there / str(uid) / "saved/me.json").write_text(json.dumps({"schema": 1, "user": EVIL[1], "avoided_bytes": 1}))
    person.put(f".config/helixstore/layouts/{name_of(EVIL[0])}.py", f"raise ValueError({EVIL[1]!r})".encode())
    config = home / ".config/helixstore/config.toml"
    config.write_text(config.read_text() + f"\nexclude = [{json.dumps(EVIL[0])}]\n{json.dumps(EVIL[4])} = 1\n"
                      if "exclude" not in config.read_text() else config.read_text())
    return person


def ran(person: Person, words: list[str], terminal: bool) -> str:
    """All that a command shows; a terminal's own line ends are none of ours."""
    command = [sys.executable, "-m", "helixstore", *words]
    if not terminal:
        done = typed(*words, environ=person.environ, folder=person.home)
        return done.stdout + done.stderr
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=person.environ, cwd=person.home, stdin=subprocess.DEVNULL, stdout=theirs,
                               stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:
            break                                   # the other end is closed
        if not part:
            break
        seen += part
    os.close(ours)
    process.wait(120)
    return seen.decode(errors="replace").replace("\r\n", "\n")


SOME = COMMANDS if os.environ.get("SOAK") else COMMANDS[::5]


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_no_command_shows_what_a_terminal_obeys(haunted: Person, terminal: bool) -> None:
    """Colours and bars of our own are left out by the terminal's kind; JSON is all ASCII."""
    if terminal:
        haunted.environ["TERM"] = "dumb"
    for words in SOME[::2] if terminal else SOME:
        for more in ([], ["--json"]) if not terminal else ([],):
            seen = ran(haunted, [*words, *more], terminal)
            bad = OBEYED.findall(seen)
            assert not bad, f"{words} {more}: {bad[:5]!r} in {seen[:2000]!r}"


def test_all_of_them_in_one_process(haunted: Person, capsys: pytest.CaptureFixture[str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command, in this process: 40 starts of Python less."""
    import helixstore.cli
    for name, value in haunted.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(haunted.home)
    shown = ""
    for words in COMMANDS:
        for more in ([], ["--json"]):
            monkeypatch.setattr(sys, "argv", ["helixstore", *words, *more])
            with pytest.raises(SystemExit):
                helixstore.cli.main()
            seen = "".join(capsys.readouterr())
            bad = OBEYED.findall(seen)
            assert not bad, f"{words} {more}: {bad[:5]!r} in {seen[:2000]!r}"
            shown += seen
    escaped = ["\\x1b[31mred", "\\x07", "\\x9b31m", "\\u202egpj", "\\nfeed", "\\u001b[31mred", "\\u009b31m"]
    assert [text for text in escaped if text not in shown] == [], "they were shown, as escapes"
