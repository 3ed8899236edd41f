"""The registry: all layouts, whoever wrote them, and none that can break the others."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from helixstore.providers.layout import Layout
from helixstore.providers.registry import GROUP, ORDER, load_layouts
from helixstore.values import Issue

#: those beyond the thirteen that the guide promises; like a third party's, they come after them, by name
MORE = ("comfyui", "dockermodels", "lemonade", "ramalama", "sglang")

GOOD = """
from helixstore.providers.layout import Layout
from helixstore.values import Format

class {cls}(Layout):
    name = {name!r}
    title = "House"
    checked = ("1",)
    formats = (Format.GGUF,)
    def roots(self, env): return []
    def accepts(self, variant, facts): return None
    def project(self, variants, root, facts): return []
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "layouts").mkdir()
    return tmp_path


def load(config: Path | None, plugins: str = "") -> tuple[dict[str, Layout], list[Issue]]:
    issues: list[Issue] = []
    return load_layouts(config, {"HELIXSTORE_PLUGINS": plugins}, issues.append), issues


def those(*others: str) -> tuple[str, ...]:
    """All names in their order: the built-in ones, and these."""
    return (*ORDER, *sorted((*MORE, *others)))


def drop(config: Path, file: str, text: str) -> None:
    (config / "layouts" / file).write_text(text)


def test_the_built_in_ones_are_there_in_their_order() -> None:
    layouts, issues = load(None)
    assert issues == []
    assert tuple(layouts) == those()
    assert all(name == layout.name for name, layout in layouts.items())


@pytest.mark.parametrize("name", those())
def test_each_says_what_the_contract_asks(name: str) -> None:
    layout = load(None)[0][name]
    assert layout.title
    assert layout.checked
    assert all(isinstance(version, str) and version for version in layout.checked)
    assert len(set(layout.formats)) == len(layout.formats) > 0
    assert layout.aliases <= {"sha256", "gitsha1", "xet"}
    assert all(isinstance(argument, str) for argument in layout.launch)


def test_a_file_dropped_into_the_configuration_is_a_provider(config: Path) -> None:
    drop(config, "house.py", GOOD.format(cls="House", name="house"))
    layouts, issues = load(config)
    assert issues == []
    assert tuple(layouts) == those("house")
    assert list(layouts["house"].project([], None, None)) == []  # type: ignore[arg-type]


def test_a_persons_file_replaces_a_layout_that_a_program_has_outgrown(config: Path) -> None:
    drop(config, "mine.py", "from helixstore.layouts.vllm import VLLM\nclass Mine(VLLM):\n    title = 'My vLLM'\n")
    layouts, issues = load(config)
    assert issues == []
    assert layouts["vllm"].title == "My vLLM"
    assert tuple(layouts) == those()


@pytest.mark.parametrize(("text", "said"), [
    ("import nowhere_to_be_found", "ModuleNotFoundError"),
    ("class", "SyntaxError"),
    ("1 / 0", "ZeroDivisionError"),
    ("x = 1", "defines no subclass"),
    ("from helixstore.layouts.vllm import VLLM", "defines no subclass"),
    (GOOD.format(cls="X", name="Not A Name"), "Not A Name"),
    (GOOD.format(cls="X", name="x").replace('title = "House"', "pass"), "title"),
    (GOOD.format(cls="X", name="x").replace("(Format.GGUF,)", "('gguf?',)"), "formats"),
    ("from helixstore.providers.layout import Layout\nclass X(Layout):\n    name = 'x'\n", "defines no subclass"),
])
def test_a_broken_file_is_an_issue_and_the_others_work_on(text: str, said: str, config: Path) -> None:
    drop(config, "broken.py", text)
    drop(config, "house.py", GOOD.format(cls="House", name="house"))
    layouts, issues = load(config)
    assert tuple(layouts) == those("house")
    issue, = issues
    assert (issue.kind, issue.path) == ("layout", str(config / "layouts/broken.py"))
    assert said in issue.message
    assert issue.remedy


def test_a_missing_folder_is_no_issue(tmp_path: Path) -> None:
    for config in (tmp_path / "none", tmp_path):
        assert load(config)[1] == []
    (tmp_path / "layouts").write_text("a file")
    assert load(tmp_path)[1] == []


@pytest.mark.parametrize(("plugins", "extra"), [
    ("", ("one", "two")), ("none", ()), ("one", ("one",)), ("one, two", ("one", "two")), ("three", ())])
def test_plugins_can_be_left_out(plugins: str, extra: tuple[str, ...], config: Path) -> None:
    for name in ("one", "two"):
        drop(config, f"{name}.py", GOOD.format(cls=name.title(), name=name))
    drop(config, "_helper.py", "1 / 0")
    assert tuple(load(config, plugins)[0]) == those(*extra)


def install(site: Path, name: str, points: dict[str, str], module: str) -> None:
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "".join(f"{key} = {value}\n" for key, value in points.items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
    (site / f"{name}_module.py").write_text(module)


def test_a_package_adds_a_layout_and_cannot_take_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    module = GOOD.format(cls="House", name="house") + GOOD.format(cls="Thief", name="ollama")
    install(site, "acme", {"house": "acme_module:House", "aaa": "acme_module:Thief", "gone": "acme_module:Gone",
                           "function": "acme_module:Format"}, module)
    monkeypatch.syspath_prepend(str(site))
    layouts, issues = load(None)
    assert tuple(layouts) == those("house")
    assert layouts["ollama"].title == "Ollama"
    assert {issue.path.split(" ")[0] for issue in issues} == {"acme_module:Thief", "gone", "function"}
    assert tuple(load(None, "none")[0]) == those()
    assert tuple(load(None, "house")[0]) == those("house")


def test_every_built_in_is_declared_and_nothing_else() -> None:
    ours = {point.name for point in entry_points(group=GROUP) if point.dist and point.dist.name == "helixstore"}
    assert ours == set(those())


def test_finding_them_costs_little() -> None:
    """Ten times the 3 ms that were measured, best of several, without importing the modules."""
    def once() -> float:
        begun = time.perf_counter()
        assert len(entry_points(group=GROUP)) >= len(those())
        return time.perf_counter() - begun

    assert min(once() for _ in range(10)) < 0.03


def test_no_layout_drags_in_what_is_heavy() -> None:
    code = ("import sys\nfrom pathlib import Path\nfrom helixstore.providers.registry import load_layouts\n"
            "load_layouts(None, {})\n"
            "print(sorted(set(sys.modules) & {'huggingface_hub', 'tqdm', 'rich', 'typer', 'tomlkit', 'yaml', 'lmdb'}))")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
