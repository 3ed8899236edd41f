from __future__ import annotations

import io
import json
import time

import pytest

from helixstore.cli.output import Output, count, table
from helixstore.errors import Ambiguous, Unreadable
from helixstore.sizes import parameters, size
from helixstore.values import Issue


def sink(**options: bool) -> tuple[Output, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Output(stdout=out, stderr=err, **options), out, err


@pytest.mark.parametrize(("number", "text"), [
    (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"),
    (40_200_000_000, "40.2 GB"), (10**21, "1000.0 EB"), (-4_920_000_000, "-4.9 GB"),
])
def test_sizes_are_decimal_and_never_say_1000_of_a_unit(number: int, text: str) -> None:
    assert size(number) == text


def test_parameters_and_counts_read_as_people_say_them() -> None:
    assert [parameters(n) for n in (None, 0, 137, 494_032_768, 1_540_000_000, 8_030_261_248, 1_040_000_000_000)] == [
        "", "", "137", "494M", "1.5B", "8B", "1T"]
    assert [count(1, "model"), count(2, "model"), count(12_000, "file")] == ["1 model", "2 models", "12,000 files"]


def test_columns_are_aligned_also_where_characters_are_wide_or_invisible() -> None:
    rows = [("plain", "1 B"), ("模型", "22 B"), ("e\u0301", "3 B"), ("new\nline", "4 B")]
    lines = table(("name", "size"), rows, right=(1,))
    assert lines[0].startswith("NAME")
    ends = [line.rindex("B") for line in (lines[1], lines[3])]
    assert ends[0] + 1 == ends[1]                       # the combining accent takes a character, but no column
    assert lines[2].rindex("B") == ends[0] - 2          # two characters that take two columns each
    assert table(("name",), []) == []


def test_ten_thousand_rows_take_no_time() -> None:
    begun = time.perf_counter()
    lines = table(("a", "b", "c"), [(f"model-{i}", "gguf:Q4_K_M", "ollama lmstudio jan") for i in range(10_000)])
    assert len(lines) == 10_001
    assert time.perf_counter() - begun < 0.5


HOSTILE = "x\x1b]0;owned\x07\x1b[31m\u202egpj.exe\udcff\r\nsecond"


def test_names_from_outside_cannot_steer_the_terminal() -> None:
    out, stdout, stderr = sink()
    out.lines([f"model {HOSTILE}"])
    out.note(HOSTILE)
    out.issues([Issue("conflict", HOSTILE, "two of them", HOSTILE)])
    out.failure(Unreadable(f"{HOSTILE} cannot be read", HOSTILE))
    for stream in (stdout, stderr):
        text = stream.getvalue()
        assert not set(text) & set("\x1b\x07\r\u202e\udcff")
        assert "\\x1b" in text
        text.encode()                                   # a lone surrogate would make the terminal's encoder fail


def test_json_is_plain_ascii_and_keeps_every_byte_of_a_name() -> None:
    out, stdout, _ = sink(as_json=True)
    out.answer({"name": HOSTILE}, lambda _: ["never"])
    assert stdout.getvalue().isascii()
    assert json.loads(stdout.getvalue()) == {"schema": 1, "name": HOSTILE}


def test_an_error_is_its_message_then_its_remedy_and_a_document_with_json() -> None:
    out, stdout, stderr = sink()
    assert out.failure(Ambiguous("llama fits several models:\na\nb", "name one of them")) == 2
    assert stderr.getvalue() == "helixstore: llama fits several models:\n  a\n  b\n  name one of them\n"
    assert stdout.getvalue() == ""

    out, stdout, stderr = sink(as_json=True)
    assert out.failure(Unreadable("no", "yes", "/p")) == 1
    told = {"kind": "unreadable", "message": "no", "remedy": "yes", "path": "/p"}
    assert json.loads(stdout.getvalue())["error"] == told
    assert stderr.getvalue()


def test_quiet_says_only_what_went_wrong() -> None:
    out, stdout, stderr = sink(quiet=True)
    out.answer({"a": 1}, lambda _: ["an answer"])
    out.note("reading")
    out.issues([Issue("away", "/mnt/x", "the disk is not there", "")])
    assert stdout.getvalue() == ""
    assert stderr.getvalue() == "1 issue:\n  away: /mnt/x: the disk is not there\n"
