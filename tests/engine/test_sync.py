"""The main job, end to end, on real files: one copy, everybody sees it, nothing is lost, and there is a way back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from helixstore import Format, HelixStore
from helixstore.errors import Ambiguous, Corrupt, NotFound, PlanOutdated
from support.disks import as_root, run
from support.models import tiny_hf
from support.person import GGUF, Person, without
from support.raw import model_gguf


def test_every_projected_path_reads_the_right_bytes(synced: Person) -> None:
    contents = {"Small-GGUF": GGUF, "other": model_gguf(seed=2)}
    with synced.open() as store:
        models = {model.name: model for model in store.shared_models()}
        for name, data in contents.items():
            seen = set()
            for provider, placement in models[name].variants[0].providers.items():
                if placement.state != "linked":
                    assert placement.reason, provider
                    continue
                assert placement.paths, provider
                assert all(os.path.lexists(path) for path in placement.paths), provider
                assert any(Path(path).read_bytes() == data for path in placement.paths), provider
                seen.add(provider)
            assert {"llamacpp", "ollama", "lmstudio", "jan", "gpt4all", "localai", "textgen", "koboldai"} <= seen
        hf = models["tiny-llama"].variants[0]
        linked = {name for name, one in hf.providers.items() if one.state == "linked"}
        assert linked >= {"vllm", "mlx", "mistralrs", "fastchat"}
        assert {hf.providers[name].link for name in linked} == {"hard"}, "the kind is that of the weights"


def test_one_copy_remains_on_disk_and_the_figures_say_so(laptop: Person) -> None:
    with laptop.open() as store:
        report = store.sync()
        status = store.status()
    first = laptop.home / ".lmstudio/models/acme/Small-GGUF/Small-F16.gguf"
    second = laptop.home / "models/copy-of-small.gguf"
    assert first.stat().st_ino == second.stat().st_ino
    assert report.saved_bytes == len(GGUF) == status.store.saved_bytes
    assert status.store.copies_avoided_bytes > 10 * len(GGUF)


def test_du_adds_up_to_the_figures_of_status(synced: Person) -> None:
    with synced.open() as store:
        figures = store.status().store
        for by in ("model", "user", "month"):
            found = store.du(by)
            assert sum(row.saved_bytes for row in found.usage) == found.total.saved_bytes == figures.saved_bytes, by
            avoided = sum(row.copies_avoided_bytes for row in found.usage)
            assert avoided == found.total.copies_avoided_bytes == figures.copies_avoided_bytes, by
        jan = next(row for row in store.du("provider").usage if row.label == "jan")
        assert jan.copies_avoided_bytes == 2 * len(GGUF)


def test_a_second_sync_does_nothing(synced: Person) -> None:
    before = synced.tree()
    for _ in range(3):
        with synced.open() as store:
            report = store.sync()
        assert report.nothing
        assert report.unchanged > 50
        after = synced.tree()
        assert [path for path in after.keys() | before.keys() if after.get(path) != before.get(path)
                and not path.endswith(".mdb")] == []


def test_a_dry_run_changes_nothing_and_says_what_the_sync_then_does(laptop: Person) -> None:
    before = laptop.tree(own=False)
    with laptop.open() as store:
        shown = store.sync(dry_run=True)
        assert laptop.tree(own=False) == before
        assert store.shared_models() == []
        done = store.sync()
    assert [a["path"] for a in shown.actions] == [a["path"] for a in done.actions]
    assert shown.saved_bytes == done.saved_bytes


def test_with_adopt_ask_nothing_is_taken_in_when_nobody_is_asked(laptop: Person) -> None:
    before = laptop.tree(own=False)
    with laptop.open() as store:
        store.set_config("adopt", "ask")
        for _ in range(2):
            notes = store.sync().notes
            assert len(notes) == 4, "each model, every time"
            assert all("adopt = ask" in note for note in notes)
        assert laptop.tree(own=False) == before
        store.sync(ask=lambda report: False)
        assert laptop.tree(own=False) == before
        assert len(store.sync(ask=lambda report: True).adopted) == 4


def test_undo_gives_back_every_byte_and_mode(laptop: Person) -> None:
    before = laptop.tree(own=False)
    with laptop.open() as store:
        store.sync()
        assert laptop.tree(own=False) != before
        store.undo()
        assert laptop.tree(own=False) == before
        first = laptop.home / ".lmstudio/models/acme/Small-GGUF/Small-F16.gguf"
        assert first.stat().st_nlink == 1
        assert store.shared_models() == []
        assert store.sync().nothing, "what was taken back is left alone"
        assert store.sync(restore=True).saved_bytes >= len(GGUF)


def test_leave_makes_ordinary_files_of_all_and_the_programs_keep_theirs(synced: Person) -> None:
    with synced.open() as store:
        paths = [path for model in store.shared_models() for one in model.variants[0].providers.values()
                 for path in one.paths if path.endswith((".gguf", ".safetensors"))]
        contents = {path: Path(path).read_bytes() for path in paths}
        store.leave()
    for path, data in contents.items():
        assert Path(path).read_bytes() == data
        assert Path(path).stat().st_nlink == 1, path
        assert os.access(path, os.W_OK)


def test_leave_names_the_programs_whose_folders_in_the_store_have_files(synced: Person) -> None:
    with synced.open() as store:
        [shown] = store.show("other").variants[0].providers["llamacpp"].paths
        own = Path(shown).with_name("mine.txt")
        own.write_text("my own")
        [note] = store.leave().notes
        assert own.read_text() == "my own"
    assert str(own.parents[1]) in note
    assert "llamacpp" in note
    assert "lmstudio" not in note           # its folder is elsewhere


def test_what_the_person_deletes_in_a_program_stays_deleted_there(synced: Person) -> None:
    with synced.open() as store:
        [path] = store.show("other").variants[0].providers["gpt4all"].paths
        without(synced, path)
        [note] = store.sync().notes
        assert note.startswith("other (gguf:F16) was deleted in gpt4all and stays deleted there")
        assert "llamacpp" in note
        assert str(synced.home / "models/other-F16.gguf") in note
        assert not os.path.lexists(path)
        assert store.show("other").variants[0].providers["gpt4all"].state == "hidden"
        assert store.show("other").variants[0].providers["llamacpp"].state == "linked"
        assert store.sync().nothing
        store.unhide("other", "gpt4all")
        assert Path(path).read_bytes() == model_gguf(seed=2)


def test_a_small_file_that_was_edited_in_a_program_is_neither_rewritten_nor_spread(synced: Person) -> None:
    [config] = (synced.home / ".cache/huggingface/hub").glob("*/snapshots/*/config.json")
    edited = config.read_bytes() + b" "
    config.write_bytes(edited)
    with synced.open() as store:
        before = {model.name for model in store.shared_models()}
        store.sync()
        assert {model.name for model in store.shared_models()} == before
        assert store.show("tiny-llama").variants[0].providers["vllm"].state == "modified"
    assert config.read_bytes() == edited


def test_status_names_what_only_the_store_holds(synced: Person) -> None:
    with synced.open() as store:
        assert store.status().only_in_store == ()
        without(synced, "models/other-F16.gguf")
        for name, one in store.show("other").variants[0].providers.items():
            if one.state == "linked":
                store.hide("other", name)
        assert store.status().only_in_store == ("other (gguf:F16)",)
        store.remove(unused=True)
        assert store.status().only_in_store == ()


def test_a_removed_model_goes_from_the_programs_but_not_from_the_person(synced: Person) -> None:
    with synced.open() as store:
        linked = [path for one in store.show("other").variants[0].providers.values() for path in one.paths]
        store.remove("other")
        left = [path for path in linked if os.path.lexists(path)]
        assert all(Path(path).read_bytes() != model_gguf(seed=2) for path in left)
        assert all("/blobs/" in path for path in left), "Ollama's configuration blob, which Small-GGUF has too"
        assert (synced.home / "models/other-F16.gguf").read_bytes() == model_gguf(seed=2)
        assert store.sync().nothing, "it is not brought back"
        with pytest.raises(NotFound):
            store.show("other")
        store.share(str(synced.home / "models/other-F16.gguf"))
        assert store.show("other").variants[0].providers["llamacpp"].state == "linked"


def test_removing_is_undone(synced: Person) -> None:
    before = synced.tree(own=False)
    with synced.open() as store:
        store.remove("Small-GGUF")
        store.undo()
        assert store.show("Small-GGUF").variants[0].providers["ollama"].state == "linked"
    assert synced.tree(own=False) == before


def test_a_name_that_was_given_up_and_comes_back_was_not_changed_twice_at_once(synced: Person) -> None:
    with synced.open() as store:
        for _ in range(2):
            store.remove("other")
            store.undo()
        assert store.status().issues == ()
        assert store.reindex().issues == ()
        assert "other" in {model.name for model in store.shared_models()}


def test_hide_one_provider_only(synced: Person) -> None:
    with synced.open() as store:
        paths = store.show("other").variants[0].providers["jan"].paths
        store.hide("other", "jan")
        assert not any(os.path.lexists(path) for path in paths)
        assert store.show("other").variants[0].providers["jan"].state == "hidden"
        assert store.sync().nothing
        store.undo()
        assert all(os.path.lexists(path) for path in paths)


def test_share_with_one_provider_is_kept(person: Person) -> None:
    file = person.put("x/new-F16.gguf", model_gguf(seed=5))
    HelixStore.init(providers=["llamacpp", "jan"], environ=person.environ)
    with person.open() as store:
        store.share(file, provider="jan")
        states = {name: one.state for name, one in store.show("new").variants[0].providers.items()}
        assert states["jan"] == "linked"
        assert states["llamacpp"] != "linked"
        store.sync()
        assert store.show("new").variants[0].providers["llamacpp"].state != "linked"
        store.share("new")
        assert store.show("new").variants[0].providers["llamacpp"].state == "linked"


def test_a_program_that_a_model_was_not_shared_with_does_not_wait_for_it(person: Person) -> None:
    model = person.put("m/other-F16.gguf", model_gguf(seed=2))
    HelixStore.init(every=True, environ=person.environ)
    with person.open() as store:
        store.share(model, provider="ollama")
        jan = store.show("other").variants[0].providers["jan"]
        assert jan.state == "off"
        assert "shared with ollama only" in jan.reason
        store.share("other")
        assert store.show("other").variants[0].providers["jan"].state == "linked"


def test_explain_says_of_an_adopted_path_what_links_it(synced: Person) -> None:
    with synced.open() as store:
        for path in ("models/copy-of-small.gguf", ".lmstudio/models/acme/Small-GGUF/Small-F16.gguf"):
            found = store.explain(str(synced.home / path))
            assert found.facts["adopted_kind"] == "hard"
            assert found.facts["blake3"] == store.show("Small-GGUF").variants[0].files[0].blake3
            assert any("two names of one file" in line for line in found.lines)
            assert any("names on its disk" in line for line in found.lines)
        assert len(store.explain("tiny-llama").lines) < 60, "not every small file in every program"


def test_a_plan_file_runs_as_it_was_shown_and_not_in_another_world(laptop: Person, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    with laptop.open() as store:
        shown = store.sync(save_plan=plan)
        before = laptop.tree(own=False)
        (laptop.home / "models/other-F16.gguf").write_bytes(model_gguf(seed=9))
        changed = laptop.tree(own=False)
        with pytest.raises(PlanOutdated):
            store.apply_file(plan)
        assert laptop.tree(own=False) == changed
        laptop.put("models/other-F16.gguf", model_gguf(seed=2))
        assert laptop.tree(own=False) == before
        shown = store.sync(save_plan=plan)
        done = store.apply_file(plan)
        assert len(done.actions) == len(shown.actions)
        assert store.sync().nothing


def test_path_answers_without_the_index(synced: Person) -> None:
    with synced.open() as store:
        found = store.path("other")
        index = Path(store._session.index.path)
    assert found.name == "other-F16.gguf"
    for file in index.iterdir():
        file.unlink()
    with synced.open() as store:
        again = store.path("other", Format.GGUF)
        assert again == found
        assert not list(index.glob("data.mdb")), "answered from the refs"
    assert found.read_bytes() == model_gguf(seed=2)


def test_reindex_loses_nothing(synced: Person) -> None:
    with synced.open() as store:
        before = store.shared_models()
        index = Path(store._session.index.path)
    for file in index.iterdir():
        file.unlink()
    with synced.open() as store:
        store.reindex()
        assert store.shared_models() == before
        assert store.sync().nothing


def test_without_its_index_everything_is_answered_as_before(synced: Person) -> None:
    def answers() -> list[object]:
        with synced.open() as store:
            return [list(store.rows()), store.shared_models(), store.status(), store.explain("other"),
                    store.du("provider")]

    before = answers()
    for number in range(len(before)):
        without(synced, ".cache/helixstore")
        with synced.open() as store:            # whichever is asked first
            first = [lambda: list(store.rows()), store.shared_models, store.status, lambda: store.explain("other"),
                     lambda: store.du("provider")][number]()
        assert first == before[number]
    assert answers() == before


def test_new_content_in_an_adopted_file_is_its_new_version(synced: Person) -> None:
    file = synced.home / "models/other-F16.gguf"
    file.unlink()
    synced.put("models/other-F16.gguf", model_gguf(seed=7))
    with synced.open() as store:
        store.sync()
        [variant] = store.show("other").variants
        [path] = variant.providers["llamacpp"].paths
        assert Path(path).read_bytes() == model_gguf(seed=7)
        assert store.sync().nothing


def test_the_same_name_with_other_content_is_another_model(synced: Person) -> None:
    synced.put("models/elsewhere/other-F16.gguf", model_gguf(seed=8))
    with synced.open() as store:
        store.sync()
        assert {model.name for model in store.shared_models()} >= {"other", "other~2"}


def test_a_corrupt_blob_is_withdrawn_and_reported(synced: Person) -> None:
    with synced.open() as store:
        [path] = store.show("other").variants[0].providers["llamacpp"].paths
        os.chmod(path, 0o644)
        with open(path, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\xff")
        report = store.verify()
        assert [bad.digest for bad in report.bad] == [store.show("other").variants[0].files[0].blake3]
        assert not os.path.lexists(path)
        assert store.show("other").variants[0].providers["llamacpp"].state == "quarantined"
        assert any(issue.kind == "quarantined" for issue in store.sync().issues)
        with pytest.raises(Corrupt):
            store.path("other")


def test_gc_frees_what_nobody_claims_and_nothing_else(synced: Person) -> None:
    with synced.open() as store:
        store.add(synced.put("elsewhere/lone-F16.gguf", model_gguf(seed=11)))
        digest = store.show("lone").variants[0].files[0].blake3
        store.remove("lone")
        without(synced, "elsewhere")
        report = store.gc()
        assert digest not in report.unlinked
        assert (store.folder / "blobs" / digest[:2] / digest).exists(), "the grace and the undo of `remove` keep it"
        assert store.show("other").variants[0].providers["llamacpp"].state == "linked"


def test_an_ambiguous_name_lists_what_it_could_mean(synced: Person) -> None:
    synced.put("models/oth-F16.gguf", model_gguf(seed=12))
    with synced.open() as store:
        store.sync()
        assert store.show("oth").name == "oth"
        synced.put("models/othello-F16.gguf", model_gguf(seed=13))
        store.sync()
        with pytest.raises(Ambiguous, match="other"):
            store.show("othe")


def test_link_puts_real_names_into_a_folder(synced: Person, tmp_path: Path) -> None:
    with synced.open() as store:
        store.link("tiny-llama", tmp_path / "there")
        assert (tmp_path / "there" / "model.safetensors").samefile(store.path("tiny-llama") / "model.safetensors")
        assert (tmp_path / "there" / "config.json").stat().st_nlink == 1
        assert store.sync().nothing
        store.undo()
        assert not (tmp_path / "there" / "model.safetensors").exists()


def test_a_provider_that_vanishes_hides_nothing(synced: Person) -> None:
    root = synced.home / ".lmstudio"
    with synced.open() as store:
        store.sync()
        root.rename(synced.home / "unplugged")
        report = store.sync()
        assert any(issue.kind == "away" for issue in report.issues)
        assert store.show("other").variants[0].providers["lmstudio"].state == "away"
        (synced.home / "unplugged").rename(root)
        store.sync()
        assert store.show("other").variants[0].providers["lmstudio"].state == "linked"


def test_a_provider_that_is_turned_off_is_shown_nothing_any_more(synced: Person) -> None:
    with synced.open() as store:
        ours = store.show("other").variants[0].providers["jan"].paths
        adopted = synced.home / ".lmstudio/models/acme/Small-GGUF/Small-F16.gguf"
        store.set_provider("jan", on=False)
        store.set_provider("lmstudio", on=False)
        store.sync()
        assert not any(os.path.lexists(path) for path in ours)
        assert adopted.read_bytes() == GGUF, "what the person put there stays"
        assert store.sync().nothing
        store.set_provider("jan", on=True)
        store.sync()
        assert all(os.path.lexists(path) for path in ours)


def test_a_folder_that_the_person_left_for_another_loses_our_links_and_nothing_else(synced: Person) -> None:
    old, new = synced.home / ".local/share/nomic.ai/GPT4All", synced.home / "elsewhere"
    synced.put(".local/share/nomic.ai/GPT4All/mine.txt", b"mine")
    with synced.open() as store:
        names = {path.name for path in old.iterdir()} - {"mine.txt"}
        store.set_provider("gpt4all", root=new)
        store.sync()
        assert {path.name for path in new.iterdir()} == names
        assert [path.name for path in old.iterdir()] == ["mine.txt"]
        assert store.sync().nothing


HOUSE = b"""
from helixstore.providers.layout import Layout, Root
from helixstore.values import Format

class House(Layout):
    name, title, checked, formats = "house", "House", ("1",), (Format.GGUF,)
    def roots(self, env): return [Root(env.home / "house" / "models", "default")]
    def accepts(self, variant, facts): return None
    def project(self, variants, root, facts): return []
"""


def test_before_there_is_a_store_a_file_is_judged_and_every_program_counted(person: Person) -> None:
    model = person.put("Downloads/other-F16.gguf", model_gguf(seed=2))
    person.put("house/models/weights.bin", bytes(2 << 20))
    person.put(".config/helixstore/layouts/house.py", HOUSE)
    before = person.tree()
    verdicts = {one.provider: one.answer for one in HelixStore.compat_of(model, environ=person.environ)}
    assert verdicts["llamacpp"] == "yes"
    assert verdicts["vllm"] == "after conversion"
    [unread] = HelixStore.survey(person.environ).unread
    assert (unread.provider, unread.bytes) == ("house", 2 << 20)
    assert person.tree() == before


@as_root
def test_a_folder_that_may_not_be_written_into_is_named_once_and_left_alone(laptop: Person) -> None:
    folder = laptop.home / ".local/share/nomic.ai/GPT4All"
    folder.mkdir(parents=True)
    run("mount", "--bind", str(folder), str(folder))
    try:
        run("mount", "-o", "remount,bind,ro", str(folder))
        with laptop.open() as store:
            report = store.sync()
            assert [(one.kind, one.path) for one in report.issues] == [("failed", str(folder))]
            assert not [action for action in report.actions if action["path"].startswith(str(folder))]
            assert store.show("other").variants[0].providers["gpt4all"].reason == f"{folder} cannot be written to"
            assert store.sync().nothing, "it is not tried again and again"
    finally:
        run("umount", str(folder))
    with laptop.open() as store:
        store.sync()
        assert store.show("other").variants[0].providers["gpt4all"].state == "linked"


def test_after_leaving_nothing_is_taken_in_again(synced: Person) -> None:
    with synced.open() as store:
        store.leave()
        before = synced.tree(own=False)
        report = store.sync()
        assert report.adopted == ()
        assert report.issues == ()
    assert synced.tree(own=False) == before


def test_two_quantisations_in_one_repository_are_one_model(person: Person) -> None:
    person.put(".lmstudio/models/org/Real-GGUF/Real-F16.gguf", model_gguf(seed=21, file_type=1))
    person.put(".lmstudio/models/org/Real-GGUF/Real-BF16.gguf", model_gguf(seed=22, file_type=32))
    HelixStore.init(providers=["lmstudio", "llamacpp"], environ=person.environ)
    with person.open() as store:
        store.sync()
        [model] = store.shared_models()
        assert model.name == "Real-GGUF"
        assert len(model.variants) == 2
        assert all(variant.providers["llamacpp"].state == "linked" for variant in model.variants)
        assert store.sync().nothing


def test_a_store_on_another_disk_is_linked_by_way_of_stand_ins(person: Person) -> None:
    from support.disks import fresh_folder

    folder = fresh_folder()
    if folder.stat().st_dev == person.home.stat().st_dev:
        pytest.skip("there is no second disk here")
    try:
        HelixStore.init(folder / "store", every=True, environ=person.environ)
        with person.open() as store:
            store.add(tiny_hf(person.home / "x" / "tiny"))
            store.add(person.put("x/one-F16.gguf", GGUF))
            report = store.sync()
            assert report.nothing, "what cannot be done is not tried again and again"
            hf, gguf = store.show("tiny").variants[0].providers, store.show("one").variants[0].providers
            assert (hf["vllm"].state, hf["vllm"].link) == ("linked", "symlink")
            assert hf["fastchat"].state == "linked"
            assert (gguf["lmstudio"].state, gguf["lmstudio"].link) == ("linked", "symlink")
            assert gguf["llamacpp"].link == "hard"
            links = [path for path in person.home.rglob("*") if path.is_symlink() and path.readlink().is_absolute()]
            assert links
            assert all(str(path.readlink()).startswith(f"{folder}/store/farms/") for path in links)
            assert Path(gguf["lmstudio"].paths[0]).read_bytes() == GGUF
    finally:
        shutil.rmtree(folder)


def test_what_is_being_written_is_not_called_incomplete(synced: Person) -> None:
    """A download that goes on while a sync looks is told as such; one that nobody goes on with is incomplete."""
    whole = model_gguf(seed=21)
    part = synced.put("models/coming-F16.gguf", whole[:len(whole) // 2])
    with synced.open() as store:
        with part.open("ab") as writing:
            report = store.sync()
            assert report.issues == ()
            assert any(str(part) in note and "is being written" in note for note in report.notes)
        assert [issue.path for issue in store.sync().issues] == [str(part)]
        with part.open("ab") as writing:
            writing.write(whole[len(whole) // 2:])
        done = store.sync()
        assert done.issues == ()
        assert [one.path for one in done.adopted] == [str(part)]


def test_a_hash_that_a_program_needs_later_is_told_to_its_end(person: Person) -> None:
    """Ollama needs the SHA-256 of what was taken in without it: a reading of its own, in several parts."""
    large = person.put("models/large-F16.gguf", GGUF + bytes(7 << 20))
    HelixStore.init(providers=["lmstudio"], scan=[large.parent], environ=person.environ)
    with person.open() as store:
        store.sync()
    told: list[tuple[str, str, int, int]] = []
    with HelixStore(environ=person.environ, progress=lambda *one: told.append(one)) as store:
        store.set_provider("ollama", on=True)
        store.sync()
    read = [(done, total) for what, _, done, total in told if what == "hash"]
    assert len(read) > 2
    assert read == sorted(read)
    assert read[-1] == (large.stat().st_size, large.stat().st_size)
