"""No program's folder and no loose one lies in the store: a program that sweeps its folder would delete blobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.errors import Usage
from support.person import Person
from support.raw import model_gguf
from support.typist import typed


@pytest.fixture
def store(synced: Person) -> Path:
    with synced.open() as opened:
        return Path(opened.folder)


def farm(store: Path) -> Path:
    [found] = (store / "farms").glob("*/*")
    return found


@pytest.fixture(params=["plain", "link"])
def way(request: pytest.FixtureRequest, synced: Person) -> Callable[[Path], Path]:
    def through(path: Path) -> Path:
        if request.param == "plain":
            return path
        link = synced.home / "shortcut"
        link.unlink(missing_ok=True)
        link.symlink_to(path.parent)
        return link / path.name
    return through


@pytest.mark.parametrize("part", ["", "blobs", "blobs/ab", "trash", "staging", "refs", "farms", "farms/other/1000"])
def test_a_folder_of_the_store_is_refused(
    synced: Person, store: Path, way: Callable[[Path], Path], part: str,
) -> None:
    folder = way(store / part if part else store)
    with synced.open() as opened:
        for refused in (
            lambda: opened.set_provider("llamacpp", root=folder),
            lambda: opened.set_config("providers.llamacpp.root", folder),
            lambda: opened.set_config("scan", [str(synced.home / "models"), str(folder)]),
        ):
            with pytest.raises(Usage, match="store's own folder"):
                refused()
    if folder.is_dir():
        with pytest.raises(Usage, match="store's own folder"):
            HelixStore.init(scan=[folder], environ=synced.environ)


def test_the_persons_own_farm_and_what_lies_beside_the_store_may_be_named(synced: Person, store: Path) -> None:
    with synced.open() as opened:
        opened.set_provider("llamacpp", root=farm(store) / "mine")
        opened.set_provider("koboldai", root=store.parent / f"{store.name}-models")
        report = opened.sync()
        assert report.issues == ()
    assert list((farm(store) / "mine").rglob("*.gguf"))
    assert list((store.parent / f"{store.name}-models").rglob("*.gguf"))


@pytest.mark.parametrize("by", ["file", "environment"])
@pytest.mark.parametrize("part", ["blobs", "trash"])
def test_one_that_is_set_elsewhere_is_left_out_and_said(
    synced: Person, store: Path, way: Callable[[Path], Path], by: str, part: str,
) -> None:
    folder = way(store / part)
    before = sorted(store.joinpath("blobs").rglob("*"))
    if by == "file":
        config = synced.home / ".config/helixstore/config.toml"
        config.write_text(config.read_text() + f'\n[providers.ollama]\non = true\nroot = "{folder}"\n'
                          if "[providers.ollama]" not in config.read_text() else
                          config.read_text().replace("[providers.ollama]", f'[providers.ollama]\nroot = "{folder}"'))
    else:
        synced.environ["OLLAMA_MODELS"] = str(folder)
    for _ in range(2):
        with synced.open() as opened:
            report = opened.sync()
            assert [(one.kind, one.path) for one in report.issues] == [("own-folder", str(folder))]
            assert not (set(opened.status().issues) - set(report.issues))
    assert sorted(store.joinpath("blobs").rglob("*")) == before
    assert not (store / part / "manifests").exists()
    if by == "environment":
        del synced.environ["OLLAMA_MODELS"]
        with synced.open() as opened:
            assert opened.sync().issues == ()


def test_a_loose_one_in_a_settings_file_is_left_out_and_said(synced: Person, store: Path) -> None:
    inside = store / "staging/left"
    inside.mkdir()
    (inside / "x-F16.gguf").write_bytes(model_gguf(seed=8))
    config = synced.home / ".config/helixstore/config.toml"
    config.write_text(config.read_text().replace('scan = ["', f'scan = ["{inside}", "'))
    with synced.open() as opened:
        report = opened.sync()
        assert [(one.kind, one.path) for one in report.issues] == [("own-folder", str(inside))]
        assert "x" not in [model.name for model in opened.shared_models()]


def test_the_command_refuses_too(synced: Person, store: Path) -> None:
    for words in (["providers", "set", "llamacpp", "--root", store / "blobs"],
                  ["config", "set", "scan", store / "trash"],
                  ["config", "set", "providers.jan.root", store / "staging"], ["init", "--scan", store / "blobs"]):
        done = typed(*map(str, words), environ=synced.environ)
        assert done.returncode == 2, done
        assert "store's own folder" in done.stderr
