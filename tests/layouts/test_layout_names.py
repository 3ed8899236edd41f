"""Names that every layout makes: legal, unique, steady. And the YAML of other programs, changed one value at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from many import check_names, check_steady, gguf, once, variants

from helixstore.farm.desired import join
from helixstore.fs.names import check_relative, folded
from helixstore.providers.layout import Layout, Root, unique_names
from helixstore.values import Key, Source, Variant
from layouts.gpt4all import GPT4All
from layouts.jan import Jan
from layouts.koboldai import KoboldAI
from layouts.llamacpp import LlamaCpp
from layouts.lmstudio import LMStudio
from layouts.localai import LocalAI
from layouts.ollama import Ollama
from layouts.parts import yaml_lines
from layouts.parts.gguf_files import stem
from layouts.parts.names import label, legal
from layouts.textgen import TextGen
from support.layouts import FACTS, hub

LAYOUTS = [Ollama(), LMStudio(), Jan(), GPT4All(), LocalAI(), LlamaCpp(), KoboldAI(), TextGen()]
ROOT = Root(Path("/srv/models"), "test")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@given(many=variants())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_names_give_legal_unique_steady_entries(layout: Layout, many: list[Variant]) -> None:
    accepted = [variant for variant in many if layout.accepts(variant, FACTS) is None]
    entries = once(layout.project(accepted, ROOT, FACTS))
    check_names(entries, accepted)
    joined, issues = join("/srv/models", [(layout.name, layout.project(accepted, ROOT, FACTS))])
    assert issues == []
    assert set(joined.entries) == {entry.path for entry in entries}
    if layout.name != "lmstudio":               # there a model with another projector moves a folder by design
        check_steady(layout, accepted, ROOT)


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout.alike(gguf("a")) is not None],
                         ids=lambda layout: layout.name)
def test_names_that_collide_without_what_is_not_ascii_are_alike(layout: Layout) -> None:
    """Folding makes `fi` of one letter, which a program that knows ASCII only leaves out."""
    one, other = layout.alike(gguf("\ufb01")), layout.alike(gguf("\u6a21"))
    assert one is not None
    assert other is not None
    assert set(one) & set(other)


def test_names_that_cannot_lie_side_by_side_are_told_alike_in_any_order() -> None:
    many = [gguf(name) for name in ("one", "two", "three", "four")]
    spelt = ("x/Same", "x/same", "y/same", "y/SAME")
    spoilt = [replace(next(iter(GPT4All().project([variant], ROOT, FACTS))), path=path)
              for variant, path in zip(many, spelt, strict=True)]
    told = [join(str(ROOT.path), [("gpt4all", each)]) for each in (spoilt, spoilt[::-1])]
    assert told[0][1]
    assert dict(told[0][0].refused) == dict(told[1][0].refused)
    assert sorted(map(str, told[0][1])) == sorted(map(str, told[1][1]))


@given(st.text(max_size=400), st.booleans())
def test_legal_is_one_safe_component_and_stays_as_it_is(text: str, ascii_only: bool) -> None:
    name = legal(text, ascii_only=ascii_only)
    assert check_relative(name) == name
    assert "/" not in name
    assert name[0] not in ".-"                  # neither hidden nor taken for an option
    assert len(name.encode()) <= 156
    assert legal(name, ascii_only=ascii_only) == name
    assert name.isascii() or not ascii_only


@pytest.mark.parametrize(("variant", "expected"), [
    (gguf("gemma-3-270m", file="gemma-3-270m.Q4_K_M.gguf"), "gemma-3-270m.Q4_K_M"),
    (gguf("gemma-3-270m-GGUF", file="gemma-3-270m-it-Q4_K_M.gguf", sources=[hub("org/gemma-3-270m-GGUF")]),
     "gemma-3-270m-it-Q4_K_M"),
    (gguf("gemma-3-270m-it-GGUF", file="gemma-3-270m-it-Q4_K_M.gguf"), "gemma-3-270m-it-Q4_K_M"),
    (gguf("my model", file="model.gguf"), "my-model-Q4_K_M"),
    (gguf("mine", file="ggml-model-q4_0.gguf"), "mine-Q4_K_M"),
    (gguf("mine", file=f"{'ab' * 32}.gguf"), "mine-Q4_K_M"),
    (gguf("mine", file="Q4_K_M.gguf"), "mine-Q4_K_M"),
    (gguf("work", file="gemma.gguf", sources=[Source("file", name="gemma.gguf")]), "work-Q4_K_M"),
    (gguf("gemma~2", file="gemma-Q4_K_M.gguf"), "gemma-2-Q4_K_M"),
    (gguf("big", shards=3), "big-Q4_K_M"),
    (gguf("Qwen3-8B-Q4_K_M", file="weights.gguf"), "Qwen3-8B-Q4_K_M"),
], ids=lambda value: value if isinstance(value, str) else None)
def test_the_original_name_stays_unless_it_says_nothing(variant: Variant, expected: str) -> None:
    assert stem(variant) == expected


def test_label_says_the_quantisation_once() -> None:
    assert label(gguf("tiny", "Q8_0")) == "tiny-Q8_0"
    assert label(gguf("tiny-q8_0", "Q8_0")) == "tiny-q8_0"
    assert label(gguf("tiny", "")) == "tiny"


# ---- YAML ------------------------------------------------------------------------------------------------------------

@given(st.text())
def test_what_is_quoted_is_read_back_by_a_real_parser_and_by_ours(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    line = f"key: {yaml_lines.quote(text)}\nother: 1\n"
    assert yaml.safe_load(line) == {"key": text, "other": 1}
    assert yaml_lines.read(line, "key") == text


_SCALAR = st.one_of(
    st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=120))
_MAPPING = st.dictionaries(st.text("xyz", min_size=1, max_size=4), _SCALAR, max_size=3)
_TREE = st.dictionaries(
    st.text("abcdefgh_.$", min_size=1, max_size=8), st.one_of(_SCALAR, st.lists(_SCALAR, max_size=3), _MAPPING),
    max_size=6)


@given(_TREE, st.sampled_from([None, '"', "'"]), st.sampled_from([40, 80, 10_000]))
@settings(deadline=None)
def test_setting_and_removing_one_value_leaves_every_other(
    tree: dict[str, object], style: str | None, width: int
) -> None:
    text = yaml.safe_dump(tree, sort_keys=False, default_style=style, width=width, default_flow_style=False)
    text = "" if not tree else text
    changed = yaml_lines.write(text, yaml_lines.quote("/new/path"), "model_path")
    assert yaml.safe_load(changed) == {**tree, "model_path": "/new/path"}
    assert yaml_lines.read(changed, "model_path") == "/new/path"
    again = yaml_lines.write(changed, yaml_lines.quote("/b"), "model_path")
    assert yaml.safe_load(again) == {**tree, "model_path": "/b"}
    assert (yaml.safe_load(yaml_lines.remove(again, "model_path")) or {}) == tree


def test_nested_values_comments_and_continued_lines() -> None:
    text = (
        "# mine\nname: x\nparameters:\n  # deep\n  temperature: 0.2\n  model: helix/x/a very\n    long name.gguf\n"
        "\nlist:\n- a\n- b\nmmproj: 'it''s'  # old\n")
    assert yaml_lines.read(text, "parameters", "model") == "helix/x/a very long name.gguf"
    assert yaml_lines.read(text, "mmproj") == "it's"
    assert yaml_lines.read(text, "parameters", "nothing") is None
    changed = yaml_lines.write(text, '"b.gguf"', "parameters", "model")
    assert yaml.safe_load(changed)["parameters"] == {"temperature": 0.2, "model": "b.gguf"}
    assert "# mine" in changed
    assert "# deep" in changed
    added = yaml_lines.write(text, "8", "parameters", "threads")
    assert yaml.safe_load(added)["parameters"]["threads"] == 8
    assert yaml_lines.read("{a: 1}", "a") is None
    with pytest.raises(KeyError):
        yaml_lines.write("a: 1\n", "2", "b", "c")


def test_names_that_a_file_system_takes_for_one_are_told_apart() -> None:
    composed, apart, upper = Key("a", "v"), Key("b", "v"), Key("c", "v")
    wanted = {composed: "caf\u00e9", apart: "cafe\u0301", upper: "CAF\u00c9"}
    names = unique_names(wanted, {key: f"{n:064x}"[::-1] for n, key in enumerate(wanted, 1)})
    assert len({folded(name) for name in names.values()}) == 3
