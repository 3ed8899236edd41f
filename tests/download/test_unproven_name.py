"""A model of the hub that comes from a registry: programs have it under the hub's name when the hub has proven that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from registries import machine

from support import typist
from support.hub import Repository, hub
from support.models import tiny_hf
from support.person import Person
from support.registry import StandIn, serve


@pytest.fixture
def place(person: Person, tiny: Repository) -> Iterator[str]:
    """Where it was pushed, by somebody who has it from the hub; whoever pulls it has that hub, too."""
    with hub(tiny) as endpoint, serve(StandIn()) as registry:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            store.push(store.download(f"hf:{tiny.name}").name, f"oci://{registry.host}/team/plain:hf")
        tiny.sent.clear()
        tiny.asked.clear()
        yield f"oci://{registry.host}/team/plain:hf"


@pytest.fixture
def other(person: Person, place: str, tmp_path: Path) -> Person:
    other = machine(tmp_path / "other")
    other.environ["HF_ENDPOINT"] = person.environ["HF_ENDPOINT"]
    return other


def called(person: Person) -> set[str]:
    """What vLLM finds by its name."""
    folders = (person.home / ".cache/huggingface/hub").glob("models--*/snapshots/*/config.json")
    return {folder.relative_to(person.home / ".cache/huggingface/hub").parts[0] for folder in folders}


def test_until_the_hub_has_proven_it_the_report_says_the_name_and_the_command_and_nobody_asks(
    other: Person, place: str, tiny: Repository,
) -> None:
    said = typist.typed("pull", place, environ=other.environ).stdout
    [local] = called(other)
    [line] = [line for line in said.splitlines() if "says of itself" in line]
    assert f"that it is {tiny.name} at {tiny.commit[:8]} of the hub" in line
    assert f" it is {local.removeprefix('models--').replace('--', '/')} in vLLM, " in line
    assert tiny.asked == []
    command = line.partition("fetch nothing that is here: helixstore ")[2]
    proven = typist.typed(*command.split(), environ=other.environ).stdout
    assert ", 0 B downloaded; " in proven
    assert "says of itself" not in proven
    assert tiny.sent == {}
    assert called(other) == {f"models--{tiny.name.replace('/', '--')}"}
    assert "says of itself" not in typist.typed("pull", place, environ=other.environ).stdout


def test_a_model_that_came_from_no_hub_is_told_no_such_line(person: Person, tmp_path: Path) -> None:
    tiny_hf(person.home / "mine")
    other = machine(tmp_path / "third")
    with serve(StandIn()) as registry:
        with person.open() as store:
            store.share(person.home / "mine")
            store.push("mine", f"oci://{registry.host}/team/plain:hf")
        with other.open() as store:
            report = store.download(f"oci://{registry.host}/team/plain:hf")
    assert report.sync is not None
    assert report.sync.notes == ()
    assert [name[:13] for name in called(other)] == ["models--local"]
