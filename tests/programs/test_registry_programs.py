"""Other programs and a real registry: oras reads what we push, we what oras and Ollama push, RamaLama sees ours."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helixstore.oci.access import Access
from helixstore.oci.artifacts import modelpack
from helixstore.oci.contents import read_contents
from helixstore.oci.reference import Reference
from helixstore.oci.registry import Registry
from helixstore.values import File, Format, Header, Key, Purpose, Role, Variant
from tests.support.models import tiny_gguf
from tests.support.programs import ROOT, python
from tests.support.real_gguf import ollama
from tests.support.registry import authority, docker_registry
from tests.support.sandbox import Sandbox, sha256

pytestmark = pytest.mark.programs

_ORAS_PULL = """
import json, sys
from oras.client import OrasClient
print(json.dumps(OrasClient(insecure=True).pull(target=sys.argv[1], outdir=sys.argv[2])))
"""
_ORAS_PUSH = """
import json, os, sys
from oras.client import OrasClient
os.chdir(os.path.dirname(sys.argv[2]))
answer = OrasClient(insecure=True).push(target=sys.argv[1], files=[os.path.basename(sys.argv[2])])
print(json.dumps(answer.status_code))
"""
#: what RamaLama 0.25 makes of a reference, up to the download: its own functions, over its own HTTP
_RAMALAMA = """
import json, sys
from ramalama.oci_tools import split_oci_reference
from ramalama.transports.oci import oci_artifact, resolver, spec
reference = split_oci_reference(sys.argv[1])
client = oci_artifact.OCIRegistryClient(reference.registry, reference.repository, reference.specifier)
manifest, digest = client.get_manifest()
files = [[file.name, file.hash, file.type.name] for file in oci_artifact._build_snapshot_files(client, manifest)]
strict = spec.Manifest.from_dict(manifest)
paths = [layer.filepath() for layer in strict.layers]
sizes = [layer.file_metadata().size for layer in strict.layers]
print(json.dumps([resolver.manifest_kind(reference), digest, files, paths, sizes]))
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture
def box(tmp_path: Path) -> Sandbox:
    """A home without a store."""
    return Sandbox.make(tmp_path / "home")


@pytest.fixture
def pebble(tmp_path: Path) -> Path:
    return tiny_gguf(tmp_path / "pebble.gguf", name="Pebble")


def model(path: Path) -> tuple[Variant, dict[str, bytes]]:
    """A GGUF with a file to read beside it."""
    data = {path.name: path.read_bytes(), "docs/README.md": b"read me"}
    files = tuple(File(name, len(one), "0" * 64, Role.WEIGHTS if name == path.name else Role.OTHER,
                       hashlib.sha256(one).hexdigest()) for name, one in sorted(data.items()))
    header = Header(architecture="llama", parameters=1234)
    return Variant(Key("pebble", "gguf"), "1" * 64, Format.GGUF, "F32", Purpose.MODEL, header, files), data


def pushed(host: str, path: Path, access: Access) -> tuple[Variant, dict[str, bytes]]:
    made, data = model(path)
    artifact = modelpack(made)
    there = Registry(Reference(host, "team/pebble", "v1"), access)
    for file in artifact.files:
        blob = path.with_name("blob")
        blob.write_bytes(data[file.path])
        there.push_blob(str(blob), str(file.sha256), file.bytes)
    there.push_small(artifact.config, artifact.config_sha256)
    there.push_manifest(artifact.manifest, artifact.media_type)
    return made, data


def test_oras_pulls_what_was_pushed(registry: str, box: Sandbox, pebble: Path, tmp_path: Path) -> None:
    _, data = pushed(registry, pebble, Access.of(box.environ))
    python("oras", _ORAS_PULL, f"{registry}/team/pebble:v1", tmp_path / "out", environ=box.environ)
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
            for path in (tmp_path / "out").rglob("*") if path.is_file()} == data


def test_others_take_what_the_command_pushed(registry: str, box: Sandbox, pebble: Path, tmp_path: Path) -> None:
    """From a store, by the command line, in both forms."""
    box.place(pebble, "models/pebble.gguf")
    box.init("models")
    for form, tag in (("all", "v1"), ("docker", "v2")):
        pushed = box.document("push", "pebble", f"oci://{registry}/team/store:{tag}", "--for", form)["pushed"]
        assert [file["how"] for file in pushed[0]["files"]] == ["sent" if form == "all" else "there"]
        python("oras", _ORAS_PULL, f"{registry}/team/store:{tag}", tmp_path / tag, environ=box.environ)
        assert [sha256(path) for path in (tmp_path / tag).iterdir()] == [sha256(pebble)]


def test_what_oras_pushed_is_pulled(registry: str, box: Sandbox, pebble: Path) -> None:
    assert python("oras", _ORAS_PUSH, f"{registry}/team/oras:v1", pebble, environ=box.environ) == 201
    there = Registry(Reference(registry, "team/oras", "v1"), Access.of(box.environ))
    found = read_contents(there.model(), "oras")
    assert [(file.path, file.sha256) for file in found.files] == [("pebble.gguf", sha256(pebble))]
    with there.blob(found.files[0].sha256, found.files[0].bytes, 100) as stream:
        assert b"".join(stream) == pebble.read_bytes()[100:]


def test_what_ollama_pushed_is_pulled(registry: str, box: Sandbox, pebble: Path, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text('FROM ./pebble.gguf\nTEMPLATE """{{ .Prompt }}"""\nPARAMETER stop "<end>"\n'
                                        'SYSTEM "be brief"\nLICENSE "free"\n')
    with ollama(box, tmp_path / "log") as address:
        name = f"{registry}/helix/pebble:v1"
        program = ROOT / ".venvs/ollama/lib"
        command = next(program.glob("python3*/site-packages/bigdl/cpp/libs/ollama"))
        environ = box.environ | {"OLLAMA_HOST": address.removeprefix("http://")}
        for words in (("create", name, "-f", "Modelfile"), ("push", "--insecure", name)):
            subprocess.run([command, *words], cwd=tmp_path, env=environ, check=True, capture_output=True, timeout=120)
    there = Registry(Reference(registry, "helix/pebble", "v1"), Access.of(box.environ))
    manifest = there.model()
    found = read_contents(manifest, "pebble-v1")
    assert (found.kind, [(file.path, file.sha256) for file in found.files]) == (
        "ollama-layers", [("pebble-v1.gguf", sha256(pebble))])
    texts = {text.kind: there.small(text.blob).decode() for text in found.texts}
    assert texts["template"] == "{{ .Prompt }}"
    assert texts["system"] == "be brief"
    assert json.loads(texts["params"]) == {"stop": ["<end>"]}
    assert texts["license"] == "free"
    assert found.config is not None
    assert json.loads(there.small(found.config))["model_format"] == "gguf"


def test_ramalama_takes_what_was_pushed_for_an_artifact_of_its_own_kind(
        box: Sandbox, pebble: Path, tmp_path: Path) -> None:
    """All that RamaLama does itself before it hands over to Podman 5.7; it speaks only TLS."""
    ca, crt, key = authority(tmp_path / "ca")
    folder = Path(box.environ["HOME"], ".docker/certs.d")
    with docker_registry(tmp_path / "tls", tls=(crt, key)) as host:
        (folder / host).mkdir(parents=True)
        (folder / host / "ca.crt").write_bytes(ca.read_bytes())
        made, data = pushed(host, pebble, Access.of(box.environ))
        environ = box.environ | {"SSL_CERT_FILE": str(ca)}
        kind, digest, files, paths, sizes = python("ramalama", _RAMALAMA, f"{host}/team/pebble:v1", environ=environ)
    assert kind == "artifact"
    assert digest == f"sha256:{modelpack(made).sha256}"
    by_path = {file.path: file for file in made.files}
    assert files == [["pebble.gguf", f"sha256:{by_path['pebble.gguf'].sha256}", "GGUFModel"],
                     ["docs/README.md", f"sha256:{by_path['docs/README.md'].sha256}", "Other"]]
    assert paths == ["pebble.gguf", "docs/README.md"]
    assert sizes == [len(data[path]) for path in paths]


def test_ramalama_pulls_it_where_its_own_download_works(box: Sandbox, pebble: Path, tmp_path: Path) -> None:
    """`ramalama pull oci://...` with an engine that has no artifacts, for which RamaLama downloads by itself.

    RamaLama 0.25.0 fails there whatever is pulled: `OCIRegistryClient.download_blob` deletes the file it has loaded and
    ends with a bare `raise`. The day it does not, this test fails, and the model it pulled must be ours.
    """
    ca, crt, key = authority(tmp_path / "ca")
    engine = tmp_path / "bin" / "docker"
    engine.parent.mkdir()
    engine.write_text("#!/bin/sh\nexit 1\n")
    engine.chmod(0o755)
    environ = box.environ | {"SSL_CERT_FILE": str(ca), "PATH": f"{engine.parent}:{os.environ['PATH']}",
                                 "RAMALAMA_STORE": str(tmp_path / "rama")}
    folder = Path(box.environ["HOME"], ".docker/certs.d")
    with docker_registry(tmp_path / "tls", tls=(crt, key)) as host:
        (folder / host).mkdir(parents=True)
        (folder / host / "ca.crt").write_bytes(ca.read_bytes())
        pushed(host, pebble, Access.of(box.environ))
        command = [ROOT / ".venvs/ramalama/bin/ramalama", "--engine", "docker", "pull", f"oci://{host}/team/pebble:v1"]
        done = subprocess.run(command, env=environ, cwd=box.home, capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, check=False)
    assert "No active exception to reraise" in done.stderr, done.stdout + done.stderr
