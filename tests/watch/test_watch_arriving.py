"""How models come: whatever a program does to get one, it is taken when it is whole, once, and is everywhere then."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from watched import Home, Watching, until

from helixstore.testing.models import gguf_bytes
from support.household import gguf, hf, shards


@pytest.fixture(scope="module")
def watching(base: Path) -> Iterator[Watching]:
    with Home.made(base / "home").watch() as watching:
        yield watching


def test_a_file_that_is_renamed_into_place_is_everywhere_after_one_pass(watching: Watching) -> None:
    before = len(watching.passes)
    path = watching.home.model(".lmstudio/models/acme/renamed-GGUF/renamed-Q4_K_M.gguf", "renamed", 1)
    told = watching.adopted(path)
    assert told["linked"] >= 10
    assert told["issues"] == []
    watching.home.everywhere("renamed")
    second = watching.home.model("models/second-Q4_K_M.gguf", "second", 2)
    watching.adopted(second)
    passes = watching.passes[before:]
    assert [len(one["adopted"]) for one in passes if one["adopted"]] == [1, 1]
    assert [one for one in passes if not one["adopted"] and one["linked"] + one["removed"]] == []    # no loop
    # roots that the first model made are looked at once, and nothing else that we did ourselves
    assert len([one for one in passes if not one["adopted"]]) <= 2, [one["text"] for one in passes]


def test_what_we_did_ourselves_leads_to_no_pass(watching: Watching) -> None:
    """The first models have made all folders; now one pass for each model, and none beside."""
    watching.adopted(watching.home.model("models/warm-Q4_K_M.gguf", "warm", 3))
    before = len(watching.passes)
    for number in range(3):
        name = f"plain{number}"
        watching.adopted(watching.home.model(f".lmstudio/models/acme/{name}-GGUF/{name}.gguf", name, 10 + number))
    assert [len(one["adopted"]) for one in watching.passes[before:]] == [1, 1, 1]


def test_a_file_that_grows_under_its_name_is_waited_for(watching: Watching) -> None:
    path, data, before = watching.home.home / "models/growing-Q4_K_M.gguf", gguf("growing", seed=20), watching.count()
    with path.open("wb") as file:
        file.write(data[:-64])
        file.flush()
        watching.event("waiting", lambda event: event["path"] == str(path), before)
        file.write(data[-64:])
        file.flush()
        assert all(one["path"] != str(path) for told in watching.passes for one in told["adopted"])
    watching.adopted(path)
    watching.home.everywhere("growing")


def test_a_preallocated_file_is_no_model_while_it_is_open(watching: Watching) -> None:
    """Of the right size from the start, as torrents do it: only the lease tells."""
    path, data, before = watching.home.home / "models/torrent-Q4_K_M.gguf", gguf("torrent", seed=21), watching.count()
    with path.open("wb") as file:
        file.write(data[:-500] + bytes(500))
        file.flush()
        watching.event("waiting", lambda event: event["path"] == str(path), before)
        file.seek(len(data) - 500)
        file.write(data[-500:])
    watching.adopted(path)
    [(_, paths)] = [one for one in watching.home.everywhere("torrent").items() if one[0] == "gpt4all"]
    assert Path(paths[0]).read_bytes() == data


def test_a_preallocated_file_that_was_closed_waits_until_its_hole_is_filled(watching: Watching) -> None:
    path, before = watching.home.home / "models/stopped-F16.gguf", watching.count()
    data = gguf_bytes({"general.architecture": "llama", "general.file_type": 1, "llama.context_length": 4096},
                      {f"blk.{number}.attn_q.weight": "F16" for number in range(400)}, 25)
    with path.open("wb") as file:
        file.write(data[:60_000])
        file.truncate(len(data))
    told = watching.event("pass", lambda event: any(one["path"] == str(path) for one in event["issues"]), before)
    assert told["adopted"] == []
    assert watching.home.where("stopped") == {}
    with path.open("r+b") as file:
        file.write(data)
    watching.adopted(path)
    watching.home.everywhere("stopped")
    assert all(one["path"] != str(path) for one in watching.home.document("status")["issues"])


def test_a_file_is_taken_when_what_lies_beside_it_goes(watching: Watching) -> None:
    """aria2 closes the file first and removes its control file after that."""
    path = watching.home.home / "models/controlled-Q4_K_M.gguf"
    control = path.with_name(path.name + ".aria2")
    control.touch()
    path.write_bytes(gguf("controlled", seed=23))
    watching.adopted(watching.home.model("models/later-Q4_K_M.gguf", "later", 24))
    assert watching.home.where("controlled") == {}
    control.unlink()
    watching.adopted(path)
    watching.home.everywhere("controlled")


def test_a_download_that_is_cut_and_resumed(watching: Watching) -> None:
    path, data, before = watching.home.home / "models/resumed-Q4_K_M.gguf", gguf("resumed", seed=22), watching.count()
    path.write_bytes(data[:-100])
    told = watching.event("pass", lambda event: any(one["path"] == str(path) for one in event["issues"]), before)
    assert told["adopted"] == []
    with path.open("ab") as file:
        file.write(data[-100:])
    watching.adopted(path)
    watching.home.everywhere("resumed")
    assert all(one["path"] != str(path) for one in watching.home.document("status")["issues"])


@pytest.mark.parametrize("how", ["hard link", "symlink", "rename"])
def test_what_comes_from_outside_the_watched_folders_has_no_closing(watching: Watching, how: str) -> None:
    name = f"outside-{how.replace(' ', '-')}"
    source = watching.home.model(f"elsewhere/{name}.gguf", name, 30 + len(how))
    target = watching.home.home / f"models/{name}.gguf"
    {"hard link": os.link, "symlink": os.symlink, "rename": os.rename}[how](source, target)
    watching.adopted(source if how == "symlink" else target)
    watching.home.everywhere(name)


def test_a_folder_that_is_moved_in(watching: Watching) -> None:
    outside = watching.home.home / "unpacked/moved-in"
    for name, data in hf("moved-in", 40).items():
        path = outside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    inside = watching.home.home / "models/moved-in"
    outside.rename(inside)
    watching.adopted(inside)
    assert len(watching.home.where("moved-in")) >= 4


def test_shards_wait_for_the_last_of_them(watching: Watching) -> None:
    parts = shards("sharded", 4, 50)
    before = len(watching.passes)
    for name, data in parts.items():
        (watching.home.home / "models" / name).write_bytes(data)
    told = watching.adopted(watching.home.home / "models" / next(iter(parts)))
    assert len(told["adopted"]) == 4
    assert [one["text"] for one in watching.passes[before:] if one is not told and one["issues"]] == []
    watching.home.everywhere("sharded")


def test_deleting_it_in_a_program_hides_it_there_and_is_one_pass(watching: Watching) -> None:
    watching.adopted(watching.home.model("models/unwanted-Q4_K_M.gguf", "unwanted", 60))
    there = watching.home.everywhere("unwanted")
    before = watching.count()
    folder = Path(there["lmstudio"][0]).parent
    shutil.rmtree(folder)
    watching.event("pass", lambda event: "unwanted" in event["text"] and "lmstudio" in event["text"], before)
    left = watching.home.where("unwanted")
    assert "lmstudio" not in left
    assert len(left) == len(there) - 1
    assert not folder.exists()
    assert sum(event["event"] == "pass" for event in watching.events[before:]) == 1


def test_a_link_that_somebody_removes_is_made_again(watching: Watching) -> None:
    """Only the witness tells that the person deleted a model; anything else is repaired."""
    watching.adopted(watching.home.model("models/mended-Q4_K_M.gguf", "mended", 61))
    root = watching.home.root("ollama")
    blobs = [path for path in watching.home.everywhere("mended")["ollama"] if "/blobs/" in path]
    assert blobs
    assert blobs[0].startswith(str(root))
    os.unlink(blobs[0])
    until(lambda: os.path.exists(blobs[0]), "the blob is there again")


def test_names_of_unfinished_files_are_never_looked_at(watching: Watching) -> None:
    before = watching.count()
    for name in ("a.gguf.part", "b.gguf.crdownload", "c.incomplete", "incomplete-d.gguf", ".e.gguf.Ab12Cd"):
        (watching.home.home / "models" / name).write_bytes(gguf("x", seed=70))
    last = watching.home.model("models/after-them-Q4_K_M.gguf", "after-them", 71)
    watching.adopted(last)
    told = [event for event in watching.events[before:] if event["event"] == "pass"]
    assert [one["path"] for event in told for one in event["adopted"]] == [str(last)]
