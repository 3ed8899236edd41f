"""Settings: which source wins, what is refused, and that a person's file keeps what they wrote."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helixstore.errors import ConfigError, Usage
from helixstore.places import Places
from helixstore.settings import Settings, listing, load, new_namespace, set_value
from helixstore.values import LinkKind


def person(home: Path, text: str) -> Path:
    file = home / ".config/helixstore/config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_nothing_written_gives_the_defaults(home: Path) -> None:
    settings = load(Places.of())
    assert settings == Settings()
    assert (settings.grace, settings.undo_window) == (86400, 604800)
    assert {line.origin for line in listing(settings)} == {"default"}


def test_environment_over_person_over_site(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = home / "site/helixstore/config.toml"
    site.parent.mkdir(parents=True)
    site.write_text('share = "chosen"\nadopt = "off"\ngrace = "2h"\n[providers.jan]\non = false\n')
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(home / "site"))
    mine = person(home, 'adopt = "ask"\ngrace = 60\n[providers.jan]\nroot = "jan"\n')
    monkeypatch.setenv("HELIXSTORE_GRACE", "90m")
    settings = load(Places.of())
    assert (settings.share, settings.adopt, settings.grace) == ("chosen", "ask", 5400)
    assert (settings.origin("share"), settings.origin("adopt")) == (str(site), str(mine))
    assert settings.origin("grace") == "HELIXSTORE_GRACE"
    assert settings.provider("jan").on is False
    assert settings.provider("jan").root == home / "jan"
    assert settings.provider("ollama").on is None


def test_every_key_from_the_environment(home: Path) -> None:
    environ = {
        "HOME": str(home), "HELIXSTORE_STORE": "here", "HELIXSTORE_SHARE": "Duplicates", "HELIXSTORE_ADOPT": "ask",
        "HELIXSTORE_EXCLUDE": "~/private/**, *.tmp", "HELIXSTORE_SCAN": "~/models:/srv/models",
        "HELIXSTORE_GRACE": "1d", "HELIXSTORE_UNDO_WINDOW": "3600", "HELIXSTORE_LOCAL_NAMESPACE": "me",
        "HELIXSTORE_INDEX": "/x",
        "HELIXSTORE_PROVIDERS_OLLAMA_ROOT": "~/ollama", "HELIXSTORE_PROVIDERS_OLLAMA_ON": "yes",
        "HELIXSTORE_PROVIDERS_MY_OWN_LINKS": "reflink,hard", "HELIXSTORE_EPHEMERAL": "1",
    }
    settings = load(Places.of(environ))
    assert settings.issues == ()
    assert settings.store == Path.cwd() / "here"
    assert (settings.share, settings.adopt) == ("duplicates", "ask")
    assert settings.exclude == (f"{home}/private/**", "*.tmp")
    assert settings.scan == (home / "models", Path("/srv/models"))
    assert (settings.grace, settings.undo_window, settings.local_namespace) == (86400, 3600, "me")
    assert settings.provider("ollama").root == home / "ollama"
    assert settings.provider("ollama").on is True
    assert settings.provider("my_own").links == (LinkKind.REFLINK, LinkKind.HARD)
    assert {line.key: line.origin for line in listing(settings)}["providers.ollama.root"] \
        == "HELIXSTORE_PROVIDERS_OLLAMA_ROOT"


@pytest.mark.parametrize(("text", "key"), [
    ('share = "some"', "share"), ("share = 3", "share"), ('grace = "soon"', "grace"), ("grace = -1", "grace"),
    ("grace = true", "grace"), ("grace = nan", "grace"), ('scan = [1]', "scan"), ('store = ""', "store"),
    ('local_namespace = "a/b"', "local_namespace"), ('local_namespace = ".."', "local_namespace"),
    ('[providers.ollama]\non = "perhaps"', "providers.ollama.on"),
    ('[providers.ollama]\nlinks = ["junction"]', "providers.ollama.links"),
    ('[providers.ollama]\nlinks = []', "providers.ollama.links"),
])
def test_a_bad_value_names_file_and_key(home: Path, text: str, key: str) -> None:
    file = person(home, text)
    with pytest.raises(ConfigError) as caught:
        load(Places.of())
    assert str(file) in str(caught.value)
    assert key in str(caught.value)


def test_a_bad_variable_is_named(home: Path) -> None:
    with pytest.raises(ConfigError, match="HELIXSTORE_ADOPT"):
        load(Places.of({"HOME": str(home), "HELIXSTORE_ADOPT": "maybe"}))


@pytest.mark.parametrize("data", [b"share = ", b"\xff\xfe", b"[a]\n[a]\n"])
def test_a_file_that_is_no_toml_is_refused_and_kept(home: Path, data: bytes) -> None:
    file = person(home, "")
    file.write_bytes(data)
    with pytest.raises(ConfigError, match="not TOML"):
        load(Places.of())
    with pytest.raises(ConfigError, match="not TOML"):
        set_value(Places.of(), "share", "all")
    assert file.read_bytes() == data


def test_unknown_keys_are_reported_and_kept(home: Path) -> None:
    file = person(home, 'shrae = "all"\nproviders.ollama.rooot = "x"\nproviders.jan = 3\n[future]\nx = 1\n')
    issues = load(Places.of()).issues
    assert [(issue.kind, issue.path) for issue in issues] == [("config", str(file))] * 4
    assert any("share" in issue.remedy for issue in issues)
    assert any("providers.ollama.root" in issue.remedy for issue in issues)
    set_value(Places.of(), "adopt", "ask")
    assert "future" in file.read_text()
    assert "shrae" in file.read_text()


def test_setting_keeps_comments_order_mode_and_the_link(home: Path) -> None:
    real = home / "dotfiles.toml"
    text = '# mine\nshare = "all"   # for now\n\n[providers.ollama]\n# the big disk\nroot = "/big"\n'
    real.write_text(text)
    real.chmod(0o640)
    link = home / ".config/helixstore/config.toml"
    link.parent.mkdir(parents=True)
    link.symlink_to(real)
    set_value(Places.of(), "share", "chosen")
    assert real.read_text() == text.replace('"all"', '"chosen"')
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    set_value(Places.of(), "providers.ollama.root", None)
    assert "/big" not in real.read_text()
    assert "# the big disk" in real.read_text()


def test_what_is_set_is_read_back(home: Path) -> None:
    places = Places.of()
    for key, value in [("store", "~/s"), ("scan", ["~/a", "/b"]), ("grace", "12h"), ("providers.jan.on", "off"),
                       ("providers.jan.links", "hard,symlink"), ("providers.vllm.root", Path("/v")),
                       ("exclude", "a,b")]:
        set_value(places, key, value)
    settings = load(places)
    assert settings.store == home / "s"
    assert settings.scan == (home / "a", Path("/b"))
    assert settings.grace == 43200
    assert settings.provider("jan").on is False
    assert settings.provider("jan").links == (LinkKind.HARD, LinkKind.SYMBOLIC)
    assert settings.provider("vllm").root == Path("/v")
    assert settings.exclude == ("a", "b")
    set_value(places, "store", None)
    set_value(places, "providers.textgen.on", None)
    assert load(places).store is None


@pytest.mark.parametrize("text", ["providers = {jan = {on = true}}\n", "providers.jan = {on = true}  # mine\n",
                                  "providers.jan.on = true\n"])
def test_a_program_is_added_however_the_others_are_written(home: Path, text: str) -> None:
    file = person(home, text)
    set_value(Places.of(), "providers.vllm.on", True)
    settings = load(Places.of())
    assert (settings.provider("jan").on, settings.provider("vllm").on) == (True, True)
    assert ("# mine" in file.read_text()) == ("# mine" in text)


@pytest.mark.parametrize("text", ['["~/a", "/b"]', "['~/a', '/b']", "~/a:/b", "~/a,/b"])
def test_several_folders_are_several_however_they_are_written(home: Path, text: str) -> None:
    places = Places.of()
    assert set_value(places, "scan", text) == [str(home / "a"), "/b"]
    assert load(places).scan == (home / "a", Path("/b"))


def test_a_folder_with_a_comma_is_one_and_no_list_is_refused(home: Path) -> None:
    places = Places.of()
    (home / "a,b").mkdir()
    set_value(places, "scan", "~/a,b")
    assert load(places).scan == (home / "a,b",)
    with pytest.raises(Usage, match="scan must be a list such as"):
        set_value(places, "scan", '["~/a", "/b"')
    assert load(places).scan == (home / "a,b",)


def test_unknown_keys_cannot_be_set(home: Path) -> None:
    for key in ("shrae", "providers.ollama", "providers..on", "providers.a.b.on", ""):
        with pytest.raises(Usage):
            set_value(Places.of(), key, "x")
    assert not (home / ".config").exists()


def _set(name: str) -> None:
    set_value(Places.of(), f"providers.{name}.on", "on")


def test_two_processes_that_set_lose_nothing(home: Path) -> None:
    names = [f"p{number}" for number in range(12)]
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(_set, names, chunksize=1)
    assert sorted(load(Places.of()).providers) == sorted(names)
    assert [entry.name for entry in (home / ".config/helixstore").iterdir()] == ["config.toml"]


def test_a_folder_that_cannot_be_made_is_named(home: Path) -> None:
    (home / ".config").write_text("in the way")
    with pytest.raises(ConfigError, match="share cannot be written"):
        set_value(Places.of(), "share", "all")


def test_invented_namespaces_are_valid_and_differ(home: Path) -> None:
    names = {new_namespace() for _ in range(50)}
    assert len(names) == 50
    set_value(Places.of(), "local_namespace", names.pop())


@given(st.text(max_size=40))
def test_any_text_gives_seconds_or_a_config_error(text: str) -> None:
    places = Places.of({"HOME": os.sep, "HELIXSTORE_GRACE": text}, "linux")
    try:
        assert load(places).grace >= 0
    except ConfigError as error:
        if "HELIXSTORE_GRACE" not in str(error):
            raise
