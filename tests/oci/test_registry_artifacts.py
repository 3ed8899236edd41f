"""A model as an artifact and back; what is hostile, or not to be had without unpacking, is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from wares import bytes_of, sha256

from helixstore.errors import Failed, HelixError, UnsafeName
from helixstore.oci.artifacts import Artifact, docker, modelpack
from helixstore.oci.contents import Contents, read_contents
from helixstore.oci.manifest import Manifest, read_manifest
from helixstore.oci.registry import Registry
from helixstore.values import File, Format, Header, Key, Purpose, Role, Source, Variant

Opened = Callable[..., Registry]
HEX = "ab" * 32
OCI = "application/vnd.oci.image.manifest.v1+json"


def variant(format: Format, *files: tuple[str, Role, bytes], **header: Any) -> Variant:
    made = tuple(File(path, len(data), "0" * 64, role, sha256(data)) for path, role, data in sorted(files))
    return Variant(Key("Llama 3", format.value), "1" * 64, format, "Q4_K_M", Purpose.MODEL,
                   Header(architecture="llama", parameters=8_030_261_312, **header), made,
                   (Source("hub", "acme/llama-3", "c" * 40),))


GGUF = variant(Format.GGUF, ("llama-00002-of-00002.gguf", Role.WEIGHTS, b"second"),
               ("llama-00001-of-00002.gguf", Role.WEIGHTS, b"first"), ("a-mmproj.gguf", Role.PROJECTOR, b"eyes"),
               ("README.md", Role.OTHER, b"read me"))
FOLDER = variant(Format.AWQ, ("model.safetensors", Role.WEIGHTS, b"weights"), ("config.json", Role.CONFIG, b"{}"),
                 ("sub/tokenizer.json", Role.TOKENIZER, b"[]"), ("modeling.py", Role.CODE, b"pass"),
                 ("chat_template.jinja", Role.TEMPLATE, b"{{ x }}"), ("also.json", Role.CONFIG, b"{}"))


def read(artifact: Artifact) -> tuple[dict[str, Any], dict[str, Any], Contents]:
    manifest = read_manifest(artifact.manifest, artifact.media_type, "x")
    assert isinstance(manifest, Manifest)
    assert manifest.sha256 == artifact.sha256
    assert manifest.config is not None
    assert manifest.config.sha256 == sha256(artifact.config) == artifact.config_sha256
    return json.loads(artifact.manifest), json.loads(artifact.config), read_contents(manifest, "x")


def kinds(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(layer["annotations"]["org.cncf.model.filepath"], layer["mediaType"].partition("/vnd.")[2])
            for layer in document["layers"]]


@pytest.mark.parametrize("made", [GGUF, FOLDER], ids=["gguf", "folder"])
@pytest.mark.parametrize("form", [modelpack, docker])
def test_every_file_comes_back_under_its_name(made: Variant, form: Callable[[Variant], Artifact]) -> None:
    _, _, contents = read(form(made))
    assert [(file.path, file.sha256, file.bytes) for file in contents.files] == [
        (file.path, file.sha256, file.bytes) for file in sorted(made.files, key=lambda file: file.path)]
    assert form(made) == form(replace(made, files=tuple(reversed(made.files)))), "the same model, the same bytes"


def test_modelpack() -> None:
    document, config, contents = read(modelpack(GGUF))
    assert contents.kind == "modelpack"
    assert document["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert document["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert kinds(document) == [
        ("llama-00001-of-00002.gguf", "cncf.model.weight.v1.raw"),     # what is loaded comes first
        ("llama-00002-of-00002.gguf", "cncf.model.weight.v1.raw"), ("a-mmproj.gguf", "cncf.model.weight.v1.raw"),
        ("README.md", "cncf.model.doc.v1.raw")]
    assert config["config"] == {"architecture": "llama", "format": "gguf", "quantization": "Q4_K_M",
                                "paramSize": "8.03b"}
    assert config["modelfs"] == {"type": "layers", "diffIds": [layer["digest"] for layer in document["layers"]]}
    assert config["descriptor"]["name"] == "Llama 3"
    assert config["descriptor"]["revision"] == "c" * 40
    document, config, _ = read(modelpack(FOLDER))
    assert config["config"]["format"] == "safetensors"
    assert dict(kinds(document)) == {
        "model.safetensors": "cncf.model.weight.v1.raw", "config.json": "cncf.model.weight.config.v1.raw",
        "also.json": "cncf.model.weight.config.v1.raw", "chat_template.jinja": "cncf.model.weight.config.v1.raw",
        "sub/tokenizer.json": "cncf.model.weight.config.v1.raw", "modeling.py": "cncf.model.code.v1.raw"}


def test_docker() -> None:
    document, config, contents = read(docker(GGUF))
    assert contents.kind == "docker-models"
    assert "artifactType" not in document
    assert document["config"]["mediaType"] == "application/vnd.docker.ai.model.config.v0.1+json"
    assert [kind for _, kind in kinds(document)] == ["docker.ai.gguf.v3", "docker.ai.gguf.v3", "docker.ai.mmproj",
                                                     "docker.ai.model.file"]
    assert config["config"]["parameters"] == "8.03B"
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in document["layers"]]
    document, config, _ = read(docker(FOLDER))
    assert document["config"]["mediaType"] == "application/vnd.docker.ai.model.config.v0.2+json"
    assert dict(kinds(document))["chat_template.jinja"] == "docker.ai.chat.template.jinja"
    with pytest.raises(Failed, match="runs GGUF and safetensors"):
        docker(replace(FOLDER, format=Format.PYTORCH))


def test_a_model_whose_digests_are_not_known() -> None:
    unknown = replace(GGUF, files=(replace(GGUF.files[0], sha256=None),))
    with pytest.raises(Failed) as caught:
        modelpack(unknown)
    assert caught.value.remedy == "helixstore verify"


# ---- what others push ------------------------------------------------------------------------------------------------

def layer(kind: str, data: bytes = b"x", name: str | None = None, key: str = "org.cncf.model.filepath",
          **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"mediaType": kind, "digest": f"sha256:{sha256(data)}", "size": len(data)}
    return found | ({"annotations": {key: name}} if name is not None else {}) | more


def manifest(layers: Sequence[Any], **more: Any) -> bytes:
    config = {"mediaType": "a/b", "digest": f"sha256:{HEX}", "size": 2}
    return json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": config, "layers": layers} | more).encode()


def contents(raw: bytes, name: str = "smollm2") -> Contents:
    found = read_manifest(raw, "", name)
    assert isinstance(found, Manifest)
    return read_contents(found, name)


def test_dockers_models_of_old_have_no_names() -> None:
    kind, config = "application/vnd.docker.ai.", {"mediaType": "application/vnd.docker.ai.model.config.v0.1+json",
                                                  "digest": f"sha256:{HEX}", "size": 2}
    one = contents(manifest([layer(f"{kind}gguf.v3"), layer(f"{kind}license", b"l"), layer(f"{kind}mmproj", b"m")],
                            config=config))
    assert [file.path for file in one.files] == ["LICENSE", "mmproj-smollm2.gguf", "smollm2.gguf"]
    two = contents(manifest([layer(f"{kind}gguf.v3", b"b"), layer(f"{kind}gguf.v3", b"a")], config=config))
    assert [(file.path, file.sha256) for file in two.files] == [
        ("smollm2-00001-of-00002.gguf", sha256(b"b")), ("smollm2-00002-of-00002.gguf", sha256(b"a"))]


def test_ollamas() -> None:
    kind = "application/vnd.ollama.image."
    found = contents(manifest([
        layer(f"{kind}model", b"m"), layer(f"{kind}projector", b"p"), layer(f"{kind}template", b"t"),
        layer(f"{kind}params", b"{}"), layer(f"{kind}license", b"l1"), layer(f"{kind}license", b"l2"),
        layer(f"{kind}adapter", b"a1"), layer(f"{kind}adapter", b"a2")]), "llama3.2:1b")
    assert found.kind == "ollama-layers"
    assert [file.path for file in found.files] == [
        "adapter-llama3.2-1b-2.gguf", "adapter-llama3.2-1b.gguf", "llama3.2-1b.gguf", "mmproj-llama3.2-1b.gguf"]
    assert [text.kind for text in found.texts] == ["template", "params", "license", "license"]
    with pytest.raises(Failed, match="only Ollama puts together"):
        contents(manifest([layer(f"{kind}tensor")]))


def test_files_that_oras_pushed() -> None:
    """oras calls every file an image's layer, and marks what it packed."""
    title, kind = "org.opencontainers.image.title", "application/vnd.oci.image.layer.v1.tar"
    for one in ("text/plain", kind):
        found = contents(manifest([layer(one, name="a/b.gguf", key=title)]))
        assert (found.kind, found.files[0].path) == ("files", "a/b.gguf")
    with pytest.raises(Failed, match="packed in archives"):
        contents(manifest([layer(f"{kind}+gzip", annotations={title: "a", "io.deis.oras.content.unpack": "true"})]))


@pytest.mark.parametrize(("kind", "why"), [
    ("application/vnd.oci.image.layer.v1.tar+gzip", "container's image"),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", "container's image"),
    ("application/vnd.cncf.model.weight.v1.tar", "packed in archives"),
    ("application/vnd.cncf.model.weight.config.v1.tar+zstd", "packed in archives"),
    ("application/vnd.kitops.modelkit.model.v1.tar+gzip", "packed in archives"),
    ("application/vnd.docker.ai.vllm.config.tar", "packed in archives"),
    ("text/plain", "without a name"),
])
def test_what_cannot_be_taken_as_it_is(kind: str, why: str) -> None:
    with pytest.raises(Failed, match=why) as caught:
        contents(manifest([layer(kind)]))
    assert caught.value.remedy


@pytest.mark.parametrize("name", [
    "../../etc/passwd", "/etc/passwd", "a/../../b", "", ".", "a//b", "con", "a\\b", "C:x", "a\x00b", "x\n", "a.",
    "b\u202egpj.gguf", "\ud800", "x" * 300])
def test_names_that_lead_elsewhere(name: str) -> None:
    with pytest.raises((UnsafeName, Failed)) as caught:
        contents(manifest([layer("application/vnd.cncf.model.weight.v1.raw", name=name)]))
    assert str(caught.value).isprintable()
    assert caught.value.remedy


@pytest.mark.parametrize("names", [("a.gguf", "a.gguf"), ("a.gguf", "A.GGUF"), ("a", "a/b"), ("A", "a/b/c"),
                                   ("\u00e9", "e\u0301")])
def test_names_that_collide(names: tuple[str, str]) -> None:
    with pytest.raises(Failed, match="cannot lie in one folder"):
        contents(manifest([layer("application/vnd.cncf.model.weight.v1.raw", name.encode(), name) for name in names]))


def test_two_names_of_the_same_bytes_are_one_blob() -> None:
    found = contents(manifest([layer("application/vnd.cncf.model.weight.v1.raw", b"same", name) for name in "ab"]))
    assert len(found.files) == 2
    assert found.bytes == 4


GOOD = layer("a/b")


@pytest.mark.parametrize("raw", [
    b"", b"{", b"[]", b"null", b'"x"', b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"1" * 5000,
    manifest([GOOD], schemaVersion=1), manifest([GOOD], schemaVersion=True), manifest([GOOD], manifests=[]),
    manifest([GOOD]).replace(b'"layers"', b'"layers":[],"layers"'),
    manifest([GOOD | {"size": -1}]), manifest([GOOD | {"size": 1.0}]), manifest([GOOD | {"size": "1"}]),
    manifest([GOOD | {"size": True}]), manifest([GOOD | {"size": None}]), manifest([GOOD | {"size": 1 << 60}]),
    manifest([GOOD]).replace(b'"size": 1', b'"size": ' + b"9" * 4000),
    manifest([GOOD]).replace(b'"size": 1', b'"size": ' + b"9" * 9000),
    manifest([GOOD]).replace(b'"size": 1', b'"size": NaN'), manifest([GOOD]).replace(b'"size": 1', b'"size": 1e400'),
    manifest([GOOD | {"digest": "sha256:12"}]), manifest([GOOD | {"digest": f"md5:{HEX}"}]),
    manifest([GOOD | {"digest": f"sha256:{HEX.upper()}"}]), manifest([GOOD | {"digest": f"sha512:{HEX * 2}"}]),
    manifest([GOOD | {"digest": f"sha256:{HEX}/../.."}]), manifest([GOOD | {"digest": [HEX]}]),
    manifest([GOOD | {"digest": f"sha256:{HEX}\n"}]),
    manifest([GOOD, GOOD | {"size": 2}]), manifest([GOOD | {"digest": f"sha256:{HEX}"}]),
    manifest([GOOD | {"mediaType": 7}]), manifest([GOOD | {"mediaType": "x\x1b/y"}]),
    manifest([GOOD | {"mediaType": ""}]),
    manifest([GOOD | {"annotations": []}]), manifest([GOOD | {"annotations": {"a": 1}}]), manifest([[]]),
    manifest([None]), manifest({}), manifest("x"), manifest([GOOD])[:-2],  # type: ignore[arg-type]
    manifest([GOOD] * 20_001), b'{"schemaVersion":2}', manifest([GOOD], annotations="x"),
])
def test_manifests_that_are_not_to_be_believed(raw: bytes) -> None:
    with pytest.raises(Failed, match=r"the manifest of m is refused: ") as caught:
        read_manifest(raw, OCI, "m")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
    assert caught.value.remedy


def test_random_damage_never_ends_in_anything_else() -> None:
    good, refused = modelpack(GGUF).manifest, 0
    for seed in range(2000):
        noise = bytes_of(6, seed)
        at = int.from_bytes(noise[:2], "big") % len(good)
        raw = good[:at] + noise[2:2 + noise[5] % 4] + good[at + noise[4] % 9:]
        try:
            found = read_manifest(raw, OCI, "m")
            if isinstance(found, Manifest):
                read_contents(found, "m")
        except HelixError:
            refused += 1
    assert 1000 < refused < 2000


# ---- through a real registry, and another's eyes ---------------------------------------------------------------------

def push(registry: Registry, made: Variant, data: Mapping[str, bytes], artifact: Artifact, folder: Path) -> None:
    for file in artifact.files:
        (folder / "blob").write_bytes(data[file.path])
        registry.push_blob(str(folder / "blob"), str(file.sha256), file.bytes)
    registry.push_small(artifact.config, artifact.config_sha256)
    assert registry.push_manifest(artifact.manifest, artifact.media_type) == artifact.sha256


@pytest.mark.parametrize("form", [modelpack, docker])
def test_skopeo_reads_what_was_pushed(real: str, opened: Opened, tmp_path: Path, environ: dict[str, str],
                                      form: Callable[[Variant], Artifact]) -> None:
    data = {"llama.gguf": bytes_of(3_000_000), "README.md": b"read me"}
    made = variant(Format.GGUF, ("llama.gguf", Role.WEIGHTS, data["llama.gguf"]),
                   ("README.md", Role.OTHER, data["README.md"]))
    registry = opened(real, f"team/{form.__name__}", "q4")
    push(registry, made, data, form(made), tmp_path)
    subprocess.run(["skopeo", "copy", "--src-tls-verify=false", f"docker://{real}/team/{form.__name__}:q4",
                    f"oci:{tmp_path}/copy:q4"], check=True, capture_output=True, env=environ)
    blobs = {path.name: path.read_bytes() for path in (tmp_path / "copy/blobs/sha256").iterdir()}
    assert all(blobs[sha256(one)] == one for one in data.values())
    assert blobs[form(made).sha256] == form(made).manifest
    subprocess.run(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{tmp_path}/copy:q4",
                    f"docker://{real}/team/copied:v2"], check=True, capture_output=True, env=environ)
    back = opened(real, "team/copied", "v2")
    found = read_contents(back.model(), "llama")
    assert {file.path: file.sha256 for file in found.files} == {name: sha256(one) for name, one in data.items()}
    for file in found.files:
        with back.blob(file.sha256, file.bytes) as stream:
            assert b"".join(stream) == data[file.path]
    assert found.config is not None
    assert json.loads(back.small(found.config))["config"]["format"] == "gguf"
