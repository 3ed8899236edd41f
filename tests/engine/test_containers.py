"""What `providers show --mounts` says is enough: in a namespace that has nothing else, every projected name opens."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.errors import NotFound, Usage
from support.disks import as_root, run
from support.person import GGUF, Person
from support.raw import model_gguf

#: reads {"mounts": [[source, target]], "paths": [...]}, and runs where only these folders are, read only
_INSIDE = """
import errno, hashlib, json, os, subprocess, sys, tempfile
asked = json.load(sys.stdin)
top = tempfile.mkdtemp()
def mount(*words): subprocess.run(["mount", *words], check=True)
mount("-t", "tmpfs", "none", top)
for source, target in asked["mounts"]:
    os.makedirs(top + target)
    mount("--bind", source, top + target)
    mount("-o", "remount,bind,ro", top + target)
os.chroot(top)
os.chdir("/")
def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
def refusal(folder):
    try:
        open(folder + "/new", "wb")
    except OSError as error:
        return error.errno == errno.EROFS
print(json.dumps({"files": {path: digest(path) for path in asked["paths"]},
                  "read_only": [refusal(target) for _, target in asked["mounts"]], "top": os.listdir("/")}))
"""


def mounted(options: Sequence[str]) -> list[tuple[str, str]]:
    """(source, target) of options as docker and podman read them; all must be read only."""
    found = []
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option == "-v":
            source, target, mode = value.split(":")
            assert mode == "ro"
        else:
            assert option == "--mount"
            row, = csv.reader([value])
            said = dict(part.partition("=")[::2] for part in row)
            assert said.keys() == {"type", "source", "target", "readonly"}
            assert said["type"] == "bind"
            source, target = said["source"], said["target"]
        found.append((source, target))
    return found


def projected(store: HelixStore) -> dict[str, dict[str, str]]:
    """Provider -> every path under which a model is linked for it -> the SHA-256 of what lies there."""
    from support.sandbox import sha256

    found: dict[str, dict[str, str]] = {}
    for model in store.shared_models():
        for variant in model.variants:
            for name, here in variant.providers.items():
                if here.state == "linked":
                    found.setdefault(name, {}).update({path: sha256(Path(path)) for path in here.paths})
    return found


def linked_by(person: Person, kind: str) -> HelixStore:
    """The person's store with every weight linked by this kind."""
    with person.open() as store:
        names = [view.name for view in store.providers()]
    person.environ |= {f"HELIXSTORE_PROVIDERS_{name.upper()}_LINKS": kind for name in names}
    store = person.open()
    assert store.sync().issues == ()
    return store


def opens_inside(store: HelixStore) -> set[str]:
    """Every projected name opens, with the same bytes, where a provider's mounts are alone; the providers."""
    seen = projected(store)
    for name, files in seen.items():
        needed = mounted(store.mounts(name).options)
        asked = json.dumps({"mounts": needed, "paths": list(files)})
        done = subprocess.run(["unshare", "-m", sys.executable, "-I", "-c", _INSIDE], input=asked, text=True,
                              capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, (name, needed, done.stderr)
        answer = json.loads(done.stdout)
        assert answer["files"] == files, name
        assert answer["read_only"] == [True] * len(needed)
        assert set(answer["top"]) == {Path(target).parts[1] for _, target in needed}, "nothing else is there"
    return set(seen)


@as_root
@pytest.mark.root
@pytest.mark.parametrize("kind", ["hard", "symlink"])
def test_in_a_container_with_these_mounts_every_projected_name_opens(laptop: Person, kind: str) -> None:
    with linked_by(laptop, kind) as store:
        assert {"ollama", "vllm", "llamacpp", "jan", "koboldai", "fastchat", "localai"} <= opens_inside(store)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    point = tmp_path / "far-disk"
    point.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", str(point))
    yield point
    run("umount", str(point))


@as_root
@pytest.mark.root
def test_a_model_on_another_disk_is_given_along(laptop: Person, disk: Path) -> None:
    far = disk / "models/far-F16.gguf"
    far.parent.mkdir()
    far.write_bytes(model_gguf(seed=7))
    laptop.environ["HELIXSTORE_SCAN"] = f"{laptop.home / 'models'}:{far.parent}"
    with laptop.open() as store:
        store.volumes.add(disk)
        assert store.sync().issues == ()
        assert "symlink" in {one.link for one in store.show("far").variants[0].providers.values()}
        assert opens_inside(store) >= {"lmstudio", "llamacpp", "ollama"}
        assert any(Path(mount.path).is_relative_to(disk) for mount in store.mounts("llamacpp").mounts)


def test_hard_links_need_the_programs_folder_alone(laptop: Person) -> None:
    with linked_by(laptop, "hard") as store:
        for name in projected(store):
            roots = {str(root["path"]) for root in store.provider(name).roots}
            assert {mount.path for mount in store.mounts(name).mounts} <= roots, name
        cache, = store.mounts("vllm").mounts
        assert cache.path.endswith("/huggingface/hub"), "the links in it are relative and stay in it"


def test_symbolic_links_need_the_folder_they_lead_to(laptop: Person) -> None:
    with linked_by(laptop, "symlink") as store:
        leading = {name for name in projected(store)
                   if any("symlink" in root["links"] for root in store.provider(name).roots)}
        assert {"ollama", "vllm", "llamacpp", "jan", "koboldai", "fastchat", "localai"} <= leading
        for name in leading:
            there = {mount.path for mount in store.mounts(name).mounts}
            beyond, = there - {str(root["path"]) for root in store.provider(name).roots}
            assert Path(beyond).is_relative_to(store.folder / "farms"), "nothing else of the store is shown"


def test_a_link_of_the_persons_own_leads_along_to_that_file_alone(person: Person) -> None:
    person.put(".lmstudio/models/acme/Small-GGUF/Small-F16.gguf", GGUF)
    far = person.put('disk: "two", old/far.bin', b"no model, and reached through two links")
    hop = person.home / "hop"
    hop.symlink_to(far)
    (person.home / ".lmstudio/models/acme/Small-GGUF/notes.txt").symlink_to("../../../../hop")
    (person.home / ".lmstudio/models/far.txt").symlink_to(far)
    (person.home / ".lmstudio/models/nowhere.txt").symlink_to(person.home / "missing/nothing")
    HelixStore.init(providers=["lmstudio"], environ=person.environ)
    with person.open() as store:
        store.sync()
        found = mounted(store.mounts("lmstudio").options)
    assert found == [(str(path),) * 2 for path in (person.home / ".lmstudio/models", far, hop)]


def test_what_is_not_there_cannot_be_mounted(laptop: Person) -> None:
    with laptop.open() as store:
        with pytest.raises(NotFound) as missing:
            store.mounts("gpt4all")
        assert missing.value.remedy == "helixstore sync --provider gpt4all"
        with pytest.raises(Usage):
            store.mounts("nobody")


def test_show_tells_how_each_folder_stands(laptop: Person) -> None:
    with laptop.open() as store:
        before = store.provider("ollama")
        assert [root["state"] for root in before.roots] == ["new"]
        assert (before.linked, before.allowed) == (0, None)
        store.sync()
        store.set_config("providers.ollama.links", "hard,reflink")
        after = store.provider("ollama")
    assert [(root["state"], root["links"]) for root in after.roots] == [("here", {"hard": 2})]
    assert (after.linked, after.allowed) == (2, ("hard", "reflink"))
