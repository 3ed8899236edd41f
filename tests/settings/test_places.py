"""Places: the rules of platformdirs from an environment mapping, a host's identity, where the index may lie."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import platformdirs
import pytest

from helixstore.errors import ConfigError, IndexUnusable
from helixstore.places import Places


def test_linux_defaults_are_those_of_platformdirs(home: Path) -> None:
    places = Places.of()
    assert places.config == Path(platformdirs.user_config_dir("helixstore"))
    assert places.state == Path(platformdirs.user_state_dir("helixstore"))
    assert places.data == Path(platformdirs.user_data_dir("helixstore"))
    assert places.cache == Path(platformdirs.user_cache_dir("helixstore"))
    assert places.default_store.is_relative_to(home)


def test_xdg_variables_move_everything(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("CONFIG", "STATE", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(home / kind))
    places = Places.of()
    assert places.config == Path(platformdirs.user_config_dir("helixstore")) == home / "CONFIG" / "helixstore"
    assert places.state == home / "STATE" / "helixstore"
    assert places.data == home / "DATA" / "helixstore"
    assert places.cache == home / "CACHE" / "helixstore"


def test_relative_xdg_folders_count_as_not_set(home: Path) -> None:
    assert Places.of({"HOME": str(home), "XDG_CONFIG_HOME": "conf"}).config == home / ".config" / "helixstore"


def test_macos_and_windows(home: Path) -> None:
    mac = Places.of({"HOME": str(home)}, "darwin")
    assert mac.config == home / "Library/Application Support/helixstore"
    assert mac.cache == home / "Library/Caches/helixstore"
    windows = Places.of({"USERPROFILE": str(home), "LOCALAPPDATA": str(home / "Local"), "USERNAME": "ann"}, "win32")
    assert windows.config_file == home / "Local/helixstore/config.toml"
    assert windows.cache == home / "Local/helixstore/Cache"
    folders = (windows.state, windows.cache, windows.default_store)
    assert len({windows.config, *folders}) == 4, "a store must be a folder of its own"
    assert windows.uid == Places.of({"USERPROFILE": str(home), "USERNAME": "Ann"}, "win32").uid > 0


def test_site_files_come_first_and_the_first_xdg_folder_counts_most(home: Path) -> None:
    places = Places.of({"HOME": str(home), "XDG_CONFIG_DIRS": "/a:relative:/b"})
    assert [str(file) for file in places.site_config_files] == [
        "/etc/helixstore/config.toml", "/b/helixstore/config.toml", "/a/helixstore/config.toml"]


def test_finding_places_writes_nothing(home: Path) -> None:
    places = Places.of()
    places.index_for("s" * 16)
    places.state_for("s" * 16)
    assert places.host(remember=False).id == ""
    assert list(home.iterdir()) == []


def test_the_host_keeps_its_identity(home: Path) -> None:
    first = Places.of().host()
    assert len(first.id) == 16
    assert int(first.id, 16) >= 0
    assert Places.of().host() == first == Places.of().host(remember=False)
    assert first.uid == os.getuid()
    (file,) = (home / ".local/state/helixstore/hosts").iterdir()
    assert first.id not in file.name


def _identity(_: int) -> str:
    return Places.of().host().id


def test_processes_that_start_together_agree_on_the_identity(home: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_identity, range(3), chunksize=1))) == 1


def test_a_broken_identity_is_an_error_and_not_a_new_host(home: Path) -> None:
    Places.of().host()
    (file,) = (home / ".local/state/helixstore/hosts").iterdir()
    for text in ("", "[]", json.dumps({"host": "../up"}), json.dumps({"host": 3})):
        file.write_text(text)
        with pytest.raises(ConfigError, match="identity"):
            Places.of().host()


@pytest.mark.parametrize(("environ", "answer"), [
    ({}, False), ({"CI": "true"}, True), ({"CI": "false"}, False), ({"CI": ""}, False),
    ({"HELIXSTORE_EPHEMERAL": "1"}, True), ({"HELIXSTORE_EPHEMERAL": "0", "CI": "true"}, False),
])
def test_ephemeral(home: Path, environ: dict[str, str], answer: bool) -> None:
    assert Places.of({"HOME": str(home), **environ}).host().ephemeral is answer


def test_the_index_lies_in_the_cache_or_where_the_variable_says(home: Path) -> None:
    assert Places.of().index_for("abc") == home / ".cache/helixstore/abc"
    assert Places.of({"HOME": str(home), "HELIXSTORE_INDEX": "/fast"}).index_for("abc") == Path("/fast/helixstore/abc")


def test_an_index_folder_of_another_person_is_kept_apart(home: Path) -> None:
    fast = home / "fast"
    (fast / "helixstore").mkdir(parents=True)
    places = Places.of({"HOME": str(home), "HELIXSTORE_INDEX": str(fast)})
    assert places.index_for("abc") == fast / "helixstore/abc"
    places.__dict__["uid"] = os.getuid() + 1            # the cached number: another person asks
    assert places.index_for("abc") == fast / f"helixstore-{os.getuid() + 1}/abc"


def test_a_cache_on_a_network_goes_to_var_tmp(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from helixstore.fs import mounts

    real = mounts.mount_of                              # stands in: no network file system can be mounted here
    share = mounts.Mount("/home", "nfs4", "nas:/home", True, "nfs:nas:/home")
    monkeypatch.setattr(mounts, "mount_of", lambda path: share if str(path).startswith(str(home)) else real(path))
    places = Places.of()
    assert places.index_for("abc") == Path(f"/var/tmp/helixstore-{os.getuid()}/helixstore/abc")
    monkeypatch.setattr(mounts, "mount_of", lambda path: share)
    with pytest.raises(IndexUnusable) as caught:
        places.index_for("abc")
    assert "nfs4" in str(caught.value)
    assert "HELIXSTORE_INDEX" in caught.value.remedy
