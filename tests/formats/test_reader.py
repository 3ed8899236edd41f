"""The reader that layouts get: notices everything, raises nothing."""

from __future__ import annotations

import os
from pathlib import Path

from helixstore.fs.kernel import fingerprint
from helixstore.providers.layout import Reader
from helixstore.providers.reader import DiskReader
from support import corpus, raw
from support.models import tiny_hf


def test_it_is_a_reader(tmp_path: Path) -> None:
    reader: Reader = DiskReader(tmp_path)
    assert reader.models(tmp_path) == []


def test_entries_of_all_kinds(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, target in (("dangling", "nothing"), ("loop", "loop"), ("linked", "file"), ("linked-folder", "folder")):
        (tmp_path / name).symlink_to(target)
    reader = DiskReader(tmp_path)
    assert [(seen.name, seen.kind, seen.linked) for seen in reader.entries(tmp_path)] == [
        ("dangling", "link", True), ("file", "file", False), ("folder", "folder", False), ("linked", "file", True),
        ("linked-folder", "folder", True), ("loop", "link", True), ("pipe", "other", False)]
    assert reader.entries(tmp_path)[3].bytes == 3
    assert reader.entries(tmp_path / "nothing") == []
    assert not reader.issues
    assert reader.entries(tmp_path / "file") == []
    assert [issue.kind for issue in reader.issues] == ["unreadable"]
    assert reader.exists(tmp_path / "file")
    assert not reader.exists(tmp_path / "dangling")
    assert not reader.exists(Path("a\0b"))


def test_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{é}")
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbfx")
    (tmp_path / "latin").write_bytes(b"\xe9")
    (tmp_path / "long").write_bytes(b"x" * 100)
    os.mkfifo(tmp_path / "pipe")
    reader = DiskReader(tmp_path)
    assert reader.text(Path("a.json")) == "{é}"         # relative paths count from home
    assert reader.text(tmp_path / "bom") == "x"
    assert reader.text(tmp_path / "missing") is None
    assert not reader.issues
    assert reader.text(tmp_path / "latin") is None
    assert reader.text(tmp_path / "long", 99) is None
    assert reader.text(tmp_path / "pipe") is None
    assert [os.path.basename(issue.path) for issue in reader.issues] == ["latin", "long", "pipe"]
    assert fingerprint(tmp_path / "a.json") == reader.files[os.fspath(tmp_path / "a.json")]


def test_issues_are_told_once(tmp_path: Path) -> None:
    corpus.build(tmp_path / "corpus")
    reader = DiskReader(tmp_path)
    first = reader.models(tmp_path, -1)
    told = list(reader.issues)
    assert told
    assert reader.models(tmp_path, -1) == first
    assert reader.issues == told
    reader.models(tmp_path / "corpus", -1)
    assert reader.issues == told


def test_everything_that_counts_is_recorded(tmp_path: Path) -> None:
    """Whatever changes the answer changes a recorded folder or file."""
    tiny_hf(tmp_path / "hf")
    (tmp_path / "target").write_bytes(raw.model_gguf())
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "m.gguf").symlink_to(tmp_path / "target")
    (tmp_path / "cut.gguf").write_bytes(raw.model_gguf()[:-5])
    (tmp_path / "notes.txt").write_text("x")
    broken = tmp_path / "broken"
    tiny_hf(broken)
    (broken / "config.json").write_text("{")
    reader = DiskReader(tmp_path)
    reader.models(tmp_path, -1)
    assert set(reader.folders) == {os.fspath(tmp_path / name) for name in ("", "hf", "links", "broken")}
    recorded = {os.path.relpath(path, tmp_path) for path in reader.files}
    assert recorded >= {"cut.gguf", "links/m.gguf", "target", "hf/model.safetensors", "hf/config.json",
                        "broken/config.json"}
    assert "notes.txt" not in recorded
    for path, seen in reader.files.items():
        assert seen == fingerprint(path)
