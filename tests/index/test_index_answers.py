"""What the index answers: the same as the store's files say, by any name, and as cheaply as promised."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from index_support import HOST, gguf, many, new_store, publish, settle

from helixstore.errors import Ambiguous, NotFound
from helixstore.index import BlobRow, FarmRow, Index, Standing, path_from_refs
from helixstore.store.store import Store
from helixstore.values import Format, Key, LinkKind, Purpose, Source, State
from support.soak import SOAK


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path / "store")


@pytest.fixture
def index(tmp_path: Path, store: Store) -> Index:
    with Index.open(tmp_path / "index", store) as index:
        yield index


def keys(found: list[object]) -> list[str]:
    return [str(variant.key) for variant in found]      # type: ignore[attr-defined]


def test_an_empty_store_has_nothing(index: Index) -> None:
    assert index.refresh() is False
    assert index.variants() == []
    assert list(index.rows()) == []
    with pytest.raises(NotFound):
        index.find("anything")


def test_a_variant_comes_back_whole(store: Store, index: Index) -> None:
    sources = (Source("hub", repository="org/Repo", revision="ab" * 20),
               Source("program", program="ollama", name="a:b"))
    ref = publish(store, "Tiny", sources=sources, pinned=True)
    assert index.refresh() is True
    (variant,) = index.variants()
    assert (variant.key, variant.manifest) == (Key("Tiny", "gguf:F32"), ref.manifest)
    assert (variant.format, variant.quantization, variant.purpose) == (Format.GGUF, "F32", Purpose.MODEL)
    assert (variant.sources, variant.pinned) == (sources, True)
    header = variant.header
    assert (header.architecture, header.parameters, header.context_length) == ("llama", 32, 2048)
    assert variant.files[0].bytes == len(gguf("Tiny"))
    assert index.variant(variant.key) == variant
    assert index.variant(Key("tiny", "gguf:F32")) is None
    assert index.issues == []


def test_rows_hold_what_list_prints(store: Store, index: Index) -> None:
    for name in ("b", "A", "c"):
        publish(store, name)
    index.refresh()
    index.put_standings({Key("A", "gguf:F32"): {"ollama": Standing(State.LINKED), "jan": Standing(State.HIDDEN)}})
    rows = list(index.rows())
    assert [row["model"] for row in rows] == ["A", "b", "c"]
    assert rows[0] == {
        "model": "A", "id": "gguf:F32", "format": "gguf", "quantization": "F32", "architecture": "llama",
        "parameters": 32, "bytes": len(gguf("A")), "pinned": False, "providers": {"jan": "hidden", "ollama": "linked"}}
    assert rows[1]["providers"] == {}


NAMES = [
    "Llama-3", "LLAMA-3", "llama3.1:8b", "org/Llama-3-GGUF", "hf:org/llama-3-gguf", "hf.co/org/Llama-3-GGUF:Q8_0",
    "Llama-3-GGUF", "llama-3:q8_0", "llama-3:gguf", "llama-3:gguf:Q8_0", "Llama-3.gguf", "llama", "org/l",
    "llama-3@" + "cd" * 4, "org/Llama-3-GGUF@" + "cd" * 20, "llama-3:Q8_0@cdcd", "https://huggingface.co/org/Llama-3-GGUF",
]


def test_a_model_answers_to_every_name(store: Store, index: Index) -> None:
    publish(store, "Llama-3", "gguf:Q8_0", sources=(
        Source("hub", repository="org/Llama-3-GGUF", revision="cd" * 20),
        Source("program", program="ollama", name="llama3.1:8b")))
    publish(store, "Mistral", "gguf:Q8_0")
    index.refresh()
    for query in NAMES:
        assert keys(index.find(query)) == ["Llama-3 (gguf:Q8_0)"], query
        assert keys(path_from_refs(store, query)) == ["Llama-3 (gguf:Q8_0)"], query


def test_digests(store: Store, index: Index) -> None:
    ref = publish(store, "One")
    publish(store, "Two")
    index.refresh()
    (variant,) = index.find("One")
    index.learn(variant.files[0].blake3, sha256="5" * 64)
    assert ref.manifest is not None
    for query in (ref.manifest, ref.manifest[:6], ref.manifest[:7].upper(), variant.files[0].blake3[:9],
                  f"blake3:{variant.files[0].blake3}"):
        assert keys(index.find(query)) == keys(path_from_refs(store, query)) == ["One (gguf:F32)"]
    assert keys(index.find("sha256-" + "5" * 64)) == ["One (gguf:F32)"]
    assert index.find("One")[0].files[0].sha256 == "5" * 64, "a variant learns the other hashes of its blobs"
    with pytest.raises(NotFound):
        index.find("fffff0")


def test_what_fits_several_models_is_refused_with_their_names(store: Store, index: Index) -> None:
    publish(store, "qwen-a", content="same")
    publish(store, "qwen-b", content="same")
    publish(store, "other", sources=(Source("program", program="jan", name="qwen-a"),))
    index.refresh()
    for ask in (index.find, lambda query: path_from_refs(store, query)):
        assert keys(ask("qwen-a")) == ["qwen-a (gguf:F32)"], "a model's own name comes before a program's"
        digest = index.variant(Key("qwen-a", "gguf:F32")).files[0].blake3       # type: ignore[union-attr]
        for query in ("qwen", digest):
            with pytest.raises(Ambiguous, match="qwen-a, qwen-b"):
                ask(query)


def test_variants_of_one_model(store: Store, index: Index) -> None:
    for quantization in ("Q4_K_M", "Q8_0"):
        publish(store, "m", f"gguf:{quantization}", f"m {quantization}")
    twin = publish(store, "m", "gguf:Q8_0@12345678", "m twin")
    index.refresh()
    for ask in (index.find, lambda query: path_from_refs(store, query)):
        assert len(ask("m")) == 3
        assert keys(ask("m:q4_k_m")) == ["m (gguf:Q4_K_M)"]
        assert len(ask("m:Q8_0")) == 2
        assert keys(ask("m:gguf:Q8_0@12345678")) == ["m (gguf:Q8_0@12345678)"]
        assert keys(ask(f"m@{twin.manifest[:8]}")) == ["m (gguf:Q8_0@12345678)"]     # type: ignore[index]
        with pytest.raises(NotFound, match="no variant q5_0; it has gguf:Q4_K_M, gguf:Q8_0"):
            ask("m:Q5_0")


def test_a_version_before_the_current_one(store: Store, index: Index) -> None:
    old = publish(store, "m", content="old", sources=(Source("hub", repository="o/m", revision="1" * 40),))
    new = publish(store, "m", content="new", supersedes=(old.uuid,),
                  sources=(Source("hub", repository="o/m", revision="2" * 40),))
    index.refresh()
    for ask in (index.find, lambda query: path_from_refs(store, query)):
        assert [v.manifest for v in ask("m")] == [new.manifest]
        for query in ("m@1111", f"m@{old.manifest}", "m:F32@1111"):
            assert [v.manifest for v in ask(query)] == [old.manifest]
        with pytest.raises(NotFound, match="no version 3333"):
            ask("m@3333")


def test_what_is_not_there_names_what_is_near(store: Store, index: Index) -> None:
    publish(store, "Mistral-7B-Instruct")
    index.refresh()
    for ask in (index.find, lambda query: path_from_refs(store, query)):
        with pytest.raises(NotFound) as caught:
            ask("mistal-7b-instruct")
        assert "Mistral-7B-Instruct" in caught.value.remedy
        for query in ("", " ", "@", ":", "a:", ":q8", "@ab", "\0", "%", "\udcff", "x" * 5000, "[", "a@b:c@d"):
            with pytest.raises(NotFound):
                ask(query)


def test_names_beyond_ascii_compare_by_case_and_form(store: Store, index: Index) -> None:
    publish(store, "Größe")
    index.refresh()
    for name in ("größe", "GRÖSSE", "gro\u0308ße"):
        assert keys(index.find(name)) == keys(path_from_refs(store, name)) == ["Größe (gguf:F32)"], name


def test_a_withdrawn_name_is_gone_and_its_history_stays(store: Store, index: Index) -> None:
    ref = publish(store, "m")
    index.refresh()
    publish(store, "m", content=None, supersedes=(ref.uuid,))
    assert index.refresh() is True
    assert index.variants() == []
    for ask in (index.find, lambda query: path_from_refs(store, query)):
        with pytest.raises(NotFound):
            ask("m")
    assert len(index.claims()) == 2


def test_two_heads_are_an_issue_until_one_supersedes_both(store: Store, index: Index) -> None:
    one, two = publish(store, "m", content="1"), publish(store, "m", content="2")
    index.refresh()
    assert [issue.kind for issue in index.issues] == ["conflict"]
    assert len(index.variants()) == 1
    publish(store, "m", content="3", supersedes=(one.uuid, two.uuid))
    index.refresh()
    assert index.issues == []


def test_content_and_blobs(store: Store, index: Index) -> None:
    ref = publish(store, "m")
    index.refresh()
    assert ref.manifest is not None
    manifest = store.manifests.read(ref.manifest)
    assert index.content(manifest.content_key) == ref.manifest
    assert index.content("0" * 64) is None
    digest = manifest.files[0].blake3
    assert index.blob(digest) == BlobRow(digest, manifest.files[0].bytes)
    index.put_blobs([BlobRow(digest, manifest.files[0].bytes, inode=5, mtime_ns=6, ctime_ns=7)])
    index.put_blobs([BlobRow(digest, manifest.files[0].bytes, gitsha1="a" * 40)])
    assert index.blob(digest) == BlobRow(digest, manifest.files[0].bytes, None, "a" * 40, 5, 6, 7)
    assert index.variants()[0].files[0].gitsha1 == "a" * 40
    assert index.blob("0" * 64) is None
    figures = index.figures()
    assert (figures.models, figures.variants, figures.blobs, figures.bytes) == (1, 1, 1, manifest.files[0].bytes)


def test_what_cannot_be_read_is_named_each_time_and_taken_in_when_it_can(store: Store, index: Index) -> None:
    good, bad = publish(store, "good"), publish(store, "bad")
    assert bad.manifest is not None
    file = Path(store.manifests.path(bad.manifest))
    data = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(data[:-5])
    for _ in range(2):
        index.refresh()
        settle(store)
        assert keys(index.variants()) == [f"good ({good.variant})"]
        assert [issue.kind for issue in index.issues] == ["unreadable"]
    file.write_bytes(data)
    assert index.refresh() is True
    assert len(index.variants()) == 2
    assert index.issues == []


def test_a_blob_that_is_no_model_costs_its_header_only(store: Store, index: Index) -> None:
    ref = publish(store, "m")
    assert ref.manifest is not None
    path = store.blobs.path(store.manifests.read(ref.manifest).files[0].blake3)
    os.chmod(path, 0o644)
    Path(path).write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 40)
    index.refresh()
    assert index.variants()[0].header.architecture is None
    assert [issue.kind for issue in index.issues] == ["unreadable"]


def test_the_ledgers_copy(index: Index) -> None:
    root = "/home/ann/.lmstudio/models"
    key = Key("m", "gguf:F32")
    rows = [FarmRow(f"org/m{n}/\udcffx.gguf", "hard", "why", f"{n % 2:064x}", (key,), ("lmstudio",)) for n in range(6)]
    index.put_farm(root, rows)
    index.put_farm("/other", [FarmRow("a", "text")])
    assert index.farm_at(f"{root}/org/m3/\udcffx.gguf") == rows[3]._replace(root=root)
    assert index.farm_at(f"{root}/org") is None
    index.put_farm(root, [rows[1]._replace(manifest=f"{7:064x}"), FarmRow("new", "copy")], gone=[rows[3].path])
    assert index.farm_at(f"{root}/{rows[1].path}") == rows[1]._replace(manifest=f"{7:064x}", root=root)
    assert index.farm_at(f"{root}/{rows[5].path}") == rows[5]._replace(root=root)
    assert index.farm_at(f"{root}/org/m3/\udcffx.gguf") is None
    index.put_farm(root, rows[:1])
    assert index.farm_at(f"{root}/new") is None
    assert index.farm_at("/other/a") == FarmRow("a", "text", root="/other")
    index.put_farm("", [FarmRow("/home/ann/loose.gguf", "adopted")])
    assert index.farm_at("/home/ann/loose.gguf") == FarmRow("/home/ann/loose.gguf", "adopted")


def test_standings_of_some_providers_leave_the_others(index: Index) -> None:
    key, other = Key("m", "gguf:F32"), Key("n", "gguf:F32")
    linked = Standing(State.LINKED, LinkKind.HARD, ("/a", "/b"), "same file system")
    index.put_standings({key: {"ollama": linked, "jan": Standing(State.AWAY)}, other: {"jan": Standing(State.OFF)}})
    index.put_standings({key: {"jan": Standing(State.CONFLICT)}}, only=("jan",))
    assert index.standings([key])[key] == {"ollama": linked, "jan": Standing(State.CONFLICT)}
    index.put_standings({key: {"ollama": linked}})
    assert index.standings([key, other]) == {key: {"ollama": linked}, other: {}}


def test_states_of_any_name_and_size(index: Index) -> None:
    index.put_state("snapshot/" + "x" * 600, b"\0" * 5_000_000)
    assert index.state("snapshot/" + "x" * 600) == b"\0" * 5_000_000
    index.put_state("snapshot/" + "x" * 600, None)
    assert index.state("snapshot/" + "x" * 600) is None


def test_thousands_of_models(tmp_path: Path) -> None:
    """Floors with room for a busy machine; the benchmarks have the real ones."""
    count = 10_000 if SOAK else 2_000
    share = count / 10_000
    store = new_store(tmp_path / "store")
    many(store, count)
    settle(store)
    began = time.process_time()
    assert keys(path_from_refs(store, "model777")) == ["Model-00777-Instruct (gguf:Q4_K_M)"]
    without = time.process_time() - began
    with Index.open(tmp_path / "index", store) as index:
        index.refresh()
        assert index.issues == []
    for path in (store.path / "blobs").iterdir():       # not a blob is touched from here on
        path.rename(path.with_name(path.name + "-away"))
    with Index.open(tmp_path / "index", store) as index:
        began = time.process_time()
        assert index.refresh() is False
        nothing = time.process_time() - began
        assert len(list(index.rows())) == count
        rows = time.process_time() - began
        assert keys(index.find("org27/Model-00777-Instruct-GGUF:Q4_K_M")) == ["Model-00777-Instruct (gguf:Q4_K_M)"]
        assert keys(index.find("model-00777-i")) == ["Model-00777-Instruct (gguf:Q4_K_M)"]
        found = time.process_time() - began
    assert nothing < 0.02
    assert rows < 0.02 + 0.2 * share
    assert found < 0.02 + 0.4 * share
    assert without < 0.8 * share


def test_another_hosts_refs_count_too(store: Store, index: Index) -> None:
    from dataclasses import replace

    other = Store.open(store.path, replace(HOST, id="ffffffff00000000"))
    other.register()
    publish(other, "theirs")
    publish(store, "ours")
    index.refresh()
    assert keys(index.variants()) == ["ours (gguf:F32)", "theirs (gguf:F32)"]


def test_given_headers_are_not_read_again(store: Store, index: Index) -> None:
    from helixstore.values import Header

    ref = publish(store, "m")
    assert ref.manifest is not None
    index.remember_headers({ref.manifest: Header(architecture="told")})
    index.refresh()
    assert index.variants()[0].header.architecture == "told"
