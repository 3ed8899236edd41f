"""The Hugging Face cache against its written contract, and as the hub's own client reads and deletes it."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache
from huggingface_hub.utils import validate_repo_id
from hypothesis import given, settings
from hypothesis import strategies as st

from helixstore.errors import LayoutError
from helixstore.farm.desired import join
from helixstore.layouts.mistralrs import MistralRs
from helixstore.layouts.mlx import MLX
from helixstore.layouts.parts.hf_folders import folder_names, is_repository, repository_name
from helixstore.layouts.parts.hub_cache import KINDS, hub_root, project
from helixstore.layouts.vllm import VLLM
from helixstore.providers.layout import Copy, Entry, Facts, Inner, Root, Text, Weight
from helixstore.providers.reader import DiskReader
from helixstore.values import Format, Header, Key, LinkKind, Purpose, Source, Variant
from support.layouts import COMMIT, FACTS, PlainReader, Shelf, check_entries, hub, json_bytes, materialise, sandbox

OTHER = "b" * 40


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def by_path(entries: list[Entry]) -> dict[str, Entry]:
    return {entry.path: entry for entry in entries}


def lay(cache: Path, shelf: Shelf, *variants: Variant) -> list[Entry]:
    entries = list(project(variants, FACTS))
    check_entries(entries, variants)
    materialise(cache, entries, shelf.blobs)
    return entries


def untouched(shelf: Shelf) -> None:
    """Every blob of the shelf still holds the bytes that its variant was built of, and is read-only."""
    from blake3 import blake3

    for digest, path in shelf.blobs.items():
        assert blake3(path.read_bytes()).hexdigest() == digest
        assert path.stat().st_mode & 0o777 == 0o444


class TestProjection:
    def test_the_minimal_entry_of_the_contract(self, shelf: Shelf) -> None:
        variant = shelf.hf(sources=[hub("acme/tiny")])
        entries = by_path(list(project([variant], FACTS)))
        repository = "models--acme--tiny"
        assert entries[f"{repository}/refs/main"].body == Text(COMMIT.encode())
        for file in variant.files:
            etag = file.sha256 if file.path == "model.safetensors" else file.gitsha1
            assert entries[f"{repository}/snapshots/{COMMIT}/{file.path}"].body == Inner(f"../../blobs/{etag}")
            body = entries[f"{repository}/blobs/{etag}"].body
            expected = (Weight(file.blake3, file.bytes, KINDS)
                        if file.path == "model.safetensors" else Copy(file.blake3, file.bytes))
            assert body == expected
        assert len(entries) == 1 + 2 * len(variant.files)

    def test_weights_are_never_symlinks_out_of_the_cache(self, shelf: Shelf) -> None:
        variants = [shelf.hf(sources=[hub("a/b")]), shelf.gguf(sources=[hub("a/c")]), shelf.mlx(), shelf.gptq()]
        for entry in project(variants, FACTS):
            if isinstance(entry.body, Weight):
                assert LinkKind.SYMBOLIC not in entry.body.kinds

    def test_links_of_files_in_folders_reach_the_blobs(self, shelf: Shelf, cache: Path) -> None:
        variant = shelf.hf(extra={"a/b/c.json": b"{}"}, sources=[hub("acme/tiny")])
        lay(cache, shelf, variant)
        deep = cache / "models--acme--tiny/snapshots" / COMMIT / "a/b/c.json"
        assert os.readlink(deep).startswith("../../../../blobs/")
        assert deep.read_bytes() == b"{}"

    def test_lfs_files_that_are_no_weights_are_named_by_sha256(self, shelf: Shelf) -> None:
        variant = shelf.hf(extra={"tokenizer.model": b"sp"}, sources=[hub("acme/tiny")])
        entries = by_path(list(project([variant], FACTS)))
        target = entries[f"models--acme--tiny/snapshots/{COMMIT}/tokenizer.model"].body
        assert target == Inner(f"../../blobs/{hashlib.sha256(b'sp').hexdigest()}")

    def test_order_puts_blobs_first_and_refs_last(self, shelf: Shelf) -> None:
        for entry in project([shelf.hf(sources=[hub("acme/tiny")])], FACTS):
            assert entry.order == {"blobs": 0, "snapshots": 1, "refs": 2}[entry.path.split("/")[1]]

    def test_no_name_of_our_own_holds_code_or_pickles(self, shelf: Shelf) -> None:
        extra = {"modeling_x.py": b"import os", "sub/more.PY": b"", "pytorch_model.bin": b"pickle"}
        local, real = shelf.hf("mine", extra=extra), shelf.hf("theirs", extra=extra, sources=[hub("acme/theirs")])
        paths = [entry.path for entry in project([local, real], FACTS)]
        ours = [path for path in paths if path.startswith("models--local-x7--")]
        assert ours
        assert not [path for path in ours if path.casefold().endswith((".py", ".bin"))]
        assert f"models--acme--theirs/snapshots/{COMMIT}/modeling_x.py" in paths
        assert not [path for path in paths if path.endswith(".bin")]

    def test_gguf_enters_only_under_its_repository(self, shelf: Shelf) -> None:
        loose, real = shelf.gguf("loose"), shelf.gguf("real", seed=1, sources=[hub("acme/real-GGUF")])
        entries = list(project([loose, real], FACTS))
        assert {entry.key for entry in entries} == {real.key}
        assert f"models--acme--real-GGUF/snapshots/{COMMIT}/real-Q4_K_M.gguf" in by_path(entries)

    def test_gguf_under_another_name_is_not_the_commits(self, shelf: Shelf) -> None:
        """The same bytes came from a download folder first; the commit has no file of that name."""
        listed = replace(hub("acme/m-GGUF"), name="m-Q4_K_M.gguf")
        assert list(project([shelf.gguf("m", stem="download (1)", sources=[listed])], FACTS)) == []
        assert list(project([shelf.gguf("m", sources=[listed])], FACTS)) != []
        renamed = shelf.gguf("m", stem="renamed", sources=[listed, replace(hub("b/m-GGUF"), name="renamed.gguf")])
        assert {entry.path.split("/")[0] for entry in project([renamed], FACTS)} == {"models--b--m-GGUF"}

    def test_a_commit_that_is_no_commit_is_not_pretended(self, shelf: Shelf) -> None:
        for source in (hub("acme/tiny", "main"), hub("../../etc", COMMIT), hub("a--b/c", COMMIT), hub("a/b/c", COMMIT)):
            paths = [entry.path for entry in project([shelf.hf(sources=[source])], FACTS)]
            assert all(path.startswith("models--local-x7--tiny-hf/") for path in paths)

    def test_our_own_commit_is_hexadecimal_follows_the_content_and_is_marked(self, shelf: Shelf) -> None:
        first, second = shelf.hf(), shelf.hf(seed=5)
        commits = []
        for variant in (first, first, second):
            entries = by_path(list(project([variant], FACTS)))
            body = entries["models--local-x7--tiny-hf/refs/main"].body
            assert body == entries["models--local-x7--tiny-hf/refs/helixstore"].body
            assert isinstance(body, Text)
            commits.append(body.data.decode())
        assert commits[0] == commits[1] != commits[2]
        assert all(len(c) == 40 and set(c) <= set("0123456789abcdef") for c in commits)

    def test_a_file_without_its_aliases_is_an_error_of_the_engine(self, shelf: Shelf) -> None:
        variant = shelf.hf()
        bare = replace(variant, files=tuple(replace(f, sha256=None, gitsha1=None) for f in variant.files))
        with pytest.raises(LayoutError, match="SHA-256"):
            list(project([bare], FACTS))

    def test_files_of_one_commit_share_a_snapshot_and_each_has_its_witness(self, shelf: Shelf, cache: Path) -> None:
        small = shelf.gguf("m", "Q4_K_M", sources=[hub("acme/m-GGUF")])
        large = shelf.gguf("m", "Q8_0", shards=2, sources=[hub("acme/m-GGUF")])
        entries = lay(cache, shelf, small, large)
        witnesses = {entry.key: PurePosixPath(entry.path).name for entry in entries if entry.witness}
        assert witnesses == {small.key: "m-Q4_K_M.gguf", large.key: "m-Q8_0-00001-of-00002.gguf"}
        assert {entry.path.split("/")[2] for entry in entries if "/snapshots/" in entry.path} == {COMMIT}


class TestRefs:
    def revisions(self, shelf: Shelf) -> tuple[Variant, Variant]:
        old = shelf.hf("m", sources=[hub("acme/m", OTHER)])
        new = replace(shelf.hf("m", seed=9, sources=[hub("acme/m")]), key=Key("m", "hf:BF16@12345678"))
        return old, new

    def test_one_commit_is_main_and_no_other_is_garbage(self, shelf: Shelf, cache: Path) -> None:
        lay(cache, shelf, *self.revisions(shelf))
        repository, = scan_cache_dir(cache).repos
        refs = {revision.commit_hash: set(revision.refs) for revision in repository.revisions}
        assert refs == {OTHER: {"main"}, COMMIT: {COMMIT}}

    def test_the_pinned_one_is_main(self, shelf: Shelf) -> None:
        old, new = self.revisions(shelf)
        entries = by_path(list(project([old, replace(new, pinned=True)], FACTS)))
        assert entries["models--acme--m/refs/main"].body == Text(COMMIT.encode())

    def test_the_order_of_the_variants_does_not_matter(self, shelf: Shelf) -> None:
        old, new = self.revisions(shelf)
        assert set(map(repr, project([old, new], FACTS))) == set(map(repr, project([new, old], FACTS)))

    def test_a_client_that_moved_main_keeps_it(self, shelf: Shelf) -> None:
        body = by_path(list(project([shelf.hf(sources=[hub("acme/m")])], FACTS)))["models--acme--m/refs/main"].body
        assert isinstance(body, Text)
        assert body.merge is not None
        ours, moved = COMMIT.encode(), OTHER.encode()
        assert body.merge(None, None, ours) == ours
        assert body.merge(None, moved, ours) == moved
        assert body.merge(ours, moved, ours) == moved
        assert body.merge(moved, moved, ours) == ours

    def test_refs_end_without_newline(self, shelf: Shelf, cache: Path) -> None:
        lay(cache, shelf, shelf.hf(sources=[hub("acme/m")]), shelf.hf("mine"))
        for ref in cache.glob("*/refs/*"):
            assert len(ref.read_bytes()) == 40


class TestTheHubsOwnClient:
    def everything(self, shelf: Shelf) -> list[Variant]:
        return [
            shelf.hf("tiny", sources=[hub("acme/tiny")]), shelf.hf("big", shards=3, sources=[hub("big", OTHER)]),
            shelf.gguf("m", "Q4_K_M", sources=[hub("acme/m-GGUF", "c" * 40)]),
            shelf.gguf("m", "Q8_0", sources=[hub("acme/m-GGUF", "c" * 40)]),
            shelf.hf("mine", seed=3), shelf.gptq(), shelf.awq(), shelf.mlx("mine"), shelf.exl3(),
        ]

    def test_its_scan_has_no_warning(self, shelf: Shelf, cache: Path) -> None:
        lay(cache, shelf, *self.everything(shelf))
        info = scan_cache_dir(cache)
        assert info.warnings == []
        assert {repo.repo_id for repo in info.repos} == {
            "acme/tiny", "big", "acme/m-GGUF", "local-x7/mine", "local-x7/tiny-GPTQ", "local-x7/tiny-AWQ",
            "local-x7/mine-mlx-int4-g64", "local-x7/tiny-exl3-4.0bpw"}

    def test_it_loads_by_name_offline(self, shelf: Shelf, cache: Path) -> None:
        variants = self.everything(shelf)
        entries = lay(cache, shelf, *variants)
        for variant in variants:
            folder = next(entry.path.split("/")[0] for entry in entries if entry.key == variant.key)
            name = folder.removeprefix("models--").replace("--", "/")
            snapshot = Path(snapshot_download(name, cache_dir=cache, local_files_only=True))
            for file in variant.files:
                ours = shelf.blobs[file.blake3].read_bytes()
                assert (snapshot / file.path).read_bytes() == ours
                path = hf_hub_download(name, file.path, cache_dir=cache, local_files_only=True)
                assert Path(path).read_bytes() == ours
                assert try_to_load_from_cache(name, file.path, cache_dir=cache) == path

    def test_a_commit_is_found_by_its_hash(self, shelf: Shelf, cache: Path) -> None:
        lay(cache, shelf, *TestRefs().revisions(shelf))
        for commit in (OTHER, COMMIT):
            assert snapshot_download("acme/m", revision=commit, cache_dir=cache, local_files_only=True).endswith(commit)

    def test_deleting_through_it_leaves_the_blobs_whole(self, shelf: Shelf, cache: Path) -> None:
        variants = self.everything(shelf)
        entries = lay(cache, shelf, *variants)
        info = scan_cache_dir(cache)
        info.delete_revisions(*[r.commit_hash for repo in info.repos for r in repo.revisions]).execute()
        untouched(shelf)
        assert not [entry for entry in entries if os.path.lexists(cache / entry.path)]

    def test_deleting_one_of_two_revisions_leaves_the_other(self, shelf: Shelf, cache: Path) -> None:
        old, new = TestRefs().revisions(shelf)
        entries = lay(cache, shelf, old, new)
        VLLM().delete_as_program_does(cache, old, entries)
        gone = [entry.key for entry in entries if entry.witness and not os.path.lexists(cache / entry.path)]
        assert gone == [old.key]
        untouched(shelf)
        assert scan_cache_dir(cache).warnings == []
        assert all((cache / entry.path).exists() for entry in entries if entry.key == new.key)

    def test_deleting_one_file_is_deleting_the_model(self, shelf: Shelf, cache: Path) -> None:
        variant = shelf.hf("tiny", sources=[hub("acme/tiny")])
        entries = lay(cache, shelf, variant)
        info = scan_cache_dir(cache)
        repository, = info.repos
        files = [file for revision in repository.revisions for file in revision.files]
        info.delete_files(*[file for file in files if file.file_name == "model.safetensors"]).execute()
        untouched(shelf)
        assert not [entry for entry in entries if entry.witness and os.path.lexists(cache / entry.path)]

    def test_without_symbolic_links_it_reads_and_deletes_too(self, shelf: Shelf, cache: Path) -> None:
        windows = replace(FACTS, platform="win32")
        variants = [shelf.hf("tiny", sources=[hub("acme/tiny")]), shelf.hf("mine", seed=4)]
        entries = list(project(variants, windows))
        check_entries(entries, variants)
        assert not [entry for entry in entries if isinstance(entry.body, Inner) or "/blobs/" in entry.path]
        materialise(cache, entries, shelf.blobs)
        assert scan_cache_dir(cache).warnings == []
        for name in ("acme/tiny", "local-x7/mine"):
            path = hf_hub_download(name, "model.safetensors", cache_dir=cache, local_files_only=True)
            assert Path(path).stat().st_nlink == 2
        VLLM().delete_as_program_does(cache, variants[0], entries)
        untouched(shelf)


class TestDiscovery:
    def found(self, cache: Path, tmp_path: Path) -> tuple[list[tuple[Source, str, dict[str, str]]], DiskReader]:
        reader = DiskReader(tmp_path)
        result = []
        for found in VLLM().discover(Root(cache, "test"), reader):
            parts = {part.path: part.location.read_bytes() for part in found.inspection.parts}
            result.append((found.source, found.name, {p: hashlib.sha256(b).hexdigest() for p, b in parts.items()}))
        return result, reader

    @staticmethod
    def files(variant: Variant) -> dict[str, str | None]:
        return {file.path: file.sha256 for file in variant.files}

    def test_what_was_projected_is_found(self, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        hf = shelf.hf("tiny", shards=2, sources=[hub("acme/tiny")])
        small = shelf.gguf("m", "Q4_K_M", sources=[hub("acme/m-GGUF")])
        large = shelf.gguf("m", "Q8_0", shards=2, projector=True, sources=[hub("acme/m-GGUF")])
        lay(cache, shelf, hf, small, large)
        found, reader = self.found(cache, tmp_path)
        assert reader.issues == []
        assert {source.repository for source, _, _ in found} == {"acme/tiny", "acme/m-GGUF"}
        assert {(source.kind, source.revision) for source, _, _ in found} == {("hub", COMMIT)}
        assert {name for _, name, _ in found} == {"tiny", "m-GGUF"}
        everything = {path for variant in (hf, small, large) for path in self.files(variant)}
        weights = {path for path in everything if path.endswith(("gguf", "safetensors"))}
        assert {p for _, _, files in found for p in files if p.endswith(("gguf", "safetensors"))} == weights
        for _, _, files in found:
            for variant in (hf, small, large):
                if set(files) <= set(self.files(variant)):
                    assert files.items() <= self.files(variant).items()

    def test_every_claim_is_the_alias_of_the_file(self, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        variant = shelf.hf("tiny", shards=2, sources=[hub("acme/tiny")])
        lay(cache, shelf, variant)
        found, = VLLM().discover(Root(cache, "test"), DiskReader(tmp_path))
        aliases = {file.path: (file.sha256, file.gitsha1) for file in variant.files}
        assert {part.path for part in found.inspection.parts} == set(found.claims)
        assert all(claim in aliases[path] for path, claim in found.claims.items())

    def test_a_name_of_our_own_is_never_taken_for_the_hubs(self, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        lay(cache, shelf, shelf.hf("mine"))
        (source, name, _), = self.found(cache, tmp_path)[0]
        assert (source.kind, source.program, name) == ("program", "huggingface", "mine")

    def test_what_lies_under_a_name_of_ours_keeps_it_and_others_make_way(
            self, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        """As after a `leave`: the same repository, found by another store in which the model has another name."""
        lay(cache, shelf, shelf.hf("mine", extra={"code.py": b""}))
        (source, _, _), = self.found(cache, tmp_path)[0]
        again, other = shelf.hf("mine", sources=[source]), shelf.hf("Mine", seed=3)
        entries = list(project([again, other], FACTS))
        check_entries(entries, [again, other])
        assert {path.relative_to(cache).as_posix() for path in cache.rglob("*") if not path.is_dir()} == {
            entry.path for entry in entries if entry.key == again.key}
        assert {entry.path.split("/")[0] for entry in entries if entry.key == other.key} == {
            f"models--local-x7--Mine-{other.manifest[:8]}"}

    def test_the_shared_store_of_newer_clients_is_followed(self, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        variant = shelf.hf("tiny", sources=[hub("acme/tiny")])
        lay(cache, shelf, variant)
        sha256, = (file.sha256 for file in variant.weights)
        blob, shared = cache / "models--acme--tiny/blobs" / str(sha256), cache / "blobs/ab" / ("ab" * 32)
        shared.parent.mkdir(parents=True)
        (cache / "blobs/.huggingface-shared-blobs").write_bytes(b"1\n")
        blob.rename(shared)
        blob.symlink_to(f"../../blobs/ab/{shared.name}")
        found, = VLLM().discover(Root(cache, "test"), DiskReader(tmp_path))
        assert found.claims["model.safetensors"] == sha256
        part, = (part for part in found.inspection.parts if part.path == "model.safetensors")
        assert os.path.realpath(part.location) == str(shared)

    def test_a_link_that_leads_nowhere_is_reported_and_its_model_left_out(
            self, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        lay(cache, shelf, shelf.hf("tiny", sources=[hub("acme/tiny")]), shelf.hf("whole", sources=[hub("acme/whole")]))
        next((cache / "models--acme--tiny/blobs").iterdir()).unlink()
        found, reader = self.found(cache, tmp_path)
        assert [source.repository for source, _, _ in found] == ["acme/whole"]
        assert any(issue.kind == "incomplete" and "acme/tiny" in issue.message for issue in reader.issues)

    def test_an_index_that_names_missing_shards_is_reported(self, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        lay(cache, shelf, shelf.hf("tiny", shards=3, sources=[hub("acme/tiny")]))
        (cache / "models--acme--tiny/snapshots" / COMMIT / "model-00002-of-00003.safetensors").unlink()
        found, reader = self.found(cache, tmp_path)
        assert found == []
        assert {issue.kind for issue in reader.issues} == {"incomplete"}

    def test_a_listing_that_names_unfetched_shards_is_reported(self, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        lay(cache, shelf, shelf.hf("tiny", shards=2, index=False, sources=[hub("acme/tiny")]))
        entry = {"size": 9, "blob_id": "a" * 40, "lfs_sha256": "c" * 64}
        tree = {"format_version": 1, "files": {f"model-0000{n}-of-00002.safetensors": entry for n in (1, 2)}}
        (cache / "models--acme--tiny/trees").mkdir()
        (cache / "models--acme--tiny/trees" / f"{COMMIT}.json").write_bytes(json_bytes(tree))
        assert len(self.found(cache, tmp_path)[0]) == 1
        (cache / "models--acme--tiny/snapshots" / COMMIT / "model-00002-of-00002.safetensors").unlink()
        found, reader = self.found(cache, tmp_path)
        assert found == []
        assert "incomplete" in {issue.kind for issue in reader.issues}

    @pytest.mark.parametrize(
        "text", ["", "[]", "{", '{"files": 3}', '{"files": {"a": 3}}', "[" * 100_000, '{"files":{"a":{}}}'])
    def test_a_broken_listing_costs_a_line_at_most(self, text: str, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        lay(cache, shelf, shelf.hf("tiny", sources=[hub("acme/tiny")]))
        (cache / "models--acme--tiny/trees").mkdir()
        (cache / "models--acme--tiny/trees" / f"{COMMIT}.json").write_text(text)
        found, reader = self.found(cache, tmp_path)
        assert len(found) == 1
        assert {issue.kind for issue in reader.issues} <= {"unreadable"}

    def test_two_revisions_share_blobs_and_main_comes_last(self, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        one = shelf.hf("m", sources=[hub("acme/m", OTHER)])
        two = replace(shelf.hf("m", extra={"NEWS": b"x"}, sources=[hub("acme/m", COMMIT)]), key=Key("m", "hf:BF16@1"))
        lay(cache, shelf, one, two)
        found, reader = self.found(cache, tmp_path)
        assert [source.revision for source, _, _ in found] == [COMMIT, OTHER]
        assert found[0][2]["model.safetensors"] == found[1][2]["model.safetensors"]
        assert reader.issues == []

    def test_gguf_in_folders_keeps_its_path(self, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        plain = shelf.gguf("m", "Q8_0", shards=2)
        nested = replace(plain, files=tuple(replace(f, path=f"Q8_0/{f.path}") for f in plain.files),
                         sources=(hub("acme/m-GGUF"),))
        lay(cache, shelf, nested)
        (source, _, files), = self.found(cache, tmp_path)[0]
        assert files == self.files(nested)
        assert source.name == "Q8_0/m-Q8_0-00001-of-00002.gguf"

    def test_only_whole_models_of_model_repositories_count(self, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        lay(cache, shelf, shelf.hf("tiny", sources=[hub("acme/tiny")]))
        repository = cache / "models--acme--tiny"
        (repository / "blobs" / ("d" * 64 + ".incomplete")).write_bytes(b"x")
        (cache / ".locks/models--acme--tiny").mkdir(parents=True)
        (cache / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55")
        repository.rename(cache / "datasets--acme--tiny")
        (cache / "models----").mkdir()
        (cache / "models--a--b").mkdir()
        (cache / "models--linked--b").symlink_to("datasets--acme--tiny")
        assert self.found(cache, tmp_path)[0] == []

    def test_a_folder_that_is_no_commit_is_no_hub_source(self, shelf: Shelf, cache: Path, tmp_path: Path) -> None:
        lay(cache, shelf, shelf.hf("tiny", sources=[hub("acme/tiny")]))
        repository = cache / "models--acme--tiny"
        (repository / "snapshots" / COMMIT).rename(repository / "snapshots/local")
        (repository / "refs/main").write_text("local")
        (source, _, _), = self.found(cache, tmp_path)[0]
        assert (source.kind, source.program, source.name) == ("program", "huggingface", "acme/tiny")


class TestRoots:
    @pytest.mark.parametrize(("environ", "path", "origin"), [
        ({}, "home/.cache/huggingface/hub", "default"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub", "XDG_CACHE_HOME"),
        ({"HF_HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/h/hub", "HF_HOME"),
        ({"HUGGINGFACE_HUB_CACHE": "/l", "HF_HOME": "/h"}, "/l", "HUGGINGFACE_HUB_CACHE"),
        ({"HF_HUB_CACHE": "/c", "HUGGINGFACE_HUB_CACHE": "/l", "HF_HOME": "/h"}, "/c", "HF_HUB_CACHE"),
        ({"HF_HUB_CACHE": "~/c"}, "home/c", "HF_HUB_CACHE"),
        ({"HF_HOME": "$DISK/hf", "DISK": "/mnt/a"}, "/mnt/a/hf/hub", "HF_HOME"),
        ({"HF_HOME": "${DISK}/${NOT_SET}", "DISK": "/mnt/a"}, "/mnt/a/${NOT_SET}/hub", "HF_HOME"),
        ({"HF_HUB_CACHE": "  ", "HF_HOME": ""}, "home/.cache/huggingface/hub", "default"),
    ])
    def test_the_variables_in_order(self, environ: dict[str, str], path: str, origin: str, tmp_path: Path) -> None:
        root = hub_root(sandbox(tmp_path / "home", environ))
        assert root.path == tmp_path / path
        assert root.origin == origin

    def test_all_three_programs_share_it(self, tmp_path: Path) -> None:
        env = sandbox(tmp_path, {"HF_HOME": "/h"})
        assert {layout.roots(env)[0].path for layout in (VLLM(), MLX(), MistralRs())} == {Path("/h/hub")}

    def test_it_is_what_the_client_itself_uses(self, tmp_path: Path) -> None:
        import subprocess
        import sys

        for environ in ({}, {"XDG_CACHE_HOME": "/x"}, {"HF_HOME": "~/h"}, {"HF_HUB_CACHE": "$HOME/c", "HF_HOME": "/h"},
                        {"HUGGINGFACE_HUB_CACHE": "/l", "HF_HOME": "/h"}):
            said = subprocess.run(
                [sys.executable, "-c", "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"],
                env={"HOME": str(tmp_path), **environ}, capture_output=True, text=True, check=True).stdout.strip()
            assert str(hub_root(sandbox(tmp_path, {"HOME": str(tmp_path), **environ})).path) == said


def _bare(model: str, variant: str, format: Format, quantization: str) -> Variant:
    manifest = hashlib.sha256(f"{model}|{variant}".encode(errors="surrogatepass")).hexdigest()
    return Variant(Key(model, variant), manifest, format, quantization, Purpose.MODEL, Header(), ())


_NAMES = st.text(min_size=1, max_size=120) | st.sampled_from(
    ["a", "A", "a-", "a.git", "a--b", "..", ".", "-", "con", "NUL.x", "模型", "tiny-GPTQ", "x" * 300, "a/b", "é"])
_KINDS = st.sampled_from([
    ("hf:BF16", Format.HF, "BF16"), ("hf:F16", Format.HF, "F16"), ("hf:BF16@12345678", Format.HF, "BF16"),
    ("gptq:int4-g128", Format.GPTQ, "int4-g128"), ("mlx:int4-g64", Format.MLX, "int4-g64"),
    ("awq:int4-g128", Format.AWQ, "int4-g128")])


class TestNames:
    @given(_NAMES)
    def test_a_made_name_is_one_that_the_client_takes(self, text: str) -> None:
        name = f"local-x7/{repository_name(text)}"
        validate_repo_id(name)
        assert is_repository(name)
        folder = f"models--{name.replace('/', '--')}"
        assert folder.removeprefix("models--").replace("--", "/") == name

    @given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9._/-]{1,30}", fullmatch=True))
    def test_a_repository_is_what_the_client_says(self, text: str) -> None:
        try:
            validate_repo_id(text)
            valid = bool(text)
        except ValueError:
            valid = False
        assert is_repository(text) == valid

    @settings(max_examples=200)
    @given(st.dictionaries(st.tuples(_NAMES, _KINDS), st.none(), max_size=8))
    def test_no_two_variants_share_a_name(self, chosen: dict[tuple[str, tuple[str, Format, str]], None]) -> None:
        variants = [_bare(model, *kind) for model, kind in chosen]
        names = folder_names(variants)
        assert set(names) == {variant.key for variant in variants}
        assert len({name.casefold() for name in names.values()}) == len(names)
        for name in names.values():
            validate_repo_id(f"local-x7/{name}")

    def test_full_precision_keeps_the_models_name(self) -> None:
        hf, half = _bare("m", "hf:BF16", Format.HF, "BF16"), _bare("m", "hf:F16", Format.HF, "F16")
        gptq = _bare("m", "gptq:int4-g128", Format.GPTQ, "int4-g128")
        assert folder_names([gptq, half, hf]) == {hf.key: "m", gptq.key: "m-gptq-int4-g128", half.key: "m-hf-F16"}

    def test_each_program_gives_a_variant_the_same_name(self, shelf: Shelf) -> None:
        """vLLM, MLX and mistral.rs accept different variants of one model; in the shared folder they must agree."""
        variants = [shelf.hf("m"), shelf.gptq("m"), shelf.mlx("m"), shelf.awq("m"), shelf.exl3("m"), shelf.mlx("o"),
                    shelf.gptq("n-GPTQ"), shelf.gptq("p", bits=3), shelf.gptq("p"), shelf.mlx("p")]
        for facts in (FACTS, Facts("darwin", "arm64", "local-x7"), Facts("win32", "x86_64", "local-x7")):
            projections = []
            for layout in (VLLM(), MLX(), MistralRs()):
                accepted = [variant for variant in variants if layout.accepts(variant, facts) is None]
                root = Root(Path("/hub"), "test", label="hub")
                projections.append((layout.name, list(layout.project(accepted, root, facts))))
            wanted, issues = join("/hub", projections)
            assert issues == []
            folders: dict[object, set[str]] = {}
            for path, joined in wanted.entries.items():
                for claim in joined.claims:
                    folders.setdefault(claim.key, set()).add(path.split("/")[0])
            assert all(len(names) == 1 for names in folders.values())


def test_foreign_listing_is_read_with_the_reader_alone(tmp_path: Path) -> None:
    """A cache that is not there costs nothing and says nothing."""
    reader = PlainReader()
    assert list(VLLM().discover(Root(tmp_path / "none", "test"), reader)) == []  # type: ignore[arg-type]
    assert reader.issues == []


def test_the_index_of_a_sharded_model_is_the_models_own(shelf: Shelf, cache: Path) -> None:
    """No index is made up: what lies there is the variant's own file, or none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lay(cache, shelf, shelf.mlx("with"), shelf.mlx("without", index=False))
    index = cache.glob("models--local-x7--with*/snapshots/*/model.safetensors.index.json")
    assert set(json.loads(next(index).read_text())["weight_map"].values()) == {"model.safetensors"}
    assert list(cache.glob("models--local-x7--without*/snapshots/*/model.safetensors.index.json")) == []
