from __future__ import annotations

import ntpath
import posixpath
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helixstore.errors import UnsafeName
from helixstore.fs.names import check_relative, folded, printable, unfinished


@pytest.mark.parametrize("name", [
    "", "/", "/etc/passwd", "..", "../x", "a/../b", "a/..", "..\\x", "a\\..\\b", "\\x", "\\\\host\\share",
    "//host/share",
    "c:x", "C:\\x", "c:/x", "a:stream", "a//b", "./a", "a/.", "a/", "nul", "NUL.txt", "a/con", "com1.gguf", "lpt9",
    "aux .x", "CONIN$", "com¹", "x.", "x ", "a./b", "a /b", "a\0b", "a\nb", "a\x7fb", "a\x85b", "a\u202eb", "a\u200fb",
    "a\u2028b",
    "a" * 256, "é" * 128, "/".join(["a" * 200] * 6), "a\udcffb", "a?b", "a*b", "a|b", 'a"b', "<a>",
])
def test_hostile_names_are_refused(name: str) -> None:
    with pytest.raises(UnsafeName) as caught:
        check_relative(name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", [
    "model.gguf", "a/b/c.json", "..x", "a..b", ".hidden", "模型.gguf", "é" * 127, "a" * 255, "nul_", "console", "com10",
    "model-00001-of-00003.safetensors", "x y.gguf", "a'b", "(1).gguf", "#1", "~x", "%2e%2e",
])
def test_ordinary_names_pass(name: str) -> None:
    assert check_relative(name) == name


@given(st.text(alphabet=st.sampled_from("ab./\\:. \x00\n~CONnul1\u202e\u0301é"), max_size=12))
def test_what_passes_stays_inside_on_every_system(name: str) -> None:
    try:
        check_relative(name)
    except UnsafeName:
        return
    for system, root in ((posixpath, "/root/of"), (ntpath, "C:\\root\\of")):
        joined = system.normpath(system.join(root, name))
        assert system.commonpath([root, joined]) == root
        assert joined != root
        assert not system.isabs(name)
        assert not system.splitdrive(name)[0]


@given(st.text())
def test_shown_text_cannot_move_the_cursor(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in shown)
    shown.encode()


@given(st.text())
def test_folding_is_stable(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert folded(unicodedata.normalize("NFD", text)) == folded(unicodedata.normalize("NFC", text))


@pytest.mark.parametrize("name", [
    "x.incomplete", "abc.0123abcd.incomplete", "x.gguf.lock", "sha256-ab-partial", "sha256-ab-partial-0", "x.partial",
    "x.gguf.downloadInProgress", "incomplete-x.gguf", "x.crdownload", "x.part", "x.download", "x.opdownload", "x.aria2",
    ".x.gguf.aB3dE9", "x.tmp", "x.TEMP", "~x", ".nfs0001", ".~lock.x#", ".fuse_hidden0001",
    "x.gguf.!qB", "x.gguf.!ut", "x.gguf.bc!", "x.gguf.filepart", "x.gguf.lftp-pget-status",
])
def test_unfinished_files_are_known_by_name(name: str) -> None:
    assert unfinished(name)


@pytest.mark.parametrize("name", ["x.gguf", "partial.gguf", "config.json", "model.safetensors", "tokenizer.model",
                                  "sha256-ab", ".gitattributes", "download", "x.gguf.part1of2"])
def test_finished_files_are_not(name: str) -> None:
    assert not unfinished(name)


def test_a_control_file_beside_it_makes_a_file_unfinished() -> None:
    assert unfinished("x.gguf", {"x.gguf", "x.gguf.aria2"})
    assert not unfinished("y.gguf", {"x.gguf", "x.gguf.aria2"})


@pytest.mark.parametrize("marker", [".st", ".lftp-pget-status", ".!qB"])
def test_downloaders_keep_their_notes_beside_it(marker: str) -> None:
    assert unfinished("x.gguf", {"x.gguf", f"x.gguf{marker}"})
    assert not unfinished("x.gguf", {"x.gguf", "x.st", marker})
