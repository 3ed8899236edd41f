"""A model's life in Ollama, by Ollama's own means: each ends in the right state everywhere at the next sync."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.results import SyncReport
from support.ollama import OllamaFolder
from support.person import Person
from support.raw import model_gguf

SMALL, OTHER = model_gguf(seed=1), model_gguf(seed=2)
ELSEWHERE = ".lmstudio/models/acme/Small-GGUF/Small-F16.gguf"


@pytest.fixture
def ollama(person: Person) -> OllamaFolder:
    folder = OllamaFolder(person.home / ".ollama" / "models")
    folder.root.mkdir(parents=True)
    return folder


@pytest.fixture(params=["hard", "symlink"])
def ours(request: pytest.FixtureRequest, person: Person, ollama: OllamaFolder) -> str:
    """Ollama is shown a model that LM Studio holds, by each kind of link; the value is its name there."""
    person.put(ELSEWHERE, SMALL)
    HelixStore.init(every=True, environ=person.environ)
    with person.open() as store:
        store.set_config("providers.ollama.links", [request.param])
    settled(person)
    [name] = ollama.names()
    assert ollama.blob(SMALL).is_symlink() == (request.param == "symlink")
    return name


def settled(person: Person) -> SyncReport:
    """A sync without an issue, after which another finds nothing to do, and Ollama's every manifest is whole."""
    with person.open() as store:
        report = store.sync()
        assert report.issues == ()
        again = store.sync()
        assert (again.nothing, again.issues) == (True, ()), again
    return report


def whole(ollama: OllamaFolder) -> None:
    for name in ollama.names():
        ollama.shown(name)


def states(person: Person, model: str) -> dict[str, str]:
    with person.open() as store:
        [variant] = store.show(model).variants
        return {name: one.state for name, one in variant.providers.items()}


def begin(person: Person) -> None:
    HelixStore.init(every=True, environ=person.environ)


# ---- what lies there when helixstore comes


def test_models_with_all_their_texts_are_shared_and_nothing_in_ollama_changes(
    person: Person, ollama: OllamaFolder
) -> None:
    ollama.pull("llama3.1:8b", SMALL)
    ollama.cp("llama3.1:8b", "llama3.1:latest")
    ollama.create("cat:latest", "llama3.1:8b", system="You are a cat.")
    ollama.pull("hf.co/Org/Thing-GGUF:Q4_K_M", OTHER)
    before = {str(path): path.read_bytes() for path in ollama.root.rglob("*") if path.is_file()}
    begin(person)
    report = settled(person)
    assert {one.model for one in report.adopted} == {"llama3.1:8b", "Thing-GGUF"}
    assert {str(path): path.read_bytes() for path in ollama.root.rglob("*") if path.is_file()} == before
    assert states(person, "llama3.1:8b")["llamacpp"] == "linked"
    with person.open() as store:
        [variant] = store.show("cat").variants
        assert sorted(source["name"] for source in variant.sources) == ["cat:latest", "llama3.1:8b", "llama3.1:latest"]
        assert [file.path for file in variant.files] == ["llama3.1-8b-F16.gguf"]
        assert store.path("Thing-GGUF").name == "Thing-F16.gguf"
        store.undo()


def test_undo_gives_the_tree_back_byte_for_byte_and_mode_for_mode(person: Person, ollama: OllamaFolder) -> None:
    ollama.pull("llama3.1:8b", SMALL)
    ollama.create("cat:latest", "llama3.1:8b", system="You are a cat.")
    person.put(ELSEWHERE, SMALL, 0o600)
    before = person.tree(own=False)
    begin(person)
    settled(person)
    with person.open() as store:
        store.undo()
    assert person.tree(own=False) == before


@pytest.mark.parametrize("where", [ELSEWHERE, "models/loose.gguf"])
def test_the_same_file_elsewhere_is_one_copy_and_ollamas_keeps_its_name(
    person: Person, ollama: OllamaFolder, where: str
) -> None:
    copy = person.put(where, SMALL)
    ollama.pull("llama3.1:8b", SMALL)
    (person.home / "models").mkdir(exist_ok=True)
    HelixStore.init(every=True, scan=[person.home / "models"], environ=person.environ)
    report = settled(person)
    assert report.saved_bytes == len(SMALL)
    assert copy.samefile(ollama.blob(SMALL))
    assert copy.read_bytes() == SMALL
    ollama.prune()
    whole(ollama)
    assert ollama.names() == ["llama3.1:8b"]


def test_quantisations_of_one_tag_are_one_model(person: Person, ollama: OllamaFolder) -> None:
    ollama.pull("llama3.1:8b-instruct-fp16", SMALL)
    ollama.pull("llama3.1:8b-instruct-q8_0", model_gguf(seed=3, file_type=0))
    begin(person)
    settled(person)
    with person.open() as store:
        assert [model.name for model in store.shared_models()] == ["llama3.1:8b-instruct"]


def test_a_projector_inside_the_weights_stays_ollamas_and_the_others_say_why(
    person: Person, ollama: OllamaFolder
) -> None:
    from support.layouts import gguf_bytes

    inside = gguf_bytes(
        {"general.architecture": "gemma3", "general.file_type": 1, "gemma3.context_length": 2048,
         "gemma3.block_count": 1, "tokenizer.ggml.tokens": ["a"]},
        {"token_embd.weight": "F16", "blk.0.attn_q.weight": "F16", "v.blk.0.attn_q.weight": "F16",
         "mm.0.weight": "F16"})
    ollama.pull("gemma3:4b", inside)
    begin(person)
    settled(person)
    with person.open() as store:
        [variant] = store.show("gemma3:4b").variants
        assert variant.providers["ollama"].state == "linked"
        for name in ("llamacpp", "lmstudio", "jan", "koboldai", "textgen", "gpt4all", "localai"):
            assert variant.providers[name].state in ("incompatible", "convertible")
            assert "projector inside" in variant.providers[name].reason


def test_a_blob_that_is_not_what_its_name_says_is_left_alone(person: Person, ollama: OllamaFolder) -> None:
    ollama.pull("llama3.1:8b", SMALL)
    damaged = bytearray(SMALL)
    damaged[-1] ^= 1
    ollama.blob(SMALL).write_bytes(damaged)
    begin(person)
    with person.open() as store:
        report = store.sync()
        [issue] = report.issues
        assert issue.kind == "damaged"
        assert issue.path == str(ollama.blob(SMALL))
        assert store.shared_models() == []
        assert store.sync().nothing
    assert ollama.blob(SMALL).read_bytes() == damaged
    assert ollama.blob(SMALL).stat().st_mode & 0o200


def test_a_small_blob_that_is_damaged_later_is_said_as_long_as_it_is(person: Person, ollama: OllamaFolder) -> None:
    ollama.pull("llama3.1:8b", SMALL)
    begin(person)
    settled(person)
    template = ollama.blob(b"{{ .Prompt }}\n")
    template.write_bytes(b"{{ .Pr0mpt }}\n")
    for _ in range(2):
        with person.open() as store:
            issues = store.sync().issues
            assert {(issue.kind, issue.path) for issue in issues} == {
                ("damaged", str(template)), ("conflict", str(template))}
        assert template.read_bytes() == b"{{ .Pr0mpt }}\n"
    template.unlink()
    settled(person)
    whole(ollama)


def test_what_is_missing_is_said_and_nothing_is_made_up(person: Person, ollama: OllamaFolder) -> None:
    ollama.pull("llama3.1:8b", SMALL)
    ollama.pull("good:7b", OTHER)
    ollama.blob(SMALL).unlink()
    begin(person)
    with person.open() as store:
        [issue] = store.sync().issues
        assert (issue.kind, issue.remedy) == ("incomplete", "ollama pull llama3.1:8b")
        assert [model.name for model in store.shared_models()] == ["good:7b"]
    assert not ollama.blob(SMALL).exists()


def test_a_model_of_a_host_with_a_port_is_shared_and_stays_as_it_lies(person: Person, ollama: OllamaFolder) -> None:
    name = "127.0.0.1:5000/helix/tiny:latest"
    ollama.pull(name, SMALL)
    begin(person)
    settled(person)
    assert (states(person, "tiny")["ollama"], states(person, "tiny")["lmstudio"]) == ("linked", "linked")
    assert ollama.names() == [name]
    ollama.rm(name)
    settled(person)
    assert (states(person, "tiny")["ollama"], ollama.names()) == ("hidden", [])


def test_what_only_ollama_can_put_together_is_explained_and_stays(person: Person, ollama: OllamaFolder) -> None:
    kind = "application/vnd.ollama.image."
    path = ollama.write("tuned:latest", b"{}", [{"mediaType": kind + "model", **ollama.put(SMALL)},
                                                {"mediaType": kind + "adapter", **ollama.put(OTHER)}])
    before = person.tree(own=False)
    begin(person)
    with person.open() as store:
        report = store.sync()
        assert report.issues == ()
        assert [note for note in report.notes if str(path) in note and "adapter" in note]
        assert "adapter" in " ".join(store.explain(str(path)).lines)
        assert store.shared_models() == []
    assert {name: one for name, one in person.tree(own=False).items() if ".ollama" in name} == before


# ---- what the person does there afterwards


def test_pull_of_another_model(person: Person, ollama: OllamaFolder) -> None:
    begin(person)
    settled(person)
    ollama.pull("llama3.1:8b", SMALL)
    settled(person)
    assert states(person, "llama3.1:8b")["lmstudio"] == "linked"


def test_pull_of_new_weights_under_a_tag_updates_everybody(person: Person, ollama: OllamaFolder) -> None:
    ollama.pull("llama3.1:8b", SMALL)
    begin(person)
    settled(person)
    with person.open() as store:
        [before] = store.show("llama3.1:8b").variants
    ollama.pull("llama3.1:8b", OTHER)
    assert not ollama.blob(SMALL).exists()
    settled(person)
    with person.open() as store:
        [after] = store.show("llama3.1:8b").variants
        assert after.id == before.id
        assert after.files[0].sha256 == hashlib.sha256(OTHER).hexdigest()
        for name, one in after.providers.items():
            if one.state == "linked" and name not in ("ollama", "localai", "jan", "ramalama"):
                assert any(Path(path).read_bytes() == OTHER for path in one.paths if os.path.isfile(path)), name
    whole(ollama)
    assert ollama.names() == ["llama3.1:8b"]


def test_pull_of_new_weights_under_one_of_two_tags_splits_them(person: Person, ollama: OllamaFolder) -> None:
    ollama.pull("llama3.1:8b", SMALL)
    ollama.cp("llama3.1:8b", "mine:latest")
    begin(person)
    settled(person)
    ollama.pull("llama3.1:8b", OTHER)
    settled(person)
    with person.open() as store:
        [model] = store.shared_models()
        named = {variant.files[0].sha256: [s["name"] for s in variant.sources] for variant in model.variants}
    assert named == {hashlib.sha256(SMALL).hexdigest(): ["mine:latest"],
                     hashlib.sha256(OTHER).hexdigest(): ["llama3.1:8b"]}
    whole(ollama)
    assert ollama.names() == ["llama3.1:8b", "mine:latest"]


def test_new_texts_under_a_tag_are_kept_and_are_no_new_version(person: Person, ollama: OllamaFolder) -> None:
    ollama.pull("llama3.1:8b", SMALL)
    begin(person)
    settled(person)
    ollama.create("llama3.1:8b", "llama3.1:8b", system="You are a cat.")
    shown = ollama.shown("llama3.1:8b")
    settled(person)
    assert ollama.shown("llama3.1:8b") == shown
    with person.open() as store:
        [variant] = store.show("llama3.1:8b").variants
        assert len(variant.sources) == 1
    ollama.rm("llama3.1:8b")
    settled(person)
    with person.open() as store:
        store.unhide("llama3.1:8b", "ollama")
    assert ollama.shown("llama3.1:8b") == shown


def test_rm_of_one_of_two_tags(person: Person, ollama: OllamaFolder) -> None:
    ollama.pull("llama3.1:8b", SMALL)
    ollama.cp("llama3.1:8b", "llama3.1:latest")
    begin(person)
    settled(person)
    ollama.rm("llama3.1:8b")
    settled(person)
    assert ollama.names() == ["llama3.1:latest"]
    assert states(person, "llama3.1")["ollama"] == "linked"
    whole(ollama)


def test_rm_of_the_last_hides_it_there_alone(person: Person, ollama: OllamaFolder) -> None:
    ollama.pull("llama3.1:8b", SMALL)
    ollama.cp("llama3.1:8b", "llama3.1:latest")
    begin(person)
    settled(person)
    ollama.rm("llama3.1:8b")
    ollama.rm("llama3.1:latest")
    settled(person)
    assert ollama.names() == []
    there = states(person, "llama3.1:8b")
    assert (there["ollama"], there["lmstudio"], there["llamacpp"]) == ("hidden", "linked", "linked")
    ollama.pull("llama3.1:8b", SMALL)                           # and then the person wants it again
    settled(person)
    assert states(person, "llama3.1:8b")["ollama"] == "linked"
    assert ollama.names() == ["llama3.1:8b"]
    whole(ollama)


def test_rename(person: Person, ollama: OllamaFolder) -> None:
    ollama.pull("llama3.1:8b", SMALL)
    begin(person)
    settled(person)
    ollama.cp("llama3.1:8b", "lama:latest")
    ollama.rm("llama3.1:8b")
    settled(person)
    assert ollama.names() == ["lama:latest"]
    assert states(person, "lama")["ollama"] == "linked"
    ollama.prune()
    whole(ollama)


# ---- what the person does with what we made


def test_the_prune_at_its_start_takes_nothing_of_ours(person: Person, ollama: OllamaFolder, ours: str) -> None:
    ollama.prune()
    settled(person)
    assert ollama.names() == [ours]
    whole(ollama)


def test_cp_of_ours(person: Person, ollama: OllamaFolder, ours: str) -> None:
    ollama.cp(ours, "mine:latest")
    settled(person)
    assert ollama.names() == sorted(["mine:latest", ours])
    ollama.rm(ours)
    settled(person)
    assert ollama.names() == ["mine:latest"]
    assert states(person, "mine")["ollama"] == "linked"
    whole(ollama)


def test_rename_of_ours(person: Person, ollama: OllamaFolder, ours: str) -> None:
    ollama.cp(ours, "mine:latest")
    ollama.rm(ours)
    settled(person)
    assert ollama.names() == ["mine:latest"]
    assert states(person, "mine")["ollama"] == "linked"
    whole(ollama)


def test_rm_of_ours(person: Person, ollama: OllamaFolder, ours: str) -> None:
    ollama.rm(ours)
    settled(person)
    assert ollama.names() == []
    there = states(person, "small")
    assert (there["ollama"], there["lmstudio"]) == ("hidden", "linked")
    assert (person.home / ELSEWHERE).read_bytes() == SMALL


def test_create_from_ours_with_a_new_prompt(person: Person, ollama: OllamaFolder, ours: str) -> None:
    ollama.create("cat:latest", ours, system="You are a cat.")
    shown = ollama.shown("cat:latest")
    settled(person)
    assert ollama.names() == sorted(["cat:latest", ours])
    assert ollama.shown("cat:latest") == shown
    ollama.prune()
    assert ollama.shown("cat:latest") == shown


def test_create_over_ours_with_a_new_prompt(person: Person, ollama: OllamaFolder, ours: str) -> None:
    ollama.create(ours, ours, system="You are a cat.")
    shown = ollama.shown(ours)
    settled(person)
    assert (ollama.names(), ollama.shown(ours)) == ([ours], shown)
    with person.open() as store:
        store.remove("small")
    assert ollama.shown(ours) == shown, "what the person made is theirs"


@pytest.mark.parametrize("known", [True, False], ids=["after a sync", "at once"])
@pytest.mark.parametrize("how", ["remove", "hide", "off", "new version"])
def test_what_the_person_made_from_ours_outlives_ours(
    person: Person, ollama: OllamaFolder, ours: str, how: str, known: bool
) -> None:
    ollama.cp(ours, "mine:latest")
    ollama.create("cat:latest", ours, system="You are a cat.")
    shown = {name: ollama.shown(name) for name in ("mine:latest", "cat:latest")}
    if known:
        settled(person)
    with person.open() as store:
        if how == "remove":
            store.remove("small")
        elif how == "hide":
            store.hide("small", "ollama")
        elif how == "off":
            store.set_provider("ollama", on=False)
        else:
            (person.home / ELSEWHERE).unlink()
            person.put(ELSEWHERE, OTHER)
        store.sync()
        store.gc(now=True)
        assert store.verify().bad == []
    ollama.prune()
    assert {name: ollama.shown(name) for name in shown} == shown
    with person.open() as store:
        store.sync()
        assert store.sync().nothing
    assert {name: ollama.shown(name) for name in shown} == shown


def test_a_preview_takes_away_only_what_will_go(person: Person, ollama: OllamaFolder, ours: str) -> None:
    ollama.cp(ours, "mine:latest")
    with person.open() as store:
        shown = {action["path"] for action in store.hide("small", "ollama", dry_run=True).removed}
        assert not any("/blobs/" in path and os.path.getsize(path) == len(SMALL) for path in shown)
        there = {path for path in shown if os.path.lexists(path)}
        done = {action["path"] for action in store.hide("small", "ollama").removed}
        assert done == shown == there
        assert [path for path in shown if os.path.lexists(path)] == []
    whole(ollama)


@pytest.mark.parametrize("way", ["undo", "leave"])
def test_the_ways_back_leave_the_persons_whole(person: Person, ollama: OllamaFolder, ours: str, way: str) -> None:
    ollama.create("cat:latest", ours, system="You are a cat.")
    shown = ollama.shown("cat:latest")
    with person.open() as store:
        if way == "undo":
            store.undo()
            assert ollama.names() == ["cat:latest"]
        else:
            store.leave()
            assert ollama.names() == sorted(["cat:latest", ours])
            whole(ollama)
        store.gc(now=True)
    assert not ollama.blob(SMALL).is_symlink()
    assert ollama.shown("cat:latest") == shown
    assert (person.home / ELSEWHERE).read_bytes() == SMALL


def test_a_link_of_ours_that_is_gone_is_made_again_and_nobody_is_told_to_pull(
    person: Person, ollama: OllamaFolder, ours: str
) -> None:
    ollama.blob(SMALL).unlink()
    settled(person)
    assert ollama.names() == [ours]
    whole(ollama)


def test_create_of_other_weights_under_our_name(person: Person, ollama: OllamaFolder, ours: str) -> None:
    """Theirs has the name, ours gets another."""
    ollama.pull(ours, OTHER)
    settled(person)
    assert ollama.shown(ours)["model"] == f"sha256:{hashlib.sha256(OTHER).hexdigest()}"
    assert len(ollama.names()) == 2
    whole(ollama)
