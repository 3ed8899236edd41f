"""The real path of a download, over HTTP, with all that can go wrong on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.errors import Failed, HelixError, NotFound, Passing
from support.hub import Repository, Trouble, hub
from support.person import Person
from support.typist import typed

REPOSITORY, BIG = "hf:acme/small-GGUF", "small-F16.gguf"


def shown(person: Person, model: str) -> dict[str, bytes]:
    """What programs read of a model: path -> bytes of the weights."""
    with person.open() as store:
        variants = store.show(model).variants
    return {path: Path(path).read_bytes() for variant in variants for one in variant.providers.values()
            for path in one.paths if path.endswith(".gguf") and one.state == "linked"}


def whole(served: Repository) -> int:
    """Bytes of the weights, which are all that is fetched of a repository of GGUF."""
    return sum(file.stat().st_size for name, file in served.files.items() if name.endswith(".gguf"))


def all_there(person: Person, served: Repository, model: str = "small-GGUF") -> None:
    """Every program shows the very bytes, the store is sound, and nothing is left over."""
    wanted = {file.read_bytes() for name, file in served.files.items() if name.endswith(".gguf")}
    assert {*shown(person, model).values()} == wanted
    with person.open() as store:
        assert store.verify().bad == []
        assert store.sync().nothing
        assert list(store.folder.glob("hosts/*/*/downloads/*")) == []
        assert [path for path in store.folder.rglob("staging/*") if not path.is_dir()] == []
        assert [keep.name for keep in store.folder.glob("hosts/*/*/keeps/download-*")] == []


def test_a_repository_is_in_every_program_with_its_source(online: Person, served: Repository) -> None:
    with online.open() as store:
        report = store.download(REPOSITORY, quantization="all")
        assert report.fetched_bytes == whole(served)
        variants = store.show("small-GGUF").variants
    assert {variant.id for variant in variants} == {"gguf:F16", "gguf:Q8_0"}
    assert {(one["repository"], one["revision"]) for variant in variants for one in variant.sources} == {
        ("acme/small-GGUF", served.commit)}
    all_there(online, served)


def test_scripts_are_told_which_variants_came_and_where_they_lie(online: Person, served: Repository) -> None:
    """Also where nothing came, under the name that the store has for it, which another place gave it."""
    online.put(".lmstudio/models/somebody/Else/renamed.gguf", served.files[BIG].read_bytes())
    with online.open() as store:
        store.sync()
    for _ in range(2):
        said = json.loads(typed("models", "download", REPOSITORY, "--quantize", "all", "--json",
                                environ=online.environ, check=True).stdout)
        assert sorted((one["model"], one["variant"]) for one in said["variants"]) == [
            ("Else", "gguf:F16"), ("Else", "gguf:Q8_0")]
        for one in said["variants"]:
            name = BIG if one["variant"] == "gguf:F16" else "small-Q8_0.gguf"
            assert Path(one["path"]).read_bytes() == served.files[name].read_bytes()
    with online.open() as store:
        assert Path(one["path"]) == store.path(f"{one['model']}:{one['variant']}")
        assert store.download(REPOSITORY, quantization="all", dry_run=True).variants == ()
    online.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    with online.open() as store:
        assert [one.variant for one in store.download(f"{REPOSITORY}:Q8_0").variants] == ["gguf:Q8_0"]


def test_a_dry_run_says_what_would_come_and_writes_nothing(online: Person, served: Repository) -> None:
    before = {path: path.stat().st_mtime_ns for path in (online.home / ".local/share").rglob("*") if path.is_file()}
    with online.open() as store:
        report = store.download(f"{REPOSITORY}:Q8_0", dry_run=True)
    assert [(one.path, one.here_bytes) for one in report.files] == [("small-Q8_0.gguf", 0)]
    assert served.sent == {}
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_what_the_store_has_under_any_name_is_not_downloaded(online: Person, served: Repository) -> None:
    """The file lies in LM Studio's folder under another name; no alias of it is known beforehand."""
    online.put(".lmstudio/models/somebody/Else/renamed.gguf", served.files[BIG].read_bytes())
    with online.open() as store:
        store.sync()
        report = store.download(f"{REPOSITORY}:{BIG}")
    assert report.fetched_bytes == 0
    assert served.sent == {}
    with online.open() as store:
        sources = [source["kind"] for variant in store.show("renamed").variants for source in variant.sources]
    assert sorted(sources) == ["hub", "program"]


def test_what_need_not_be_downloaded_is_counted_once(online: Person, served: Repository) -> None:
    """A copy from elsewhere spares the network; what an earlier download brought, or a part of it, does not."""
    online.put("models/copy.gguf", served.files[BIG].read_bytes())
    size = served.files[BIG].stat().st_size
    with online.open() as store:
        store.add(online.home / "models/copy.gguf")
        assert store.download(f"{REPOSITORY}:{BIG}", dry_run=True).not_fetched_bytes == size
        assert store.status().store.not_fetched_bytes == 0, "nothing has happened yet"
        served.trouble = lambda path, number: Trouble(404, {"X-Error-Code": "EntryNotFound"}) if "Q8" in path else None
        with pytest.raises(Failed, match="the same command goes on"):
            store.download(REPOSITORY, quantization="all")
        assert store.status().store.not_fetched_bytes == 0
        served.trouble = lambda path, number: None
        assert store.download(f"{REPOSITORY}:{BIG}").not_fetched_bytes >= size
        figure = store.status().store.not_fetched_bytes
        assert size <= figure <= size + 100
        report = store.download(REPOSITORY, quantization="all")
        assert report.fetched_bytes == served.files["small-Q8_0.gguf"].stat().st_size
        assert report.not_fetched_bytes <= 100, "what came from this very place before"
        assert store.status().store.not_fetched_bytes <= figure + 100
    said = typed("status", environ=online.environ, check=True).stdout
    assert "not downloaded, since the store had it" in said


def test_a_second_download_asks_for_the_listing_only(online: Person, served: Repository) -> None:
    with online.open() as store:
        store.download(REPOSITORY, quantization="all")
        served.sent.clear()
        served.asked.clear()
        report = store.download(REPOSITORY, quantization="all")
    assert report.fetched_bytes == 0
    assert report.sync is not None
    assert report.sync.nothing
    assert served.sent == {}
    assert len(served.asked) == 1


def test_cut_connections_and_a_busy_server_cost_little(online: Person, served: Repository) -> None:
    """Each third answer breaks off, each fourth says that there were too many; bytes come twice only where cut."""
    def trouble(path: str, number: int) -> Trouble | None:
        if number % 3 == 0:
            return Trouble(cut=3_000_000 + number)
        return Trouble(429, {"Retry-After": "0.01"}) if number % 4 == 1 else None

    served.trouble = trouble
    with online.open() as store:
        store.download(REPOSITORY, quantization="all")
    size = whole(served)
    assert size <= sum(served.sent.values()) < 1.1 * size + (1 << 20)
    all_there(online, served)


def test_wrong_bytes_are_fetched_once_more(online: Person, served: Repository) -> None:
    served.trouble = lambda path, number: Trouble(wrong=True) if number == 0 else None
    with online.open() as store:
        store.download(REPOSITORY, quantization="all")
    size = whole(served)
    assert size < sum(served.sent.values()) <= 2 * size
    all_there(online, served)


def test_a_server_that_only_has_wrong_bytes_leaves_nothing(online: Person, served: Repository) -> None:
    served.trouble = lambda path, number: Trouble(wrong=True) if path == BIG else None
    with online.open() as store:
        with pytest.raises(HelixError, match="not what its listing names"):
            store.download(REPOSITORY, quantization="all")
        assert store.shared_models() == []
        served.trouble = lambda path, number: None
        sent = dict(served.sent)
        store.download(REPOSITORY, quantization="all")
    assert served.sent["small-Q8_0.gguf"] == sent["small-Q8_0.gguf"], "what was whole is not fetched again"
    all_there(online, served)


def test_a_server_without_ranges_serves_too(online: Person, served: Repository) -> None:
    served.ranges = False
    with online.open() as store:
        store.download(REPOSITORY, quantization="all")
    assert served.sent == {path: file.stat().st_size for path, file in served.files.items() if path.endswith(".gguf")}
    all_there(online, served)


def test_a_file_that_vanishes_after_the_listing_is_said_and_the_rest_stays(online: Person, served: Repository) -> None:
    missing = Trouble(404, {"X-Error-Code": "EntryNotFound"})
    served.trouble = lambda path, number: missing if path == BIG else None
    with online.open() as store:
        with pytest.raises(Failed, match=r"no such file.*the same command goes on"):
            store.download(REPOSITORY, quantization="all")
        served.trouble = lambda path, number: None
        before = dict(served.sent)
        store.download(REPOSITORY, quantization="all")
    assert served.sent["small-Q8_0.gguf"] == before["small-Q8_0.gguf"]
    all_there(online, served)


def test_large_files_come_from_where_the_hub_sends_us_without_the_token(
    online: Person, served: Repository, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the hub does it: the storage is another server, which is shown no login."""
    storage = Repository(served.name, served.commit, dict(served.files))
    with hub(storage) as elsewhere:
        served.trouble = lambda path, number: Trouble(302, {
            "Location": f"{elsewhere}/{served.name}/resolve/{served.commit}/{path}"}) if path.endswith("gguf") else None
        monkeypatch.setenv("HF_TOKEN", "hf_of_mine")
        with online.open() as store:
            store.download(REPOSITORY, quantization="all")
    assert served.sent == {}
    assert set(served.tokens) == {"Bearer hf_of_mine"}
    assert set(storage.tokens) == {""}
    all_there(online, served)


def test_gated_private_and_unknown_repositories_are_told_apart(online: Person, served: Repository) -> None:
    served.gated = True
    with online.open() as store, pytest.raises(Failed, match="gated") as gated:
        store.download(REPOSITORY, quantization="all")
    assert "hf auth login" in gated.value.remedy
    served.private = True
    with online.open() as store, pytest.raises(NotFound, match="or it is private"):
        store.download(REPOSITORY, quantization="all")
    with online.open() as store, pytest.raises(NotFound, match="no repository"):
        store.download("hf:acme/nothing")


def test_an_unknown_quantisation_names_those_that_there_are(online: Person) -> None:
    with online.open() as store, pytest.raises(NotFound, match="Q2_K") as error:
        store.download(f"{REPOSITORY}:Q2_K")
    assert "gguf:Q8_0, gguf:F16" in error.value.remedy


def test_a_hub_that_is_away_is_tried_and_said(person: Person) -> None:
    person.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    with person.open() as store, pytest.raises(Passing, match="acme/small-GGUF"):
        store.download(REPOSITORY, quantization="all")


_CHILD = """
import os, sys
from helixstore import HelixStore
with HelixStore(environ=dict(os.environ)) as store:
    print(store.download(sys.argv[1], quantization="all").fetched_bytes)
"""


def child(person: Person) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _CHILD, REPOSITORY], env=person.environ, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def test_one_that_was_interrupted_goes_on_in_the_same_process(
    online: Person, served: Repository, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C in a program that stays, with more to ask for than there are connections: nothing stays locked."""
    from helixstore.download import fetching

    monkeypatch.setattr(fetching, "_STRETCH", 1)

    def interrupt(what: str, path: str, done: int, total: int) -> None:
        if what == "download" and done > total // 3:
            raise KeyboardInterrupt

    with HelixStore(environ=online.environ, progress=interrupt) as store:
        with pytest.raises(KeyboardInterrupt):
            store.download(REPOSITORY, quantization="all")
        with online.open() as again:
            again.download(REPOSITORY, quantization="all")
    all_there(online, served)


def test_two_processes_fetch_it_once(online: Person, served: Repository) -> None:
    both = [child(online), child(online)]
    fetched = [int(process.communicate(timeout=60)[0]) for process in both]
    size = whole(served)
    assert sorted(fetched) == [0, size]
    assert sum(served.sent.values()) == size
    all_there(online, served)


def test_a_piece_that_changed_on_the_disk_is_fetched_again(online: Person, served: Repository) -> None:
    """A power cut can leave anything in what was not flushed."""
    served.trouble = lambda path, number: Trouble(404) if path == BIG and number > 1 else (
        Trouble(cut=6_000_000) if path == BIG else None)
    with online.open() as store:
        with pytest.raises(HelixError):
            store.download(REPOSITORY, quantization="all")
        [partial] = store.folder.glob("hosts/*/*/downloads/*")
        with partial.open("r+b") as file:
            file.seek(1_500_000)
            file.write(b"rubbish")
        served.trouble = lambda path, number: None
        store.download(REPOSITORY, quantization="all")
    all_there(online, served)


def test_names_that_climb_are_refused_and_nothing_is_written_outside(
    person: Person, served: Repository, tmp_path: Path,
) -> None:
    for name in ("../../escaped-F16.gguf", "/etc/escaped-F16.gguf", "a\\b-F16.gguf", "con-F16.gguf/aux"):
        bad = Repository("acme/bad-GGUF", served.commit, {name: served.files["small-Q8_0.gguf"]})
        with hub(bad) as endpoint:
            person.environ["HF_ENDPOINT"] = endpoint
            with person.open() as store, pytest.raises(HelixError):
                store.download("hf:acme/bad-GGUF")
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_full_disk_is_said_before_the_first_byte(online: Person, served: Repository) -> None:
    from helixstore.download import getting

    report = getting.free_bytes
    getting.free_bytes = lambda session: 1000
    try:
        with online.open() as store, pytest.raises(Failed, match=r"1\.0 kB are free"):
            store.download(REPOSITORY, quantization="all")
    finally:
        getting.free_bytes = report
    assert served.sent == {}


def test_what_nobody_has_gone_on_with_for_a_month_is_let_go_of(online: Person, served: Repository) -> None:
    served.trouble = lambda path, number: Trouble(cut=6_000_000) if path == BIG and not number else (
        Trouble(404) if path == BIG else None)
    with online.open() as store:
        with pytest.raises(HelixError):
            store.download(REPOSITORY, quantization="all")
        [partial] = store.folder.glob("hosts/*/*/downloads/*")
        assert store.gc().cleaned_bytes == 0
        assert partial.exists()
        [keep] = store.folder.glob("hosts/*/*/keeps/download-*")
        for path in (partial, keep):
            os.utime(path, (1, 1))
        assert store.gc().cleaned_bytes > 5_000_000
        assert not partial.exists()
        assert not keep.exists()
