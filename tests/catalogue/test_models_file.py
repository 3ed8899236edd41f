"""models.toml: each entry of the right form, each repository with the place where it was seen, no name twice."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

import helixstore.catalogue
from helixstore.catalogue import Capability, Catalogue, Entry, HubReference, OllamaReference, bits_of, quantization_of
from helixstore.catalogue.form import CITE, cut, entry_of
from helixstore.catalogue.names import fold
from helixstore.values import Format

FILE = Path(helixstore.catalogue.__file__).with_name("models.toml")
TEXT = FILE.read_text(encoding="utf-8")
TABLES = tomllib.loads(TEXT)
CITES: dict[str, str] = TABLES.pop(CITE)
ENTRIES = Catalogue().entries()

#: A page of GitHub that shows a file at one commit, an issue or pull request, or a repository's front page.
_GITHUB = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+(?:/blob/[0-9a-f]{40}/\S+|/(?:issues|pull)/\d+)?")
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![\w.])")


def examples() -> list[str]:
    """The entries that docs/catalogue.md shows."""
    text = (Path(__file__).resolve().parents[2] / "docs/catalogue.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE)
    return [textwrap.dedent(block).strip() for block in blocks if '["' in block and "sources = [" in block]


def test_the_catalogue_is_what_the_whole_file_says() -> None:
    """Entries are read one piece at a time: together they are the file, and what it holds beside them is [cite]."""
    assert [entry.name for entry in ENTRIES] == list(TABLES)
    assert len(ENTRIES) >= 150
    assert all(piece.name or not re.sub(r"#.*", "", piece.text).strip() for piece in cut(TEXT))


def test_the_file_is_in_order_and_can_be_read() -> None:
    names = [piece.name for piece in cut(TEXT) if piece.name]
    assert names == [*sorted(TABLES), CITE]
    assert list(CITES) == sorted(CITES)
    assert TEXT.isascii()
    assert "\t" not in TEXT


def test_the_example_in_the_documentation_is_the_entry_itself() -> None:
    shown = next(block for block in examples() if "granite" in block)
    assert f"\n{shown}\n" in TEXT


def test_a_person_s_own_example_in_the_documentation_can_be_used(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(next(block for block in examples() if "ours" in block), encoding="utf-8")
    file.chmod(0o600)
    catalogue = Catalogue(file)
    assert catalogue.issues == ()
    entry = catalogue.find("ours")
    assert (entry.name, entry.own, [offer.format for offer in entry.offers]) == (
        "our-model-7b", True, [Format.GGUF, Format.MLX])
    assert str(entry.offers[1].reference("8bit")) == "hf:our-group/ours-mlx-8bit"


def test_the_names_of_the_guide_are_there() -> None:
    assert {"llama-3-8b-instruct", "mistral-7b-instruct", "codellama-7b-instruct"} <= TABLES.keys()


def test_no_name_leads_to_two_entries() -> None:
    """A name, an alias and a name in a registry, as they are compared when somebody types them."""
    said: Counter[str] = Counter()
    for entry in ENTRIES:
        own = {fold(entry.name), *map(fold, entry.aliases)}
        assert len(own) == 1 + len(entry.aliases), f"{entry.name} has an alias that says nothing new"
        references = (offer.reference(offer.quantizations[0] if offer.quantizations else "") for offer in entry.offers)
        own |= {fold(str(one).removeprefix("ollama:")) for one in references if isinstance(one, OllamaReference)}
        said.update(own)
    assert {name: count for name, count in said.items() if count > 1} == {}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_place_was_seen_somewhere(entry: Entry) -> None:
    for offer in entry.offers:
        assert offer.cite.startswith("https://"), f"{offer.at} was seen nowhere"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_everything_that_an_entry_says_was_seen_somewhere(entry: Entry) -> None:
    assert entry.unseen == (), "say in `seen` which source shows it, or take it out"
    assert all(one.page.startswith("https://") for one in entry.seen)


@pytest.mark.parametrize(("line", "claim"), [
    ('can = ["chat", "tools"]', "tools"), ("context = 8192", "context"), ("parameters = 7", "parameters"),
    ("active = 3", "active"), ('licence = "mit"', "licence"), ("gated = true", "gated"),
    ("shape = { layers = 1, kv_heads = 1, head_dim = 8 }", "shape")])
def test_what_was_seen_nowhere_is_noticed(line: str, claim: str) -> None:
    chat = "" if "can" in line else 'can = ["chat"]\n'
    (piece,) = (piece for piece in cut(f'["x"]\n{chat}{line}\nseen = {{ page = "chat" }}\n'
                                       'sources = [{ format = "gguf", at = "hf:a/b", cite = "page" }]\n') if piece.name)
    assert entry_of(piece, {"page": "https://example.org"}).unseen == (claim,)


def test_what_is_cited_is_a_page_that_stays_as_it_is() -> None:
    for name, page in CITES.items():
        if page.startswith("https://github.com/"):
            assert _GITHUB.fullmatch(page), f"{name} names no commit"
    used = {source["cite"] for table in TABLES.values() for source in table["sources"]}
    used |= {name for table in TABLES.values() for name in table.get("seen", {})}
    assert CITES.keys() <= used, "explained, but never cited"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_form_of_an_entry(entry: Entry) -> None:
    assert entry.name == entry.name.strip("-.").lower()
    assert not entry.own
    assert entry.offers
    assert entry.active < entry.parameters or not entry.active
    for offer in entry.offers:
        for quantization in offer.quantizations:
            assert quantization_of(quantization), quantization
            assert bits_of(quantization), f"how large {quantization} is, is not known"
            found = offer.reference(quantization.lower())
            assert isinstance(found, HubReference | OllamaReference)
            if isinstance(found, HubReference) and offer.format is Format.GGUF:
                assert found.quantization == quantization.upper()
        if not offer.quantizations:
            assert offer.reference()
    if (shape := entry.shape) is not None:
        assert 0 < shape.layers < 200
        assert 0 < shape.kv_heads * shape.head_dim <= 16384
        assert shape.windowed <= shape.layers
        assert bool(shape.window) == bool(shape.windowed)
    assert not entry.context or 256 <= entry.context <= 2_000_000


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.parameters], ids=lambda entry: entry.name)
def test_parameters_are_as_many_as_the_name_says(entry: Entry) -> None:
    sizes = [float(number) * (1e9 if unit == "b" else 1e6) for number, unit in _SIZE.findall(entry.name)]
    if sizes and "llama-4" not in entry.name and not re.search(r"\d+x\d+b", entry.name):
        assert entry.parameters == pytest.approx(sizes[0], rel=0.35)


def test_all_that_a_model_can_do_occurs() -> None:
    assert {word for entry in ENTRIES for word in entry.can} == set(Capability)
    assert {Format.HF, Format.GGUF, Format.MLX, Format.GPTQ, Format.AWQ, Format.EXL2} <= {
        offer.format for entry in ENTRIES for offer in entry.offers}


def test_a_family_grows_with_its_sizes() -> None:
    for family in ("qwen2.5-{}-instruct", "qwen3-{}"):
        names = [family.format(size) for size in ("1.5b", "1.7b", "4b", "7b", "8b", "14b", "32b", "72b")]
        found = [entry for name in names for entry in ENTRIES if entry.name == name]
        assert len(found) >= 5
        assert all(small.parameters < large.parameters for small, large in pairwise(found))
