"""What Jan has: its `model.yml` in every form that it has had, and the files that it names, wherever they lie."""

from __future__ import annotations

from pathlib import Path

import pytest
from lying import again, lay, look, unchanged, variant_of

from helixstore.providers.layout import Root
from helixstore.values import Format, Role, Source
from layouts.jan import Jan
from support.layouts import FACTS, MAC, Shelf

JAN = Jan()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "Jan data"


def model_yml(data: Path, id: str, text: str, engine: str = "llamacpp") -> Path:
    path = data / engine / "models" / id / "model.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_is_projected_is_found_again_and_stays_where_it_is(data: Path, shelf: Shelf) -> None:
    variants = [shelf.gguf("one"), shelf.gguf("big", shards=3, seed=3), shelf.gguf("eye", projector=True, seed=7)]
    found = again(JAN, Root(data, "test"), variants, shelf)
    assert [one.source.name for one in found] == ["big-Q4_K_M", "eye-Q4_K_M", "one-Q4_K_M"]
    assert [one.name for one in found] == ["big", "eye", "one"]


def test_what_jan_downloaded_is_named_by_its_id_and_its_quantisations_are_one_model(data: Path, shelf: Shelf) -> None:
    """The hub's files are all called `model.gguf`, and paths are counted from the data folder."""
    for quantization, seed in (("Q4_K_M", 0), ("Q8_0", 1)):
        id = f"janhq/Jan-v1-4B-{quantization}"
        lay(data, {f"llamacpp/models/{id}/model.gguf": shelf.gguf("x", quantization, seed=seed)}, shelf)
        model_yml(data, id, f"model_path: llamacpp/models/{id}/model.gguf\nname: Jan-v1-4B\nsize_bytes: 4\n"
                            f"model_sha256: 00\nembedding: false\n")
    old = "llama/org-repo/Q8_0"
    lay(data, {f"llamacpp/models/{old}/model.gguf": shelf.gguf("y", "Q8_0", seed=5)}, shelf)
    model_yml(data, old, f"model_path: llamacpp/models/{old}/model.gguf\n")
    found = unchanged(JAN, Root(data, "test"), others=[shelf.gguf("janhq", stem="janhq", seed=9)])
    assert [(one.source.name, one.source.repository, one.name) for one in found] == [
        ("janhq/Jan-v1-4B-Q4_K_M", "janhq/Jan-v1-4B", "Jan-v1-4B"),
        ("janhq/Jan-v1-4B-Q8_0", "janhq/Jan-v1-4B", "Jan-v1-4B"),
        ("llama/org-repo/Q8_0", "llama/org-repo", "org-repo")]
    assert found[0].source.sidecars[0][0] == "llamacpp/models/janhq/Jan-v1-4B-Q4_K_M/model.yml"


def test_nothing_of_ours_is_put_above_a_model_of_jans(data: Path, shelf: Shelf) -> None:
    """Below a folder with a `model.yml` Jan looks at nothing."""
    lay(data, {"llamacpp/models/org/x/model.gguf": shelf.gguf("x")}, shelf)
    model_yml(data, "org/x", "model_path: llamacpp/models/org/x/model.gguf\n")
    ours = shelf.gguf("org", stem="ORG", seed=3)
    root = Root(data, "test")
    (found,), _ = look(JAN, root)
    entries = list(JAN.project([ours, variant_of(found)], root, FACTS))
    made = {entry.path.split("/")[2] for entry in entries if entry.key == ours.key}
    assert made == {f"ORG-{ours.manifest[:8]}"}


def test_an_imported_file_stays_outside_and_only_its_sidecar_is_jans(data: Path, shelf: Shelf, tmp_path: Path) -> None:
    lay(tmp_path, {"Downloads/gemma-Q4_K_M.gguf": shelf.gguf("gemma", projector=True)}, shelf)
    model_yml(data, "gemma", f"model_path: '{tmp_path}/Downloads/gemma-Q4_K_M.gguf'\n"
                             f"mmproj_path: {tmp_path}/Downloads/mmproj.gguf\n")
    (found,) = unchanged(JAN, Root(data, "test"))
    assert [(part.location, part.role) for part in found.inspection.parts] == [
        (tmp_path / "Downloads/gemma-Q4_K_M.gguf", Role.WEIGHTS), (tmp_path / "Downloads/mmproj.gguf", Role.PROJECTOR)]


def test_a_projector_is_joined_because_the_sidecar_says_so_and_only_then(data: Path, shelf: Shelf) -> None:
    vision = shelf.gguf("eye", projector=True)
    for id in ("said", "unsaid"):
        lay(data, {f"llamacpp/models/{id}/eye-Q4_K_M.gguf": vision}, shelf)
    model_yml(data, "said", "model_path: llamacpp/models/said/eye-Q4_K_M.gguf\n"
                            "mmproj_path: llamacpp/models/said/mmproj.gguf\n")
    model_yml(data, "unsaid", "model_path: llamacpp/models/unsaid/eye-Q4_K_M.gguf\n")
    said, unsaid = unchanged(JAN, Root(data, "test"))
    assert len(said.inspection.parts) == 2
    assert len(unsaid.inspection.parts) == 1


def test_two_ids_over_one_file_are_two_witnesses_of_one_model(data: Path, shelf: Shelf) -> None:
    lay(data, {"llamacpp/models/a/model.gguf": shelf.gguf("x")}, shelf)
    for id in ("a", "b"):
        model_yml(data, id, "model_path: llamacpp/models/a/model.gguf\n")
    assert [one.source.name for one in unchanged(JAN, Root(data, "test"))] == ["a", "b"]


def test_shards_and_what_an_earlier_release_has_left(data: Path, shelf: Shelf) -> None:
    big = shelf.gguf("big", shards=3)
    for number, file in enumerate(big.files, 1):
        name = f"models/huggingface.co/org/big/big-{number:05d}-of-00003.gguf"
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(shelf.blobs[file.blake3].read_bytes())
    model_yml(data, "big", "model_path: models/huggingface.co/org/big/big-00001-of-00003.gguf\n")
    (found,) = unchanged(JAN, Root(data, "test"))
    assert found.inspection.header.parameters == big.header.parameters
    assert len(found.inspection.parts) == 3


@pytest.mark.parametrize("named", ["mlx/models/org/Foo-4bit/model.safetensors", "mlx/models/org/Foo-4bit"])
def test_an_mlx_model_without_jans_own_file_in_it(data: Path, shelf: Shelf, named: str) -> None:
    lay(data, {"mlx/models/org/Foo-4bit": shelf.mlx("Foo-4bit")}, shelf)
    model_yml(data, "org/Foo-4bit", f"model_path: {named}\n", "mlx")
    (found,) = unchanged(JAN, Root(data, "test"), MAC)
    assert found.inspection.format is Format.MLX
    assert "model.yml" not in {part.path for part in found.inspection.parts}
    assert (found.source.name, found.name) == ("mlx/models/org/Foo-4bit", "Foo")


@pytest.mark.parametrize("style", [
    "---\nmodel_path: {path}\nmmproj_path:\n",
    "{{model_path: {path}, name: flow}}\n",
    "# mine\nmodel_path: >-\n  {path}\nchat_template: |\n  model_path: not this\n  {{% if x %}}\n",
    "\ufeffname: x\r\nmodel_path: \"{path}\"\r\ntemplate_kwargs:\r\n  enable_thinking: false\r\n",
    "base: &base\n  model_path: {path}\n<<: *base\nembedding_check_v: 2\nmtp_layers: ~\n",
    '"model_path": {path}\nsize_bytes: 2024-13-45\nctx_size: 0x\n',
])
def test_every_style_of_yaml_is_read(data: Path, shelf: Shelf, style: str) -> None:
    lay(data, {"llamacpp/models/x/model.gguf": shelf.gguf("x")}, shelf)
    sidecar = data / "llamacpp/models/x/model.yml"
    sidecar.write_bytes(style.format(path="llamacpp/models/x/model.gguf").encode())
    if style.startswith("\ufeff"):
        (found,), _ = look(JAN, Root(data, "test"))
    else:
        (found,) = unchanged(JAN, Root(data, "test"))
    assert found.source.name == "x"


HOSTILE = {
    "climbs": ("model_path: ../../../etc/passwd\n", "unsafe"),
    "climbs within": ("model_path: llamacpp/../../x.gguf\n", "unsafe"),
    "gone": ("model_path: /nowhere/at/all.gguf\n", "incomplete"),
    "device": ("model_path: /dev/zero\n", "unsafe"),
    "nul": ('model_path: "a\\0b.gguf"\n', "incomplete"),
    "nothing": ("name: x\n", "incomplete"),
    "list": ("- a\n- b\n", "incomplete"),
    "empty": ("", "incomplete"),
    "brackets": ("[" * 100_000, "unreadable"),
    "tabs": ("a:\n\t- b: [", "unreadable"),
    "nested value": ("model_path: {a: [b]}\n", "incomplete"),
    "other system": ("model_path: 'C:\\Users\\me\\x.gguf'\n", "incomplete"),
    "long": ("model_path: x\n" + "# " + "x" * (1 << 19), "unreadable"),
    "projector gone": ("model_path: llamacpp/models/good/model.gguf\nmmproj_path: no.gguf\n", "incomplete"),
    "control": ('model_path: "/x/\\e[31mred.gguf"\n', "incomplete"),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_sidecar_that_makes_no_sense_costs_one_issue_and_the_rest_goes_on(
    data: Path, shelf: Shelf, hostile: str
) -> None:
    text, kind = HOSTILE[hostile]
    lay(data, {"llamacpp/models/good/model.gguf": shelf.gguf("x")}, shelf)
    model_yml(data, "good", "model_path: llamacpp/models/good/model.gguf\n")
    bad = model_yml(data, "bad", text)
    found, reader = look(JAN, Root(data, "test"))
    assert [one.source.name for one in found] == ["good"]
    (issue,) = reader.issues
    assert (issue.kind, issue.path) == (kind, str(bad))
    assert issue.message.isprintable()
    assert kind != "incomplete" or "Jan" in issue.remedy


def test_binary_and_links_and_folders_in_place_of_a_sidecar(data: Path, shelf: Shelf, tmp_path: Path) -> None:
    model_yml(data, "binary", "").write_bytes(b"\xff\xfe\0\0")
    model_yml(data, "folder", "").unlink()
    (data / "llamacpp/models/folder/model.yml").mkdir()
    lay(tmp_path, {"x.gguf": shelf.gguf("x")}, shelf)
    (tmp_path / "elsewhere.yml").write_text(f"model_path: {tmp_path}/x.gguf\n")
    model_yml(data, "link", "").unlink()
    (data / "llamacpp/models/link/model.yml").symlink_to(tmp_path / "elsewhere.yml")
    (data / "llamacpp/models/loop").symlink_to(data / "llamacpp/models")
    deep = data / "llamacpp/models" / "/".join("d" * 30)
    deep.mkdir(parents=True)
    found, reader = look(JAN, Root(data, "test"))
    assert found == []
    assert [issue.kind for issue in reader.issues] == ["unreadable"]
    assert list(reader.notes) == [str(data / "llamacpp/models/link/model.yml")]


def test_a_broken_file_is_told_once_and_a_model_that_is_none_is_noted(data: Path, shelf: Shelf) -> None:
    lay(data, {"llamacpp/models/cut/model.gguf": shelf.gguf("x")}, shelf)
    cut = data / "llamacpp/models/cut/model.gguf"
    cut.write_bytes(cut.read_bytes()[:-40])
    model_yml(data, "cut", "model_path: llamacpp/models/cut/model.gguf\n")
    speech = model_yml(data, "speech", "model_path: llamacpp/models/speech/whisper.bin\n")
    (speech.parent / "whisper.bin").write_bytes(b"something else")
    found, reader = look(JAN, Root(data, "test"))
    assert found == []
    assert [(issue.kind, issue.path) for issue in reader.issues] == [("incomplete", str(cut))]
    assert list(reader.notes) == [str(speech)]


def test_half_a_download_is_nothing_yet(data: Path, shelf: Shelf) -> None:
    lay(data, {"llamacpp/models/x/model.gguf": shelf.gguf("x")}, shelf)
    (data / "llamacpp/models/x/model.gguf.aria2").touch()
    model_yml(data, "x", "model_path: llamacpp/models/x/model.gguf\n")
    found, reader = look(JAN, Root(data, "test"))
    assert (found, reader.issues) == ([], [])


def test_a_source_of_somebody_elses_making_is_no_name_of_jans(data: Path, shelf: Shelf) -> None:
    """A sidecar kept by an earlier version, or by hand, that says nothing: the model gets a name as any other."""
    for text in ("[", "name: x\n", "model_path: /elsewhere/x.gguf\n"):
        source = Source("program", program="jan", name="a", sidecars=(("a/model.yml", text),))
        variant = shelf.gguf("x", sources=[source])
        entries = list(JAN.project([variant], Root(data, "test"), FACTS))
        assert [entry.path for entry in entries if entry.witness] == ["a/model.yml"]
    bare = shelf.gguf("x", sources=[Source("program", program="jan", name="a")])
    assert [entry.path for entry in JAN.project([bare], Root(data, "test"), FACTS) if entry.witness] == [
        "llamacpp/models/x-Q4_K_M/model.yml"]
