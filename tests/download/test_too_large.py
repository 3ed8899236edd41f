"""A model that this computer has no room for: it is downloaded where nothing is to choose, and that is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from repository import GGUFS, MAKERS, repository, weights

from support import household
from support.hub import hub
from support.person import Person


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_single_gguf_says_so_and_comes(person: Person, tmp_path: Path, dry_run: bool) -> None:
    with hub(repository(tmp_path, "acme/big-GGUF", {"big-F16.gguf": weights(1, 4)})) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        with person.open() as store:
            report = store.download("hf:acme/big-GGUF", memory=1_000_000, dry_run=dry_run)
            assert store.download("hf:acme/big-GGUF", memory=10**10, dry_run=True).why == ""
    assert report.why.startswith("big-GGUF does not fit this computer: it needs ")
    assert report.why.endswith("and a model can have 1.0 MB here")
    assert report.fetched_bytes > 4_000_000 or dry_run


@pytest.mark.parametrize("what", [f"hf:{GGUFS}:Q8_0", f"hf:{MAKERS}"])
def test_one_that_is_named_and_safetensors_too(reader: Person, what: str) -> None:
    with reader.open() as store:
        assert "it needs " in store.download(what, memory=1000, dry_run=True).why
        assert store.download(what, dry_run=True).why == ""


def test_the_context_counts(person: Person, tmp_path: Path) -> None:
    with hub(repository(tmp_path, "acme/plain", household.hf("e", 5))) as endpoint:
        person.environ |= {"HF_ENDPOINT": endpoint, "HELIXSTORE_MEMORY": "16GB"}
        with person.open() as store:
            assert store.download("hf:acme/plain", dry_run=True).why == ""
            why = store.download("hf:acme/plain", context=10**9, dry_run=True).why
    assert "with a context of 1,000,000,000 tokens, and a model can have " in why
