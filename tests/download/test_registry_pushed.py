"""Two machines and a real registry: one pushes, the other pulls; killed, cut, damaged, and pushed again."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from registries import machine, weights_shown
from repository import MIB, weights

from helixstore.download.registries import registry_access
from helixstore.errors import Ambiguous, Corrupt, Failed, HelixError, Usage
from helixstore.session import Machine
from helixstore.testing.models import gguf_bytes
from support.hub import Repository, hub
from support.models import tiny_hf
from support.person import Person, spoil
from support.registry import Relay, StandIn, docker_registry, serve


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture
def other(tmp_path: Path) -> Person:
    return machine(tmp_path / "other")


def gguf(person: Person, name: str, mebibytes: int = 9, seed: int = 1, quantized: bool = False) -> bytes:
    """A model that the person has in LM Studio."""
    data = weights(seed, mebibytes, quantized=quantized)
    person.put(f".lmstudio/models/acme/{name}/{name}-{'Q8_0' if quantized else 'F16'}.gguf", data)
    with person.open() as store:
        store.sync()
    return data


def test_what_one_machine_pushes_the_other_pulls(real: str, person: Person, other: Person) -> None:
    data, name = gguf(person, "pebble"), f"oci://{real}/team/pebble:f16"
    with person.open() as store:
        planned = store.push("pebble", name, dry_run=True)
        assert [(file.path, file.how) for file in planned.pushed[0].files] == [("pebble-F16.gguf", "missing")]
        first = store.push("pebble", name)
        again = store.push("pebble", name)
    assert (first.pushed[0].sent_bytes, again.pushed[0].sent_bytes) == (len(data), 0)
    assert [file.how for file in again.pushed[0].files] == ["there"]
    assert first.pushed[0].digest == again.pushed[0].digest == planned.pushed[0].digest
    with other.open() as store:
        seen = store.download(name, dry_run=True)
        assert [(file.path, file.here_bytes) for file in seen.files] == [("pebble-F16.gguf", 0)]
        report = store.download(name)
        assert (report.name, report.fetched_bytes, report.revision) == ("pebble", len(data), first.pushed[0].digest)
        assert store.download(name).fetched_bytes == 0
        [source] = [one for variant in store.show("pebble").variants for one in variant.sources]
        assert source == {"kind": "registry", "repository": name.removeprefix("oci://"), "name": "pebble-F16.gguf",
                          "revision": report.revision}
        assert store.sync().nothing
        assert [one.state for one in store.update(check=True).updates] == ["current"]
    assert weights_shown(other, "pebble") == {"gguf:F16": {data}}


def test_a_folder_of_safetensors_goes_and_comes_with_all_its_files(real: str, person: Person, other: Person) -> None:
    files = {path.name: path.read_bytes() for path in tiny_hf(person.home / "models/tiny").iterdir()}
    with person.open() as store:
        store.add(person.home / "models/tiny")
        store.push("tiny", f"oci://{real}/team/tiny")
        digest = store.push("tiny", f"oci://{real}/team/tiny").pushed[0].digest
    with other.open() as store:
        store.download(f"oci://{real}/team/tiny@sha256:{digest}")
        [variant] = store.show("tiny").variants
        assert {file.path: file.sha256 for file in variant.files} == {
            name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        assert store.update(check=True).updates == (), "what is named by its digest has no later version"


def test_several_variants_go_under_tags_of_their_own(real: str, person: Person, other: Person) -> None:
    person.put(".lmstudio/models/acme/two/two-F16.gguf", weights(1, 5))
    person.put(".lmstudio/models/acme/two/two-Q8_0.gguf", weights(2, 5, quantized=True))
    with person.open() as store:
        store.sync()
        with pytest.raises(Ambiguous, match=r"one tag is one variant, and two has 2"):
            store.push("two", f"oci://{real}/team/two:v1")
        pushed = store.push("two", f"oci://{real}/team/two").pushed
    assert sorted(one.reference for one in pushed) == [f"oci://{real}/team/two:f16", f"oci://{real}/team/two:q8_0"]
    with other.open() as store:
        for one in pushed:
            store.download(one.reference)
        assert sorted(variant.id for variant in store.show("two").variants) == ["gguf:F16", "gguf:Q8_0"]


def test_one_quantisation_in_two_formats_goes_under_two_tags(real: str, person: Person, tmp_path: Path) -> None:
    folder = tiny_hf(tmp_path / "both")
    (folder / "both-F32.gguf").write_bytes(gguf_bytes(
        {"general.architecture": "llama", "general.file_type": 0, "llama.block_count": 1, "llama.context_length": 2048},
        {"blk.0.attn_q.weight": "F32"}, 1))
    with hub(Repository.of("acme/both", "1" * 40, folder)) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            for form in ("hf", "gguf"):
                store.download("hf:acme/both", format=form)
            assert {variant.id for variant in store.show("both").variants} == {"gguf:F32", "hf:F32"}
            pushed = store.push("both", f"oci://{real}/team/both").pushed
            assert {one.reference.rpartition(":")[2] for one in pushed} == {"gguf-f32", "hf-f32"}
            [alone] = store.push("both:gguf:F32", f"oci://{real}/team/both:gguf-f32", dry_run=True).pushed
    assert {file.how for file in alone.files} == {"there"}


def test_for_docker_the_same_layers_go_once(real: str, person: Person, other: Person) -> None:
    data = gguf(person, "shared", 5, seed=4)
    with person.open() as store:
        store.push("shared", f"oci://{real}/team/shared:all")
        docker = store.push("shared", f"oci://{real}/team/shared:docker", form="docker")
        assert docker.pushed[0].sent_bytes == 0
        with pytest.raises(Usage, match="form"):
            store.push("shared", f"oci://{real}/team/shared:v1", form="somebody")
    with other.open() as store:
        store.download(f"oci://{real}/team/shared:docker")
    assert weights_shown(other, "shared") == {"gguf:F16": {data}}


def test_a_push_without_a_target_wants_a_mirror(person: Person) -> None:
    gguf(person, "pebble", 1)
    with person.open() as store:
        with pytest.raises(Usage, match="no registry to push to"):
            store.push("pebble")
        for target in ("registry.example/team/pebble", "hf:team/pebble", "pebble", "./pebble"):
            with pytest.raises(Usage, match="no place in a registry"):
                store.push("pebble", target)
        with pytest.raises(Usage, match="names a digest"):
            store.push("pebble", f"oci://127.0.0.1:5000/team/pebble@sha256:{'0' * 64}")


def test_damaged_bytes_are_not_pushed(real: str, person: Person) -> None:
    """First such as no command has noticed yet, then those in quarantine; also by a dry run."""
    data = gguf(person, "rotten", 5, seed=5)
    with person.open() as store:
        [blob] = [path for path in store.folder.glob("blobs/*/*") if path.stat().st_size == len(data)]
        spoil(blob, MIB)
        for dry_run in (False, True):
            with pytest.raises(Corrupt, match="damaged"):
                store.push("rotten", f"oci://{real}/team/rotten:v1", dry_run=dry_run)
    with person.open() as store, pytest.raises(HelixError, match="is not there"):
        store.download(f"oci://{real}/team/rotten:v1")


_PUSH = """
import os, sys
from helixstore import HelixStore
from helixstore.oci import uploads
uploads._PART = 1 << 20
with HelixStore(environ=dict(os.environ)) as store:
    print(store.push(sys.argv[1], sys.argv[2]).pushed[0].sent_bytes)
"""
_PULL = """
import os, signal, sys
from helixstore import HelixStore
first = []

def die(what, path, done, total):
    if what == "download":
        first[:] = first or [done]
        if done - first[0] > int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

with HelixStore(environ=dict(os.environ), progress=die) as store:
    store.download(sys.argv[1])
"""


def child(person: Person, script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments], env=person.environ, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def test_a_push_that_is_killed_goes_on_where_it_was_and_only_its_owner_can_read_how(
    person: Person, other: Person,
) -> None:
    """Killed each time when the registry has read so much more of a part."""
    data, kills = gguf(person, "pebble", 16), 20 if os.environ.get("SOAK") else 4
    registry = StandIn()
    with serve(registry):
        for number in range(kills):
            registry.waiting.clear()
            registry.dead = threading.Event()
            registry.hung = (number + 1) * len(data) // (kills + 1)
            process = child(person, _PUSH, "pebble", f"oci://{registry.host}/team/pebble:v1")
            assert registry.waiting.wait(30)
            process.kill()
            process.communicate()
            registry.dead.set()
            [kept] = [path for path in (person.home / ".local/state/helixstore").rglob("pushes/*")
                      if path.suffix != ".lock"]
            assert stat.S_IMODE(kept.stat().st_mode) == 0o600
            assert list(json.loads(kept.read_bytes())) == [hashlib.sha256(data).hexdigest()]
        process = child(person, _PUSH, "pebble", f"oci://{registry.host}/team/pebble:v1")
        said, complained = process.communicate(timeout=60)
        assert process.returncode == 0, complained
        assert int(said) < len(data) // 2
        assert registry.received < len(data) + (kills + 1) * 2 * MIB
        assert json.loads(kept.read_bytes()) == {}
        with other.open() as store:
            store.download(f"oci://{registry.host}/team/pebble:v1")
    assert weights_shown(other, "pebble") == {"gguf:F16": {data}}


def test_a_pull_that_is_killed_goes_on_where_it_was(real: str, person: Person, other: Person) -> None:
    """Every run is killed when so much has come, of which the pieces are lost that were on their way: one for each of
    two connections. Who began anew each time would never be done."""
    data, most = gguf(person, "large", 48, seed=6), (6 if os.environ.get("SOAK") else 15) * MIB
    with person.open() as store:
        store.push("large", f"oci://{real}/team/large:v1")
    runs = 1
    while (process := child(other, _PULL, f"oci://{real}/team/large:v1", str(most))).wait(60):
        assert process.returncode < 0, process.communicate()[1]
        process.communicate()
        runs += 1
        assert runs <= 1 + len(data) // (most - 2 * MIB)
    process.communicate()
    assert runs > len(data) // (most + 8 * MIB)
    assert weights_shown(other, "large") == {"gguf:F16": {data}}


def test_cut_connections_on_the_way_up_and_down(real: str, person: Person, other: Person) -> None:
    data = gguf(person, "cut", 9, seed=7)
    relay = Relay(real)
    try:
        relay.cuts = [("up", 2_000_000), ("", 0), ("up", 3_000_000)]
        with person.open() as store:
            store.push("cut", f"oci://{relay.host}/team/cut:v1")
        relay.cuts = [("down", 1_500_000), ("down", 3_000_000), ("down", 700)]
        before = relay.down
        with other.open() as store:
            store.download(f"oci://{relay.host}/team/cut:v1")
        assert relay.down - before < len(data) + 2 * MIB
    finally:
        relay.close()
    assert weights_shown(other, "cut") == {"gguf:F16": {data}}


def test_a_registry_that_wants_a_login_is_named_with_the_command_and_is_sent_nothing(person: Person) -> None:
    gguf(person, "pebble", 1)
    registry = StandIn()
    registry.realm, registry.user = f"http://{registry.host}/token", "ana:secret"
    with serve(registry), person.open() as store, pytest.raises(Failed, match="only known people") as refused:
        store.push("pebble", f"oci://{registry.host}/team/pebble:v1")
    assert refused.value.remedy == f"docker login {registry.host}"
    assert registry.received == 0


def test_plain_http_is_spoken_with_other_computers_only_when_the_settings_say_so(person: Person) -> None:
    environ = dict(person.environ)
    assert not registry_access(Machine(environ)).may_be_plain("nas:5000")
    with person.open() as store:
        store.set_config("insecure_registries", ["NAS:5000"])
    assert registry_access(Machine(environ)).may_be_plain("nas:5000")
    assert not registry_access(Machine(environ)).may_be_plain("nas:5001")
