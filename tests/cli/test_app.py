from __future__ import annotations

import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from helixstore.cli.app import COMMANDS, application

APP = application()
ONLY_LOOK = {
    "status", "list", "list-shared", "show", "path", "explain", "du", "compat", "log", "doctor", "reindex",
    "history", "generations list", "generations diff", "host list", "models list", "models search",
    "models info", "trash list", "providers list",
    "providers show", "config list", "config get",
    "layouts list", "layouts check", "volume list"}


def commands(group: Any = APP, path: str = "") -> Iterator[tuple[str, Any]]:
    context = typer.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        full = f"{path} {name}".strip()
        yield full, command
        if hasattr(command, "list_commands"):
            yield from commands(command, full)


ALL = dict(commands())
LEAVES = {path: command for path, command in ALL.items() if not hasattr(command, "list_commands")}


def test_every_command_of_this_version_is_there_and_none_of_a_later_one() -> None:
    wanted = {
        "init", "sync", "share", "add", "hide", "unhide", "pin", "unpin", "list", "list-shared", "show", "path", "link",
        "explain", "status", "du", "compat", "remove", "undo", "leave", "trash", "gc", "verify", "reindex", "log",
        "providers", "config", "doctor", "apply", "models", "layouts", "volume", "host", "watch",
        "download-all", "update", "history", "rollback", "generations", "push", "pull",
    }
    assert {path for path in ALL if " " not in path} == wanted
    assert {path for path in ALL if " " in path} == {
        "generations list", "generations diff", "generations back",
        "host list", "host forget", "models list", "models search", "models info",
        "models download", "trash list", "trash restore",
        "config list", "config get", "config set",
        "providers list", "providers show", "providers on", "providers off", "providers set",
        "layouts list", "layouts new", "layouts check",
        "volume add", "volume list", "volume move", "volume detach", "volume remove"}


@pytest.mark.parametrize("path", ALL)
def test_the_help_of_every_command_has_an_example_that_parses(path: str) -> None:
    examples = re.findall(r"^[ ]+(?:\S+ .*\$\()?(helix(?:store)? [^|&)\n]*)", ALL[path].help.partition("Example")[2],
                          re.M)
    assert examples, f"{path} shows no example"
    assert any(path.split()[-1] in example.split() or path == "list-shared" for example in examples)
    for example in examples:
        words = [word for word in shlex.split(example.replace('"', "")) if word != "..."]
        parse(words[1:])


def parse(words: list[str]) -> None:
    """Goes through the groups to the command and lets it read its arguments, without running it."""
    from helixstore.cli.session import Session

    command, context = APP, APP.make_context("helixstore", list(words), obj=Session())
    while hasattr(command, "list_commands") and (rest := [*context._protected_args, *context.args]):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("path", LEAVES)
def test_every_command_has_json_and_every_changing_one_a_dry_run(path: str) -> None:
    options = {name for param in LEAVES[path].params for name in param.opts}
    assert {"--json", "--store", "--quiet", "--issues-ok"} <= options
    assert ("--dry-run" in options) == (path not in ONLY_LOOK), path


@pytest.mark.parametrize(("name", "place"), [
    (name, place) for section in COMMANDS.values() for name, place in section.items()])
def test_the_list_of_commands_says_what_their_help_says(name: str, place: Any) -> None:
    assert ALL[name].help.partition("\n")[0] == place.help or name == "list-shared"


def test_no_option_means_two_things() -> None:
    for path, command in LEAVES.items():
        names = [name for param in command.params for name in (*param.opts, *param.secondary_opts) if name[0] == "-"]
        assert len(names) == len(set(names)), path


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "helixstore", *words], capture_output=True, text=True, check=False,
                          env={**os.environ, **variables}, timeout=60)


def test_the_alias_is_the_same_application(home: Path) -> None:
    plain, alias = run("sync", "--help"), run("local-llm", "sync", "--help")
    assert (plain.returncode, alias.returncode) == (0, 0)
    assert alias.stdout.replace("helixstore local-llm sync", "helixstore sync") == plain.stdout


def test_help_imports_nothing_that_takes_long(home: Path) -> None:
    code = ("import sys; from helixstore.cli import main\n"
            "try: main()\n"
            "except SystemExit: print([m for m in ('rich', 'pydantic', 'huggingface_hub', 'lmdb', 'tqdm', 'json',"
            " 'helixstore.engine', 'helixstore.cli.ask', 'blake3', 'platformdirs') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True,
                          timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_with_arguments_does_not_import_pydantic(home: Path) -> None:
    code = ("import sys; from helixstore.cli import main\n"
            "try: main()\n"
            "except SystemExit as end: print(end.code, [m for m in ('rich', 'pydantic') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code, "du", "--by", "colour", "--store", "/nowhere"],
                          capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "2 []"


@pytest.mark.parametrize(("words", "says"), [
    (["frobnicate"], "No such command 'frobnicate'"),
    (["lisst"], "Did you mean 'list'?"),
    (["start", "ollama"], "No such command 'start'"),
    (["show"], "Missing argument 'MODEL'"),
    (["show", "a", "b"], "unexpected extra argument"),
    (["sync", "--frobnicate"], "No such option"),
    (["hide", "m"], "--provider"),
    (["undo", "many"], "not a number from 1 on"),
    (["undo", "0"], "not a number from 1 on"),
    (["log", "--limit", "-3"], "not a number from 1 on"),
    (["du", "--by", "colour"], "model, provider, user, month"),
    (["init", "--share", "some"], "all, duplicates, chosen"),
    (["remove"], "name a model, or give --unused"),
    (["remove", "m", "--unused"], "name a model, or give --unused"),
    (["--store", "", "list"], "empty"),
])
def test_wrong_usage_exits_2_and_says_what_is_wrong(call: Any, words: list[str], says: str) -> None:
    ran = call(*words)
    assert ran.code == 2
    assert says in ran.err
    assert ran.out == ""


def completed(shell_words: str, home: Path) -> list[str]:
    done = run(_HELIXSTORE_COMPLETE="complete_bash", COMP_WORDS=shell_words,
               COMP_CWORD=str(len(shell_words.split(" ")) - 1), HOME=str(home))
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_shell_completes_commands_options_and_values(home: Path) -> None:
    assert set(completed("helixstore un", home)) == {"undo", "unhide", "unpin"}
    assert completed("helixstore local-llm trash re", home) == ["restore"]
    assert "--dry-run" in completed("helixstore sync --d", home)
    assert completed("helixstore du --by p", home) == ["provider"]


def test_every_module_of_the_command_line_says_what_it_is_for() -> None:
    for section in COMMANDS.values():
        for place in section.values():
            module = importlib.import_module(f"helixstore.cli.{place.module}")
            assert inspect.getdoc(module)


@pytest.mark.parametrize(
    "words", ["helixstore sync --provider ", "helix local-llm hide m -p ", "helixstore providers on "])
def test_the_shell_completes_the_names_of_programs(home: Path, words: str) -> None:
    assert {"ollama", "lmstudio", "llamacpp", "mistralrs"} <= set(completed(words, home))
    assert completed(f"{words}oll", home) == ["ollama"]
