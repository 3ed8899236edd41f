"""Every command line that is disturbed, in the state in which it has something to do."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from blake3 import blake3
from world import World

from helixstore.cli.app import application
from support.household import Household, gguf, hf

__all__ = ["CASES", "DAILY", "ELSEWHERE", "POWER", "STATES", "Case", "leaves"]

#: command -> which tests disturb it, where that is not done here
ELSEWHERE = {
    "generations back": "tests/engine/test_generations.py, and undo here",
    "generations diff": "tests/engine/test_generations.py",
    "generations list": "tests/engine/test_generations.py",
    "history": "tests/download",
    "models download": "tests/download",
    "download-all": "tests/download",
    "pull": "tests/download",
    "push": "tests/download",
    "rollback": "tests/download",
    "update": "tests/download",
    "watch": "tests/watch",
}

_PROVIDERS = ("ollama", "lmstudio", "llamacpp", "jan", "vllm")
_ON = tuple(word for name in _PROVIDERS for word in ("--provider", name))
NEW, FAR, LATER = gguf("new", seed=7), gguf("far", seed=8), gguf("later", seed=9)
_AT_ONCE = {"HELIXSTORE_GRACE": "0", "HELIXSTORE_UNDO_WINDOW": "0"}


def _digest(data: bytes) -> str:
    return blake3(data).hexdigest()


# ---- states that several cases begin from ------------------------------------------------------------------------


def _empty(world: World) -> None:
    """A person who has never heard of helixstore: the same model in two programs, one that only one has, loose ones."""
    house = Household(world.home)
    house.ollama("gem", "latest", gguf("gem"), template="{{ .Prompt }}")
    house.folder(".lmstudio/models/acme/gem-GGUF", {"gem.gguf": gguf("gem")}, "gguf")
    house.jan("looker", {"looker-Q8_0.gguf": gguf("looker", "Q8_0", 42)})
    house.hub("acme/plain", "a" * 40, hf("plain", 50), kind="hf")
    house.folder("Downloads", {"other.gguf": gguf("other", seed=3)}, "gguf")
    world.put("elsewhere/new.gguf", NEW)
    world.put("@/models/far.gguf", FAR)
    world.put("@/models/copy.gguf", gguf("other", seed=3))


def _ready(world: World) -> None:
    _empty(world)
    world.must("init", *_ON, "--scan", "~/Downloads", "--yes")


def _synced(world: World) -> None:
    _ready(world)
    world.must("sync", "--yes")


def _two_disks(world: World) -> None:
    """The other disk is a volume, and has been looked at."""
    _ready(world)
    world.must("volume", "add", "@", "--name", "far", "--always")
    world.must("config", "set", "scan", f"{world.home}/Downloads:{world.ground.other}/models")
    world.must("sync", "--yes")


STATES: Mapping[str, Callable[[World], None]] = {
    "empty": _empty, "ready": _ready, "synced": _synced, "two disks": _two_disks,
}


# ---- what happens before a command has something to do ------------------------------------------------------------


def _nothing(world: World) -> None:
    pass


def _after(*lines: str) -> Callable[[World], None]:
    """These command lines."""
    def before(world: World) -> None:
        for line in lines:
            world.must(*line.split())
    return before


def _lived(world: World) -> None:
    """The person downloads, deletes, edits, and replaces a file by another of its name."""
    world.put(".lmstudio/models/acme/later-GGUF/later.gguf", LATER)
    shutil.rmtree(world.home / ".local/share/Jan/data/llamacpp/models/other")
    with next(world.home.glob(".local/share/Jan/data/llamacpp/models/gem*/model.yml")).open("a") as file:
        file.write("ctx_size: 77\n")
    (world.home / "Downloads/other.gguf").unlink()
    world.put("Downloads/other.gguf", NEW)


def _given_up(world: World) -> None:
    """A model that nobody has any more but the store."""
    world.environ |= _AT_ONCE
    world.must("add", "~/elsewhere/new.gguf", "--name", "fresh")
    (world.home / "elsewhere/new.gguf").unlink()
    world.must("remove", "fresh", "--yes")
    world.must("pin", "gem")                                # lets go of what undo no longer needs


def _kept_for_undo(world: World) -> None:
    """And undo, which has all its time, is what keeps it."""
    world.must("add", "~/elsewhere/new.gguf", "--name", "fresh")
    (world.home / "elsewhere/new.gguf").unlink()
    world.must("remove", "fresh", "--yes")


def _condemned(world: World) -> None:
    _given_up(world)
    world.must("gc")


def _in_the_trash(world: World) -> None:
    _condemned(world)
    del world.environ["HELIXSTORE_UNDO_WINDOW"]
    world.must("gc")
    assert _digest(NEW) in world.must("trash", "list", "--json").out


def _unused(world: World) -> None:
    world.must("add", "~/elsewhere/new.gguf", "--name", "fresh")
    (world.home / "elsewhere/new.gguf").unlink()
    for name in _PROVIDERS:
        world.run("hide", "fresh", "--provider", name)


def _damaged(world: World) -> None:
    """A bit of a blob flips, and with it in every name of the file."""
    blob = world.store / f"blobs/{_digest(NEW)[:2]}/{_digest(NEW)}"
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"!")
    blob.chmod(0o444)


def _added_and_damaged(world: World) -> None:
    world.must("add", "~/elsewhere/new.gguf", "--name", "fresh")
    _damaged(world)


def _old_laptop(world: World) -> None:
    """Another computer has claimed the same."""
    [here], other = os.listdir(world.store / "hosts"), "0123456789abcdef"
    for kind in ("hosts", "refs"):
        shutil.copytree(world.store / kind / here, world.store / kind / other)
    described = world.store / "hosts" / other / "host.json"
    told = json.loads(described.read_bytes()) | {"name": "old-laptop"}
    described.unlink()
    described.write_text(json.dumps(told))


@dataclass(frozen=True)
class Case:
    """One command line.

    Attributes:
        argv: what is typed.
        start: in which of STATES.
        before: what happens then.
        environ: for the command and all that follow it.
        again: what is typed after the disturbance, to complete it; () for the same.
        deletes: bytes may be gone afterwards for good: that is what the command is for.
        undoes: so many operations, which `log` tells of: typed again, it would take back others.
    """

    argv: tuple[str, ...]
    start: str = "synced"
    before: Callable[[World], None] = _nothing
    environ: Mapping[str, str] = field(default_factory=dict)
    again: tuple[tuple[str, ...], ...] = ()
    deletes: bool = False
    undoes: int = 0

    @property
    def command(self) -> str:
        """As `leaves` names it."""
        return next(words for count in (2, 1, 0) if (words := " ".join(self.argv[:count])) in leaves() or not count)


def _case(line: str, start: str = "synced", **more: Any) -> Case:
    return Case(tuple(line.split()), start, **more)


_SYNC = ("sync", "--yes")
CASES: Mapping[str, Case] = {
    "init": Case(("init", *_ON, "--scan", "~/Downloads", "--yes"), "empty"),
    "sync": _case("sync --yes", "ready"),
    "sync of changes": _case("sync --yes", before=_lived),
    "sync --plan": _case("sync --plan ~/plan.json", "ready"),
    "apply": _case("apply ~/plan.json", "ready", before=_after("sync --plan ~/plan.json"),
                   again=(("apply", "~/plan.json"), _SYNC)),
    "add": _case("add ~/elsewhere/new.gguf --name fresh"),
    "add from another disk": _case("add @/models/far.gguf --name far"),
    "share a path": _case("share ~/elsewhere/new.gguf"),
    "share a model": _case("share other --provider llamacpp"),
    "hide": _case("hide other --provider llamacpp"),
    "unhide": _case("unhide other --provider llamacpp", before=_after("hide other --provider llamacpp")),
    "pin": _case("pin other"),
    "unpin": _case("unpin other", before=_after("pin other")),
    "link": _case("link plain ~/mine"),
    "remove": _case("remove plain --yes"),
    "remove --unused": _case("remove --unused --yes", before=_unused),
    "undo": _case("undo --yes", undoes=1),
    "undo several": _case("undo 3 --yes", before=_after("add ~/elsewhere/new.gguf", "pin gem"),
                          undoes=3),
    "leave": _case("leave --yes"),
    "leave one": _case("leave --provider jan --yes"),
    "gc condemns": _case("gc", before=_given_up, environ={"HELIXSTORE_GRACE": "1d"}),
    "gc moves": _case("gc", before=_condemned, environ={"HELIXSTORE_GRACE": "0"}),
    "gc deletes": _case("gc", before=_in_the_trash, environ=_AT_ONCE, deletes=True),
    "gc --now": _case("gc --now --yes", before=_given_up, environ=_AT_ONCE, deletes=True),
    "gc --now of what undo keeps": _case("gc --now --yes", before=_kept_for_undo, deletes=True),
    "trash restore": _case(f"trash restore {_digest(NEW)[:12]}", before=_in_the_trash),
    "verify": _case("verify"),
    "verify with damage": _case("verify", before=_added_and_damaged),
    "reindex": _case("reindex"),
    "config set": _case("config set share duplicates", again=(("config", "set", "share", "duplicates"), _SYNC)),
    "providers off": _case("providers off jan", again=(("providers", "off", "jan"), _SYNC)),
    "providers on": _case("providers on gpt4all", again=(("providers", "on", "gpt4all"), _SYNC)),
    "providers set": _case("providers set llamacpp --root ~/llama",
                           again=(("providers", "set", "llamacpp", "--root", "~/llama"), _SYNC)),
    "host forget": _case("host forget old-laptop --yes", before=_old_laptop),
    "layouts new": _case("layouts new mine", environ={"HELIXSTORE_PLUGINS": ""}),
    "volume add": _case("volume add @ --name far --always"),
    "volume move": _case("volume move other far", "two disks"),
    "volume move back": _case("volume move far main", "two disks"),
    "volume detach": _case("volume detach far", "two disks"),
    "volume remove": _case("volume remove far", "two disks", before=_after("volume move far main"),
                           environ=_AT_ONCE),
    "sync --across-disks": _case("sync --across-disks --keep far --yes", "two disks"),
    "doctor": _case("doctor"),
    **{line: _case(line) for line in (
        "status", "list", "list-shared", "models list", "models search llama", "models info llama3:8b", "show gem",
        "path gem", "explain gem", "du", "log",
        "compat gem", "providers list", "providers show jan", "layouts list", "volume list", "host list", "config list",
        "config get share", "trash list", "layouts check jan")},
}


#: those of `make test`
DAILY = ("sync of changes", "remove", "leave", "gc moves")
#: those in which the power is lost
POWER = ("sync", "sync of changes", "add", "add from another disk", "remove", "undo", "undo several", "leave",
         "gc moves", "gc deletes", "gc --now", "gc --now of what undo keeps", "trash restore", "volume move",
         "volume move back", "volume remove", "verify with damage")


@cache
def leaves() -> frozenset[str]:
    """Every command of the command line, "trash restore" and the like in two words."""
    command, found = application(), set()
    for name in command.list_commands(None):
        inner = getattr(command.get_command(None, name), "commands", None)
        found |= {f"{name} {one}" for one in inner} if inner else {name}
    return frozenset(found)
