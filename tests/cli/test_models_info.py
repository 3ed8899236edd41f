"""`models info` with the context and the memory that the person says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helixstore import HelixStore
from support.typist import typed

NAME = "llama-3-8b-instruct"


def info(home: Path, *words: str) -> Any:
    environ = {"HOME": str(home), "HELIXSTORE_MEMORY": "16GB"}
    said = typed("models", "info", NAME, "--json", *words, environ=environ, check=True)
    return {one["quantization"]: one for one in json.loads(said.stdout)["needs"]}


def test_more_context_needs_more_and_memory_decides_what_fits(tmp_path: Path) -> None:
    usual, long, small = info(tmp_path), info(tmp_path, "--context", "32k"), info(tmp_path, "--memory", "6GB")
    assert {one["context"] for one in long.values()} == {32_768}
    assert all(long[name]["bytes"] > usual[name]["bytes"] == small[name]["bytes"] for name in usual)
    assert {name: one["fits"] for name, one in small.items()} == {
        name: one["bytes"] <= 6 * 10**9 for name, one in usual.items()}
    assert not all(one["fits"] for one in small.values())


def test_context_of_a_million_tokens_is_taken_as_it_is_typed(tmp_path: Path) -> None:
    for said, tokens in (("1000000", 1_000_000), ("1m", 1 << 20), ("1M", 1 << 20), ("10000000", 10_000_000)):
        assert {one["context"] for one in info(tmp_path, "--context", said).values()} == {tokens}


def test_it_says_which_of_those_that_fit_would_be_taken(tmp_path: Path) -> None:
    """As a download chooses: of the usual ones the largest that fits, where none does none."""
    for memory, best in (("16GB", ["Q8_0"]), ("7.2GB", ["Q5_K_M"]), ("1GB", [])):
        assert [name for name, one in info(tmp_path, "--memory", memory).items() if one["best"]] == best
    said = typed("models", "info", NAME, environ={"HOME": str(tmp_path), "HELIXSTORE_MEMORY": "16GB"}).stdout
    assert [line.split()[0] for line in said.splitlines() if line.endswith("yes, the best")] == ["Q8_0"]


def test_in_python(tmp_path: Path) -> None:
    found = HelixStore.describe_model(NAME, context=4096, memory=10, environ={"HOME": str(tmp_path)})
    assert {(one.context, one.fits) for one in found.needs} == {(4096, False)}
