from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import here, manifest

from helixstore.errors import UnsafeName
from helixstore.store.refs import Claim, Ref, claimant_of, current, heads
from helixstore.store.store import Store
from helixstore.values import Source

NAMES = ("model", "Model", "other")


@st.composite
def histories(draw: st.DrawFn) -> list[Ref]:
    """Refs of two people on two hosts, each superseding any of those before it, with clocks that may tie."""
    refs: list[Ref] = []
    for number in range(draw(st.integers(0, 10))):
        older = draw(st.lists(st.sampled_from([ref.uuid for ref in refs]), max_size=3)) if refs else []
        refs.append(Ref(f"{draw(st.integers(0, 999)):03}-{number}", draw(st.sampled_from("ab")),
                        draw(st.sampled_from([1, 2])), draw(st.sampled_from(NAMES)), "gguf:Q4",
                        draw(st.sampled_from([None, "1" * 64, "2" * 64])), (), False, tuple(older),
                        draw(st.integers(0, 3))))
    return refs


ME = ("a", 1)


def seen(refs: list[Ref], me: tuple[str, int] = ME) -> dict[tuple[str, str], Ref]:
    return {key: one.ref for key, one in heads(refs, me)[0].items()}


@given(histories(), st.randoms())
def test_the_order_of_reading_does_not_matter(refs: list[Ref], random: object) -> None:
    winners, issues = heads(refs, ME)
    shuffled = list(refs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again, others = heads(shuffled, ME)
    assert {key: (one.ref, set(one.sources)) for key, one in again.items()} == \
        {key: (one.ref, set(one.sources)) for key, one in winners.items()}
    assert sorted(map(str, others)) == sorted(map(str, issues))
    assert current(shuffled) == current(refs)


@given(histories())
def test_of_ones_own_claims_the_latest_counts_and_the_rest_is_reported(refs: list[Ref]) -> None:
    living = [ref for ref in current(refs) if ref.claimant == ME]
    winners, issues = seen(refs), heads(refs, ME)[1]
    for ref in living:
        rivals = [other for other in living if other.name.casefold() == ref.name.casefold()]
        last = max(rivals, key=lambda other: (other.mtime_ns, other.uuid))
        assert winners.get((last.name, last.variant)) == (last if last.manifest else None)
        differing = len({other.manifest for other in rivals}) > 1
        assert any(issue.path == last.name for issue in issues) == differing
    assert all(winner in current(refs) for winner in winners.values())
    assert len({name.casefold() for name, _ in winners}) == len(winners)


@given(histories(), histories())
def test_nobody_changes_what_another_claims_or_sees_under_a_name_of_theirs(refs: list[Ref], more: list[Ref]) -> None:
    theirs = [replace(ref, uuid=f"x{ref.uuid}", host="c", supersedes=tuple(r.uuid for r in refs)) for ref in more]
    assert [ref for ref in current([*refs, *theirs]) if ref.host != "c"] == current(refs)
    mine = {(ref.name.casefold(), ref.variant) for ref in current(refs) if ref.claimant == ME}
    before, after = ({(name.casefold(), variant): ref for (name, variant), ref in seen(known).items()}
                     for known in (refs, [*refs, *theirs]))
    assert all(before.get(name) == after.get(name) for name in mine)


def test_who_follows_sees_what_is_led_until_it_is_led_no_more() -> None:
    one, two, bad = ("1" * 64, "2" * 64, "3" * 64)

    def ref(uuid: str, host: str, manifest: str | None, at: int, follows: str | None = None, *old: str) -> Ref:
        return Ref(uuid, host, 1, "m", "gguf:Q4", manifest, (), False, old, at, follows)

    led, following = ref("1", "b", one, 1), ref("2", "a", one, 2, "b/1")
    updated = ref("3", "b", two, 3, None, "1")
    another = ref("4", "c", bad, 0)
    assert seen([another, led]) == {("m", "gguf:Q4"): another}, "who claimed the name first"
    assert seen([led, following, another]) == {("m", "gguf:Q4"): led}
    assert seen([led, following, another, updated]) == {("m", "gguf:Q4"): updated}
    assert not heads([led, following, updated], ME)[0]["m", "gguf:Q4"].claimed
    gone = ref("5", "b", None, 4, None, "3")
    assert seen([led, following, another, updated, gone]) == {("m", "gguf:Q4"): following}
    mine = ref("6", "a", None, 5, None, "2")
    assert seen([led, following, another, updated, mine]) == {}, "what I withdrew stays away, whoever has it"


def test_the_hubs_names_count_of_oneself_of_the_steward_and_when_proven() -> None:
    """Of one content under one name: each of these words alone, and none of the others; whoever leads."""
    names = {who: Source("hub", f"org/{who}", "a" * 40) for who in ("mine", "elsewhere", "steward", "liar", "proven")}
    program = Source("program", program="ollama", name="m:latest")
    refs = [Ref("1", "b", 3, "m", "gguf:Q4", "1" * 64, (names["liar"],), False, (), 1),
            Ref("2", "b", 4, "m", "gguf:Q4", "1" * 64, (names["proven"], program), False, (), 2),
            Ref("3", "b", 5, "m", "gguf:Q4", "1" * 64, (names["steward"],), False, (), 3, by_steward=True),
            Ref("4", "b", 1, "m", "gguf:Q4", "1" * 64, (names["elsewhere"],), False, (), 4),
            Ref("5", "c", 3, "m", "gguf:Q4", "2" * 64, (names["mine"],), False, (), 5)]

    def counts(ref: Ref, source: Source) -> bool:
        return ref.uid == ME[1] or ref.by_steward or source == names["proven"]

    [alone] = heads(refs, ME, counts)[0].values()
    assert alone.sources == (names["proven"], names["steward"], names["elsewhere"])
    assert [(one.source, one.by) for one in alone.said] == [(names["liar"], "b/3")]
    own = Ref("6", "a", 1, "m", "gguf:Q4", "1" * 64, (program, names["liar"]), False, (), 6)
    [told] = heads([*refs, own], ME, counts)[0].values()
    assert told.sources[:2] == (program, names["liar"]), "what I have proven myself is not in doubt by another's word"
    assert told.said == ()


def test_in_a_groups_store_a_name_counts_by_its_proof(store: Store) -> None:
    """`Refs.counts`, which the index and the search without one go by."""
    digest = store.manifests.write(manifest("1" * 64))
    ref = store.refs.publish("m", "gguf:Q4", digest, [Source("hub", "org/m", "a" * 40)])
    other = replace(ref, uid=ref.uid + 1, by_steward=False)
    assert store.refs.counts(other, other.sources[0]), "in a store of one's own all is one's own"
    object.__setattr__(store.refs._sharing, "shared", True)
    assert store.refs.counted(other) == (), "without proofs nobody is believed"
    assert store.refs.counted(replace(other, by_steward=True)) == ref.sources
    assert store.refs.counted(ref) == ref.sources
    store.refs.proofs = Proof()
    assert store.refs.counted(other) == ref.sources
    assert store.refs.counted(replace(other, manifest="2" * 64)) == (), "a proof is of one content"


class Proof:
    """Says that org/m is what `manifest("1" * 64)` names."""

    mark = "1"

    def proven(self, source: Source, digest: str) -> bool:
        return source.repository == "org/m" and digest != "2" * 64


def test_only_the_owner_of_the_store_withdraws_for_everyone(store: Store) -> None:
    digest = store.manifests.write(manifest("1" * 64))
    theirs = Store.open(store.path, here(name="host2")).refs.publish("m", "gguf:Q4", digest)
    word = store.refs.publish("m", "gguf:Q4", None, supersedes=[theirs.id], everyone=True)
    assert current(store.refs.scan()[0]) == [word]
    if os.geteuid() == 0:
        os.chown(store.path / word.path, 12345, -1)
        assert theirs in current(store.refs.scan()[0])


def test_a_name_moves_is_withdrawn_and_comes_back(store: Store) -> None:
    one, two = (store.manifests.write(manifest(digit * 64)) for digit in "12")
    sources = [Source("hub", "org/model", "a" * 40), Source("program", program="ollama", name="model:8b")]
    first = store.refs.publish("Mödel", "gguf:Q4", one, sources)
    second = store.refs.publish("Mödel", "gguf:Q4", two, sources, pinned=True, supersedes=[first.uuid])
    refs, issues = store.refs.scan()
    assert issues == []
    assert sorted(refs, key=lambda ref: ref.mtime_ns) == sorted([first, second], key=lambda ref: ref.mtime_ns)
    assert seen(refs, claimant_of(store.host)) == {("Mödel", "gguf:Q4"): second}
    gone = store.refs.publish("Mödel", "gguf:Q4", None, supersedes=[second.uuid])
    assert seen(store.refs.scan()[0], claimant_of(store.host)) == {}
    back = store.refs.publish("Mödel", "gguf:Q4", two, sources, supersedes=[gone.uuid])
    assert seen(store.refs.scan()[0], claimant_of(store.host)) == {("Mödel", "gguf:Q4"): back}
    assert len(store.refs.scan()[0]) == 4, "history stays"
    assert store.refs.scan(known={first.id, second.id, gone.id})[0] == [back]


def test_unchanged_folders_are_not_even_listed(store: Store) -> None:
    digest = store.manifests.write(manifest("1" * 64))
    store.refs.publish_many([Claim(str(number), "gguf:Q4", digest) for number in range(5)])
    folders = store.refs.folders()
    other = Store.open(store.path, here(name="host2"))
    new = other.refs.publish("new", "gguf:Q4", digest)
    assert set(other.refs.folders()) - set(folders) == {f"host2/{os.geteuid()}"}
    assert store.refs.scan(unchanged=set(folders)) == ([new], [])
    assert store.refs.folders() == other.refs.folders()


@pytest.mark.parametrize("damage", ["empty", "cut", "schema", "folder", "fifo", "link", "manifest", "names"])
def test_a_damaged_ref_is_an_issue_and_the_others_are_read(store: Store, damage: str) -> None:
    digest = store.manifests.write(manifest("1" * 64))
    good = store.refs.publish("good", "gguf:Q4", digest)
    bad = store.path / store.refs.publish("bad", "gguf:Q4", digest).path
    data = bad.read_bytes()
    bad.unlink()
    if damage == "folder":
        bad.mkdir()
    elif damage == "fifo":
        os.mkfifo(bad)
    elif damage == "link":
        bad.symlink_to(store.path / good.path)
    else:
        bad.write_bytes({"empty": b"", "cut": data[:20], "schema": data.replace(b'"schema":1', b'"schema":9'),
                         "manifest": data.replace(digest.encode(), b"../../x"),
                         "names": data.replace(b'"bad"', b"7")}[damage])
    refs, issues = store.refs.scan()
    assert refs == [good]
    assert [issue.path for issue in issues] == [str(bad)]


def test_what_is_not_utf8_or_no_digest_is_refused_before_anything_is_written(store: Store) -> None:
    for claim in (("bad\udcff", "1" * 64), ("x", "../x")):
        with pytest.raises(UnsafeName):
            store.refs.publish(claim[0], "gguf:Q4", claim[1])
    assert store.refs.scan() == ([], [])
    assert list(Path(store.path / "staging").iterdir()) == []
