"""What may be the last there is of its bytes stays: after an older store was put back, or a number of an inode came
again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from farmland import Land, text

from helixstore.values import Key, LinkKind

A, B = Key("a", "gguf:Q4_K_M"), Key("b", "gguf:Q8_0")
BYTES = b"A" * 9000


def _shown(tmp_path: Path, *kinds: LinkKind) -> tuple[Land, str, Path]:
    """A farm with `a` and its sidecar, `a`'s blob, and where `a` is shown."""
    land = Land(tmp_path)
    weight = land.weight("a/a.gguf", BYTES, A, kinds=kinds or None)
    land.sync(weight, text("a.yml", b"x", A), land.weight("b.gguf", b"B" * 9000, B))
    return land, land.store.blobs.path(weight.body.blob), Path(land.root) / "a/a.gguf"      # type: ignore[union-attr]


@pytest.mark.parametrize("kinds", [(), (LinkKind.COPY,)])
def test_what_the_store_has_no_more_is_not_removed(tmp_path: Path, kinds: tuple[LinkKind, ...]) -> None:
    land, blob, shown = _shown(tmp_path, *kinds)
    os.unlink(blob)
    done = land.sync()
    assert land.tree() == {"a/a.gguf": BYTES, "a.yml": b"x"}        # not `b`, of which the store has the bytes
    assert {issue.kind for issue in done.issues} == {"modified"}
    assert {issue.path for issue in done.issues} == {str(shown), f"{land.root}/a.yml"}
    assert not land.farm.ledgers.of(land.root).records.keys() & {"a/a.gguf", "a.yml"}       # it is the person's
    assert land.farm.plan([land.wanted()]).empty


def test_what_the_store_has_no_more_is_not_replaced(tmp_path: Path) -> None:
    land, blob, shown = _shown(tmp_path)
    os.unlink(blob)
    land.sync(land.weight("a/a.gguf", b"an older version", A), text("a.yml", b"y", A))
    assert shown.read_bytes() == BYTES
    assert (Path(land.root) / "a.yml").read_bytes() == b"x"


def test_what_waits_in_the_trash_is_removed(tmp_path: Path) -> None:
    land, blob, _ = _shown(tmp_path)
    (Path(land.store.path) / "trash/1-00").mkdir()
    os.rename(blob, f"{land.store.path}/trash/1-00/{os.path.basename(blob)}")
    assert not land.sync().issues
    assert land.tree() == {}


def test_a_link_to_what_the_blob_was_before_the_store_was_copied_is_removed(tmp_path: Path) -> None:
    land, blob, _ = _shown(tmp_path)
    shutil.copy2(blob, f"{blob}.new")
    os.replace(f"{blob}.new", blob)
    assert not land.sync().issues
    assert land.tree() == {}


def test_another_file_with_the_number_of_our_link_stays(tmp_path: Path) -> None:
    land, blob, shown = _shown(tmp_path)
    shutil.copy2(blob, f"{blob}.new")
    os.replace(f"{blob}.new", blob)
    os.chmod(shown, 0o644)
    shown.write_bytes(b"the person's own")              # as if it had been deleted, and its inode given again
    done = land.sync()
    assert shown.read_bytes() == b"the person's own"
    assert str(shown) in {issue.path for issue in done.issues}
