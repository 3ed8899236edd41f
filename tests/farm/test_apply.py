"""What sync makes, repairs, removes, leaves alone: on real folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from farmland import Land, add_lines, inner, text, tree

from helixstore.errors import Busy, PlanOutdated
from helixstore.farm.desired import join
from helixstore.farm.plan import Plan
from helixstore.fs import kernel
from helixstore.providers.layout import Entry
from helixstore.values import Key, LinkKind, State

A, B = Key("a", "gguf:Q4_K_M"), Key("b", "gguf:Q8_0")


def model(land: Land, key: Key, data: bytes) -> list[Entry]:
    return [land.weight(f"{key.model}/model.gguf", data, key), land.copy(f"{key.model}/config.json", b"{" + data, key),
            text(f"{key.model}/model.yml", b"name: " + key.model.encode(), key)]


def ops(plan: Plan) -> list[str]:
    return [f"{action.op} {action.path}" for action in plan.actions if action.op not in ("refresh", "forget", "record")]


def test_makes_in_order_and_then_has_nothing_to_do(land: Land) -> None:
    entries = [*model(land, A, b"AAAA"), inner("a/current", "model.gguf", A), text("list.ini", b"a\n", None, order=2)]
    outcome = land.sync(*entries)
    assert not outcome.issues
    assert ops(outcome.plan) == ["folder ", "folder a", "make a/model.gguf", "make a/config.json", "make a/model.yml",
                                 "make a/current", "make list.ini"]
    assert land.tree() == {"a/model.gguf": b"AAAA", "a/config.json": b"{AAAA", "a/model.yml": b"name: a",
                           "a/current": "model.gguf", "list.ini": b"a\n"}
    blob = land.store.blobs.path(land.blob(b"AAAA")[0])
    assert os.path.samefile(blob, f"{land.root}/a/model.gguf")
    assert not os.path.samefile(land.store.blobs.path(land.blob(b"{AAAA")[0]), f"{land.root}/a/config.json")
    again = land.farm.plan([land.wanted(*entries)])
    assert again.empty
    assert not again.actions
    assert again.unchanged == 5
    assert land.farm.states()["p", A].state is State.LINKED


def test_nothing_is_left_in_staging_or_beside(land: Land) -> None:
    land.sync(*model(land, A, b"AAAA"))
    land.sync(*model(land, A, b"BBBB"))
    assert not os.listdir(land.store.path / "staging")
    assert set(land.tree()) == {"a/model.gguf", "a/config.json", "a/model.yml"}


def test_new_version_replaces_and_goodbye_removes_all_that_is_ours(land: Land) -> None:
    land.sync(*model(land, A, b"AAAA"))
    (Path(land.root) / "a" / "mine.txt").write_text("the person's")
    outcome = land.sync(*model(land, A, b"CCCC"))
    assert ops(outcome.plan) == ["replace a/model.gguf", "replace a/config.json"]
    assert land.tree()["a/model.gguf"] == b"CCCC"
    land.farm.apply(land.farm.plan([land.wanted()]))
    assert land.tree() == {"a/mine.txt": b"the person's"}
    assert land.farm.plan([land.wanted()]).empty


def test_deleted_witness_hides_and_other_files_are_repaired(land: Land) -> None:
    entries = [*model(land, A, b"AAAA"), *model(land, B, b"BBBB")]
    land.sync(*entries)
    os.unlink(f"{land.root}/a/config.json")
    assert ops(land.sync(*entries).plan) == ["make a/config.json"]
    os.unlink(f"{land.root}/a/model.gguf")
    plan = land.farm.plan([land.wanted(*entries)])
    assert not list(land.farm.intent.hidden())                         # not at plan
    land.farm.apply(plan)
    assert set(land.tree()) == {"b/model.gguf", "b/config.json", "b/model.yml"}
    assert land.farm.plan([land.wanted(*entries)]).empty
    assert land.farm.states()["p", A].state is State.HIDDEN
    assert "p" in land.farm.intent.withheld([_variant(A)])
    land.sync(*entries, restore=True)
    assert land.tree()["a/model.gguf"] == b"AAAA"
    assert not land.farm.intent.hidden()


def _variant(key: Key):  # type: ignore[no-untyped-def]
    from helixstore.values import Format, Header, Purpose, Variant
    return Variant(key, "0" * 64, Format.GGUF, "Q4_K_M", Purpose.MODEL, Header(), ())


def test_emptied_root_hides_missing_root_is_away(land: Land) -> None:
    entries = model(land, A, b"AAAA")
    land.sync(*entries)
    os.rename(land.root, land.root + ".gone")
    plan = land.farm.plan([land.wanted(*entries)])
    assert plan.empty
    assert [s.state for s in plan.states] == [State.AWAY]
    assert [i.kind for i in plan.issues] == ["away"]
    os.mkdir(land.root)                                                # another folder with the same name
    assert land.farm.plan([land.wanted(*entries)]).empty
    assert land.farm.away()
    os.rmdir(land.root)
    os.rename(land.root + ".gone", land.root)                          # the disk is back
    assert land.farm.plan([land.wanted(*entries)]).empty
    for name in land.tree():
        os.unlink(f"{land.root}/{name}")
    land.sync(*entries)
    assert land.farm.states()["p", A].state is State.HIDDEN
    assert land.tree() == {}


def test_deleted_root_comes_back_only_when_asked(land: Land) -> None:
    entries = model(land, A, b"AAAA")
    land.sync(*entries)
    for name in land.tree():
        os.unlink(f"{land.root}/{name}")
    os.rmdir(f"{land.root}/a")
    os.rmdir(land.root)
    assert land.sync(*entries).plan.empty
    land.sync(*entries, restore=True)
    assert land.tree()["a/model.gguf"] == b"AAAA"


@pytest.mark.parametrize("foreign", ["file", "link", "dangling", "folder", "same size", "folder is a file"])
def test_what_is_in_the_way_is_a_conflict_and_stays(land: Land, foreign: str) -> None:
    path = Path(land.root) / "a" / "model.gguf"
    path.parent.parent.mkdir()
    if foreign == "folder is a file":
        path.parent.write_bytes(b"a file")
    else:
        path.parent.mkdir()
    if foreign == "file":
        path.write_bytes(b"somebody's own model")
    elif foreign == "same size":
        path.write_bytes(b"BBBB")
    elif foreign == "link":
        path.symlink_to("/etc/hostname")
    elif foreign == "dangling":
        path.symlink_to("/nowhere/at/all")
    elif foreign == "folder":
        path.mkdir()
    before = land.tree()
    outcome = land.sync(*model(land, A, b"AAAA"), *model(land, B, b"BBBB"))
    after = land.tree()
    assert {name: data for name, data in after.items() if not name.startswith("b/")} == before
    assert after["b/model.gguf"] == b"BBBB"                            # the other model is not held up
    assert land.farm.states()["p", A].state is State.CONFLICT
    issue = next(i for i in outcome.plan.issues if i.kind == "conflict")
    assert str(A) in issue.message
    assert issue.remedy


def test_what_lay_there_already_is_adopted_and_never_removed(land: Land) -> None:
    entries = [*model(land, A, b"AAAA"), inner("a/current", "model.gguf", A)]
    os.makedirs(f"{land.root}/a")
    os.link(land.store.blobs.path(land.blob(b"AAAA")[0]), f"{land.root}/a/model.gguf")
    Path(land.root, "a", "config.json").write_bytes(b"{AAAA")
    Path(land.root, "a", "model.yml").write_bytes(b"name: a")
    os.symlink("model.gguf", f"{land.root}/a/current")
    before = land.tree()
    plan = land.farm.plan([land.wanted(*entries)])
    assert [action.op for action in plan.actions] == ["record"] * 4
    land.farm.apply(plan)
    assert land.farm.states()["p", A].state is State.LINKED
    land.farm.apply(land.farm.plan([land.wanted()]))
    assert land.tree() == before


def test_changed_copy_is_modified_and_left(land: Land) -> None:
    entries = model(land, A, b"AAAA")
    land.sync(*entries)
    config = Path(land.root, "a", "config.json")
    config.write_bytes(b"{my own settings")
    land.sync(*entries)
    assert config.read_bytes() == b"{my own settings"
    assert land.farm.states()["p", A].state is State.MODIFIED
    land.sync(*model(land, A, b"CCCC"))
    assert config.read_bytes() == b"{my own settings"
    assert land.tree()["a/model.gguf"] == b"CCCC"
    land.farm.apply(land.farm.plan([land.wanted()]))
    assert land.tree() == {"a/config.json": b"{my own settings"}


def test_touched_is_not_changed(land: Land) -> None:
    entries = model(land, A, b"AAAA")
    land.sync(*entries)
    for name in land.tree():
        os.utime(f"{land.root}/{name}", (1, 1))
    assert land.farm.plan([land.wanted(*entries)]).empty
    land.sync(*entries)
    assert not land.farm.plan([land.wanted(*entries)]).actions


def test_sidecars_are_merged_three_way(land: Land) -> None:
    def listed(*names: bytes) -> Entry:
        return text("list.ini", b"\n".join(names) + b"\n", None, add_lines, order=2)

    land.sync(listed(b"a", b"b"))
    path = Path(land.root, "list.ini")
    path.write_bytes(b"a\nb\nmine\n")
    assert land.sync(listed(b"a", b"b")).plan.empty
    assert path.read_bytes() == b"a\nb\nmine\n"
    land.sync(listed(b"b", b"c"))
    assert path.read_bytes() == b"b\nc\nmine\n"                        # ours moved on, theirs stayed
    assert land.farm.plan([land.wanted(listed(b"b", b"c"))]).empty
    path.write_bytes(b"\0 not text")
    outcome = land.sync(listed(b"d"))
    assert path.read_bytes() == b"\0 not text"
    assert [i.kind for i in outcome.plan.issues] == ["conflict"]


def test_a_file_of_the_person_that_we_wrote_into_is_given_back(land: Land) -> None:
    os.mkdir(land.root)
    path = Path(land.root, "settings.ini")
    path.write_bytes(b"theirs\n")
    entry = text("settings.ini", b"ours\n", None, add_lines, order=2)
    land.sync(entry)
    assert path.read_bytes() == b"ours\ntheirs\n"
    land.sync(text("settings.ini", b"ours too\n", None, add_lines, order=2))
    assert path.read_bytes() == b"ours too\ntheirs\n"
    land.farm.apply(land.farm.plan([land.wanted()]))
    assert path.read_bytes() == b"theirs\n"


def test_sidecar_without_merge_that_was_changed_is_a_conflict(land: Land) -> None:
    land.sync(*model(land, A, b"AAAA"))
    path = Path(land.root, "a", "model.yml")
    path.write_bytes(b"edited")
    outcome = land.sync(*model(land, A, b"AAAA"))
    assert path.read_bytes() == b"edited"
    assert [i.kind for i in outcome.plan.issues] == ["conflict"]


def test_a_link_that_was_replaced_is_the_persons(land: Land) -> None:
    land.sync(*model(land, A, b"AAAA"))
    path = Path(land.root, "a", "model.gguf")
    path.unlink()
    path.write_bytes(b"downloaded by the program")
    land.sync(*model(land, A, b"CCCC"))
    assert path.read_bytes() == b"downloaded by the program"
    land.farm.apply(land.farm.plan([land.wanted()]))
    assert land.tree() == {"a/model.gguf": b"downloaded by the program"}


def test_missing_blob_is_incomplete_and_nothing_of_the_model_is_shown(land: Land) -> None:
    entries = model(land, A, b"AAAA")
    os.unlink(land.store.blobs.path(land.blob(b"{AAAA")[0]))
    land.sync(*entries)
    assert land.tree() == {}
    assert land.farm.states()["p", A].state is State.INCOMPLETE


def test_two_providers_share_a_root(land: Land) -> None:
    entries = model(land, A, b"AAAA")
    both, issues = join(land.root, [("p", entries), ("q", entries)])
    assert not issues
    land.farm.apply(land.farm.plan([both]))
    assert {place[0] for place in land.farm.states()} == {"p", "q"}
    land.sync(*entries)                                                # q is off now
    assert land.tree()["a/model.gguf"] == b"AAAA"
    assert {place[0] for place in land.farm.states()} == {"p"}


def test_join_refuses_what_cannot_be(land: Land) -> None:
    def joined(*entries: Entry, other: tuple[Entry, ...] = ()) -> tuple[set[str], int]:
        root, issues = join("/r", [("p", entries), ("q", other)])
        return set(root.entries), len(issues)

    assert joined(text("x", b"1", A), other=(text("x", b"2", B), text("y", b"2", B))) == (set(), 1)
    assert joined(text("x", b"1", A), text("X", b"1", B), text("z", b"", Key("c", "v"))) == ({"z"}, 1)
    assert joined(text("x", b"1", A), text("x/y", b"1", B)) == (set(), 1)
    for name in ("../x", "/x", "", "a//b", "a/./b", "con", "a/nul.txt", "x.", "a\nb", "a\\b"):
        assert joined(text(name, b"1", A)) == (set(), 1), name
    assert joined(text("é/ü.gguf", b"1", A)) == ({"é/ü.gguf"}, 0)


def test_what_a_program_prunes_is_made_again_or_withdrawn(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    from helixstore.farm.apply import Executor
    pruned = []
    honest = Executor.look_again

    def prune_once(self: Executor) -> None:
        os.unlink(f"{land.root}/a/model.gguf")
        honest(self)

    monkeypatch.setattr(Executor, "look_again", prune_once)
    land.sync(*model(land, A, b"AAAA"))
    assert land.tree()["a/model.gguf"] == b"AAAA"

    def prune_always(self: Executor, action):  # type: ignore[no-untyped-def]
        letter = make(self, action)
        if action.path == "b/model.gguf":
            pruned.append(os.unlink(f"{land.root}/b/model.gguf"))
        return letter

    make = Executor.make
    monkeypatch.setattr(Executor, "look_again", honest)
    monkeypatch.setattr(Executor, "make", prune_always)
    outcome = land.sync(*model(land, A, b"AAAA"), *model(land, B, b"BBBB"))
    assert len(pruned) == 4
    assert set(land.tree()) == {"a/model.gguf", "a/config.json", "a/model.yml"}
    assert outcome.issues
    assert land.farm.states()["p", B].state is State.PENDING


def test_saved_plan_is_strict(land: Land) -> None:
    entries = model(land, A, b"AAAA")
    saved = land.farm.plan([land.wanted(*entries)]).encode()
    assert Plan.decode(saved).encode() == saved
    os.makedirs(f"{land.root}/a")
    with pytest.raises(PlanOutdated):
        land.farm.apply(Plan.decode(saved), strict=True)
    assert land.tree() == {}
    fresh = land.farm.plan([land.wanted(*entries)]).encode()
    land.farm.apply(Plan.decode(fresh), strict=True)
    assert land.tree()["a/model.gguf"] == b"AAAA"
    with pytest.raises(PlanOutdated):
        land.farm.apply(Plan.decode(fresh), strict=True)
    for rubbish in (b"", b"{}", b"[]", b'{"schema": 2}', saved[:-9]):
        with pytest.raises(PlanOutdated):
            Plan.decode(rubbish)


def test_one_at_a_time(land: Land) -> None:
    other = land.another()
    with land.farm.locked(), pytest.raises(Busy, match=str(os.getpid())):
        other.apply(other.plan([land.wanted(*model(land, A, b"AAAA"))]))
    assert land.tree() == {}


def test_two_plans_of_the_same_thing_end_as_one(land: Land) -> None:
    wanted = land.wanted(*model(land, A, b"AAAA"))
    first, other = land.farm, land.another()
    plans = first.plan([wanted]), other.plan([wanted])
    first.apply(plans[0])
    assert not other.apply(plans[1]).issues
    first.apply(first.plan([land.wanted()]))
    assert tree(land.root) == {}


def test_weights_only_as_the_layout_allows(land: Land) -> None:
    land.sync(land.weight("s.gguf", b"AAAA", A, kinds=(LinkKind.SYMBOLIC,)))
    blob = land.store.blobs.path(land.blob(b"AAAA")[0])
    assert "/blobs/" not in os.readlink(f"{land.root}/s.gguf")
    assert os.path.samefile(f"{land.root}/s.gguf", blob)
    land.sync(land.weight("s.gguf", b"AAAA", A, kinds=(LinkKind.HARD,)))
    assert not os.path.islink(f"{land.root}/s.gguf")
    land.sync(land.weight("s.gguf", b"AAAA", A, kinds=(LinkKind.COPY,)))
    assert os.stat(f"{land.root}/s.gguf").st_nlink == 1
    assert os.stat(f"{land.root}/s.gguf").st_mode & 0o200
    assert land.farm.states()["p", A].link is LinkKind.COPY


def test_what_somebody_puts_in_the_place_of_a_new_link_is_theirs(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two system calls of a hard link the person's own file takes its name."""
    real = kernel.hard_link

    def overtaken(source: str, target: str, plain: bool = False) -> None:
        real(source, target, plain=plain)
        if target.endswith("model.gguf"):
            os.unlink(target)
            Path(target).write_bytes(b"the person's own, longer")

    monkeypatch.setattr(kernel, "hard_link", overtaken)
    outcome = land.sync(*model(land, A, b"AAAA"))
    assert (Path(land.root) / "a" / "model.gguf").read_bytes() == b"the person's own, longer"
    assert ("p", A) in {(provider, key) for _, provider, key in outcome.failed}
    monkeypatch.undo()
    assert land.sync(*model(land, A, b"AAAA")).plan.issues[0].kind == "conflict"
    assert (Path(land.root) / "a" / "model.gguf").read_bytes() == b"the person's own, longer"
