"""What counts as a root that nobody has touched: every way of touching it is noticed, by stat alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from helixstore.farm.ledger import FOLDER, Record
from helixstore.farm.scan import digest_of
from helixstore.sync.untouched import untouched


class Told:
    """The folders that a look was told of."""

    def __init__(self) -> None:
        self.folders: dict[str, int] = {}

    def folder(self, path: str, mtime_ns: int) -> None:
        self.folders[path] = mtime_ns

    def file(self, path: str, status: os.stat_result) -> None:
        raise AssertionError(f"{path} needs no look of its own")


def _record(root: Path, path: str, kind: str, origin: str = "made", base: str | None = None) -> Record:
    status = os.lstat(root / path)
    digest = "" if kind in (FOLDER, "inner") else digest_of((root / path).read_bytes())
    target = os.readlink(root / path) if kind in ("symlink", "inner") else ""
    return Record(path, kind, digest, status.st_ino, status.st_size, status.st_mtime_ns, target,
                  (digest if base is None else base) if kind == "text" else "", (), "", origin, 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a link of each kind, a sidecar and a copy."""
    (tmp_path / "blob").write_bytes(b"weights")
    (tmp_path / "root" / "one" / "deep").mkdir(parents=True)
    os.link(tmp_path / "blob", tmp_path / "root" / "one" / "model.gguf")
    (tmp_path / "root" / "far.gguf").symlink_to(tmp_path / "blob")
    (tmp_path / "root" / "one" / "deep" / "inner.gguf").symlink_to("../model.gguf")
    (tmp_path / "root" / "one" / "model.yml").write_text("model_path: model.gguf\n")
    (tmp_path / "root" / "one" / "config.json").write_text("{}")
    return tmp_path / "root"


def _ledger(root: Path, **sidecar: str) -> Mapping[str, Record]:
    kinds = {"one": FOLDER, "one/deep": FOLDER, "one/model.gguf": "hard", "far.gguf": "symlink",
             "one/deep/inner.gguf": "inner", "one/config.json": "copy"}
    records = {path: _record(root, path, kind) for path, kind in kinds.items()}
    return {**records, "one/model.yml": _record(root, "one/model.yml", "text", **sidecar)}


def test_as_it_was_left(root: Path) -> None:
    told = Told()
    records = _ledger(root)
    (root / "empty" / "too").mkdir(parents=True)
    assert untouched(str(root), records, told)
    assert set(told.folders) == {str(root / one) for one in ("", "one", "one/deep", "empty", "empty/too")}
    assert all(told.folders[path] == os.stat(path).st_mtime_ns for path in told.folders)


def _rename(root: Path) -> None:
    (root / "one" / "model.gguf").rename(root / "one" / "renamed.gguf")


def _replace(root: Path) -> None:
    (root / "other").write_bytes(b"weights")
    (root / "other").rename(root / "one" / "model.gguf")


def _edit(root: Path) -> None:
    (root / "one" / "model.yml").write_text("model_path: other.gguf\n")


def _touch_copy(root: Path) -> None:
    (root / "one" / "config.json").write_text('{"a": 1}')


def _lose_the_blob(root: Path) -> None:
    (root.parent / "blob").unlink()


def _link_the_folder(root: Path) -> None:
    (root / "one").rename(root.parent / "elsewhere")
    (root / "one").symlink_to(root.parent / "elsewhere")


@pytest.mark.parametrize("touch", [
    lambda root: (root / "one" / "deep" / "new.gguf").write_bytes(b"new"),
    lambda root: (root / "one" / "linked").symlink_to("."),
    lambda root: (root / "one" / "model.yml").unlink(),
    lambda root: os.mkfifo(root / "pipe"),
    _rename, _replace, _edit, _touch_copy, _lose_the_blob, _link_the_folder,
])
def test_whatever_is_done_there_is_noticed(root: Path, touch: Callable[[Path], object]) -> None:
    records = _ledger(root)
    touch(root)
    assert not untouched(str(root), records, Told())


def test_sidecars_of_others_are_read(root: Path) -> None:
    """They may name files anywhere, and several models."""
    assert not untouched(str(root), _ledger(root, origin="adopted"), Told())
    assert not untouched(str(root), _ledger(root, origin="merged"), Told())
    assert not untouched(str(root), _ledger(root, base=digest_of(b"what we wrote")), Told())


def test_a_root_where_nothing_is_ours_is_read(root: Path) -> None:
    assert not untouched(str(root), {}, Told())
    assert not untouched(str(root / "missing"), _ledger(root), Told())
