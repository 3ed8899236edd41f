"""The hub's own clients do not download what the store holds, whatever it is called and wherever it came from.

The hub on loopback says of its large files that they are in Xet, as the real one does, and has no storage behind it: a
client that wanted their bytes would ask for a token there and fail.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.hub import Repository, hub
from tests.support.programs import python
from tests.support.real_hub import hf
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.programs

COMMIT = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"

_FILE = """
import json, sys
from huggingface_hub import hf_hub_download
print(json.dumps(hf_hub_download(sys.argv[1], sys.argv[2])))
"""

_REPOSITORY = """
import json, sys
from huggingface_hub import snapshot_download
print(json.dumps(snapshot_download(sys.argv[1])))
"""

_TRANSFORMERS = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])
ids = tokenizer("hello", return_tensors="pt")
out = model.generate(**ids, max_new_tokens=4, do_sample=False)
print(json.dumps(out.shape[1] - ids["input_ids"].shape[1]))
"""

_WARNINGS = """
import json
from huggingface_hub import scan_cache_dir
scan = scan_cache_dir()
print(json.dumps([str(warning) for warning in scan.warnings]))
"""

_DELETE = """
import json
from huggingface_hub import scan_cache_dir
scan = scan_cache_dir()
scan.delete_revisions(*[r.commit_hash for repo in scan.repos for r in repo.revisions][:1]).execute()
print(json.dumps(len(scan.repos)))
"""


def online(sandbox: Sandbox, endpoint: str) -> dict[str, str]:
    return sandbox.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}


def never_seen(tiny: Path, tmp_path: Path) -> Repository:
    """A GGUF repository under names that nobody here has used, and a README of its own."""
    folder = tmp_path / "upstream"
    (folder / "q16").mkdir(parents=True)
    shutil.copyfile(tiny / "pebble.gguf", folder / "q16" / "rock-16bit.gguf")
    (folder / "README.md").write_text("# rocks\n")
    return Repository.of("somebody/rocks-GGUF", COMMIT, folder, xet=True)


def entries(sandbox: Sandbox) -> list[Path]:
    """The files in the shared store that hold content."""
    return [p for p in (sandbox.home / ".cache/huggingface/hub/blobs").glob("??/*") if len(p.name) == 64]


def transfers(repository: Repository) -> list[str]:
    """Requests for the bytes of large files, or for leave to fetch them by Xet."""
    return [ask for ask in repository.asked
            if "xet-read-token" in ask or (ask.startswith("GET") and ask.endswith((".gguf", ".safetensors")))]


def test_without_us_the_client_asks_for_the_bytes(sandbox: Sandbox, tiny: Path, tmp_path: Path) -> None:
    """What the other tests look for is there to be seen."""
    sandbox.init()
    served = never_seen(tiny, tmp_path)
    with hub(served) as endpoint, pytest.raises(AssertionError, match="exit 1"):
        python("hub", _FILE, served.name, "q16/rock-16bit.gguf", environ=online(sandbox, endpoint))
    assert transfers(served)


def test_a_gguf_of_lm_studios_is_not_downloaded(laptop: Sandbox, tiny: Path, tmp_path: Path) -> None:
    served = never_seen(tiny, tmp_path)
    with hub(served) as endpoint:
        path = Path(python("hub", _FILE, served.name, "q16/rock-16bit.gguf", environ=online(laptop, endpoint)))
    assert transfers(served) == []
    assert served.sent == {}
    assert path.samefile(laptop.home / ".lmstudio/models/acme/pebble-GGUF/pebble.gguf")
    assert path.name == "rock-16bit.gguf"
    assert COMMIT in path.parts
    laptop.sync()
    repositories = {source.get("repository") for model in laptop.document("list")["models"]
                    for variant in model["variants"] for source in variant["sources"]}
    assert served.name in repositories, "and from now on it is known where it may be had"
    assert laptop.sync()["actions"] == []


def test_a_whole_repository_costs_its_small_files(laptop: Sandbox, tiny: Path) -> None:
    served = Repository.of("somebody/tiny-other-name", COMMIT, tiny / "tiny-sharded", xet=True)
    with hub(served) as endpoint:
        snapshot = Path(python("hub", _REPOSITORY, served.name, environ=online(laptop, endpoint)))
    assert transfers(served) == []
    small = {path: place.stat().st_size for path, place in served.files.items() if place.suffix != ".safetensors"}
    assert served.sent == small
    assert {path.name for path in snapshot.iterdir()} == set(served.files)
    for path, place in served.files.items():
        assert (snapshot / path).read_bytes() == place.read_bytes()


def test_hf_download_says_where_it_is_and_transfers_nothing(laptop: Sandbox, tiny: Path, tmp_path: Path) -> None:
    served = never_seen(tiny, tmp_path)
    with hub(served) as endpoint:
        said = hf(laptop, "download", served.name, "--include", "*.gguf", "--quiet", endpoint=endpoint)
        hf(laptop, "cache", "verify", served.name, endpoint=endpoint)
    assert Path(said.strip().splitlines()[-1]).exists()
    assert transfers(served) == []


def test_transformers_loads_a_name_that_it_never_saw(laptop: Sandbox, tiny: Path) -> None:
    served = Repository.of("somebody/tiny-for-transformers", COMMIT, tiny / "tiny-sharded", xet=True)
    with hub(served) as endpoint:
        assert python("hub", _TRANSFORMERS, served.name, environ=online(laptop, endpoint)) == 4
    assert transfers(served) == []
    assert not [path for path in served.sent if path.endswith(".safetensors")]


def test_after_the_clients_own_delete_it_still_costs_nothing(laptop: Sandbox, tiny: Path, tmp_path: Path) -> None:
    served = never_seen(tiny, tmp_path)
    before = entries(laptop)
    with hub(served) as endpoint:
        python("hub", _FILE, served.name, "q16/rock-16bit.gguf", environ=online(laptop, endpoint))
        laptop.sync()
        hf(laptop, "cache", "rm", f"model/{served.name}", "--yes", endpoint=endpoint)
        hf(laptop, "cache", "prune", "--yes", endpoint=endpoint)
        laptop.whole()
        assert len(entries(laptop)) == len(before) - 1, "the client has collected it"
        laptop.sync()
        assert entries(laptop) == before
        assert laptop.sync()["actions"] == []
        python("hub", _FILE, served.name, "q16/rock-16bit.gguf", environ=online(laptop, endpoint))
    assert transfers(served) == []


def test_what_the_client_uses_is_not_taken_from_it(laptop: Sandbox, tiny: Path, tmp_path: Path) -> None:
    served = never_seen(tiny, tmp_path)
    with hub(served) as endpoint:
        path = Path(python("hub", _FILE, served.name, "q16/rock-16bit.gguf", environ=online(laptop, endpoint)))
    pebble = json.loads(laptop.helix("list", "--json"))["models"]
    name = next(m["name"] for m in pebble if "pebble" in m["name"].casefold())
    laptop.helix("remove", name, "--yes")
    assert path.read_bytes() == (tiny / "pebble.gguf").read_bytes()
    laptop.helix("leave", "--yes")
    assert path.read_bytes() == (tiny / "pebble.gguf").read_bytes()
    assert python("hub", _WARNINGS, environ=laptop.environ) == []
    left = [entry.resolve() for entry in entries(laptop)]
    assert left == [path.resolve()], "and what it does not use is gone"


@pytest.mark.parametrize("environment", ["hub-old", "hub-1"])
def test_older_clients_work_as_ever(laptop: Sandbox, tiny: Path, tmp_path: Path, environment: str) -> None:
    served = never_seen(tiny, tmp_path)
    with hub(served) as endpoint:
        environ = online(laptop, endpoint) | {"HF_HUB_DISABLE_XET": "1"}
        path = Path(python(environment, _FILE, served.name, "q16/rock-16bit.gguf", environ=environ))
        assert served.sent == {"q16/rock-16bit.gguf": (tiny / "pebble.gguf").stat().st_size}, "they download"
        assert path.read_bytes() == (tiny / "pebble.gguf").read_bytes()
        assert all("/blobs" in warning for warning in python(environment, _WARNINGS, environ=laptop.environ))
        laptop.sync()
        assert path.samefile(laptop.home / ".lmstudio/models/acme/pebble-GGUF/pebble.gguf"), "and it lies there once"


@pytest.mark.parametrize("environment", ["hub-old", "hub-1"])
def test_an_older_client_that_deletes_through_links_takes_our_entry_not_our_blob(
        laptop: Sandbox, tiny: Path, tmp_path: Path, environment: str) -> None:
    served = never_seen(tiny, tmp_path)
    with hub(served) as endpoint:
        python("hub", _FILE, served.name, "q16/rock-16bit.gguf", environ=online(laptop, endpoint))
    before = entries(laptop)
    assert python(environment, _DELETE, environ=laptop.environ) == 2
    laptop.whole()
    laptop.sync()
    assert entries(laptop) == before


def test_a_cache_of_an_older_client_is_left_as_it_is_until_a_newer_one_comes(
        sandbox: Sandbox, tiny: Path, tmp_path: Path) -> None:
    served = Repository.of("acme/tiny", COMMIT, tiny / "tiny-llama", xet=True)
    with hub(served) as endpoint:
        environ = online(sandbox, endpoint) | {"HF_HUB_DISABLE_XET": "1"}
        python("hub-old", _REPOSITORY, served.name, environ=environ)
    sandbox.place(tiny / "pebble.gguf", ".lmstudio/models/acme/pebble-GGUF/pebble.gguf")
    sandbox.init()
    assert not (sandbox.home / ".cache/huggingface/hub/blobs").exists()
    seen = sandbox.seen("huggingface", "pebble")
    assert seen.state == "pending"
    assert "1.32" in seen.reason
    assert python("hub-old", _WARNINGS, environ=sandbox.environ) == []
    mark = sandbox.home / ".cache/huggingface/hub/blobs/.huggingface-shared-blobs"
    mark.parent.mkdir()
    mark.write_text("1\n")                      # as the first shared download of a newer client does
    sandbox.sync()
    assert sandbox.linked("huggingface", "pebble").link == "hard"
    assert len(entries(sandbox)) == 2
