"""The shape of the code: who may import whom, and who may ask the kernel for what. Read from the source, not run."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE, LAYOUTS = REPOSITORY / "helixstore", REPOSITORY / "layouts"

#: part -> the parts that it may import, beside `values` and `errors`, which are below all, and itself
BELOW = {
    "values": frozenset(),
    "errors": frozenset(),
    "results": frozenset(),
    "fs": frozenset(),
    "formats": frozenset({"fs"}),
    "catalogue": frozenset({"fs", "formats"}),
    "hub": frozenset({"fs"}),
    "oci": frozenset({"fs", "formats", "hub"}),
    "store": frozenset({"fs"}),
    "index": frozenset({"fs", "formats", "store"}),
    "providers": frozenset({"fs", "formats"}),
    "farm": frozenset({"fs", "formats", "store", "index", "providers"}),
    "places": frozenset({"fs", "store"}),
    "setting_values": frozenset({"sizes"}),
    "settings": frozenset({"fs", "places", "setting_values"}),
    "trial": frozenset({"fs"}),
    "hardware": frozenset(),
    "sizes": frozenset(),
    "session": frozenset({"fs", "hub", "store", "index", "providers", "farm", "places", "settings"}),
}
BELOW["sync"] = frozenset(BELOW) - {"values", "errors"}
BELOW["testing"] = BELOW["watch"] = BELOW["sync"] | {"sync"}
BELOW["download"] = BELOW["sync"] | {"sync", "session"}
BELOW["commands"] = BELOW["testing"] | {"testing", "watch", "download", "version"}
BELOW["engine"] = BELOW["commands"] | {"commands"}
BELOW["cli"] = BELOW["engine"] | {"engine"}
#: `import helixstore` and `python -m helixstore` hand on to the engine and the command line
DOORS = frozenset({"__init__", "__main__"})

PROVIDERS = frozenset(path.stem for path in LAYOUTS.glob("*.py")) & {
    "vllm", "llamacpp", "ollama", "localai", "fastchat", "textgen", "lmstudio", "jan", "koboldai", "gpt4all",
    "tabbyapi", "mlx", "mistralrs", "comfyui", "dockermodels", "lemonade", "ramalama", "sglang"}
KERNEL_CALLS = frozenset({
    "link", "symlink", "rename", "renames", "replace", "unlink", "remove", "fsync", "fdatasync", "sync",
    "copy_file_range", "sendfile", "chflags",
})
KERNEL_METHODS = frozenset({"symlink_to", "hardlink_to", "unlink"})
KERNEL_MODULES = frozenset({"fcntl", "ctypes", "msvcrt"})


class Import(NamedTuple):
    source: Path
    line: int
    module: str


def sources(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*.py"))
    assert found
    return found


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def nodes(tree: ast.AST) -> list[ast.AST]:
    """Everything in a file, but for methods that play how a program deletes a model, which only tests call."""
    found, left = [], [tree]
    while left:
        for node in ast.iter_child_nodes(left.pop()):
            if not (isinstance(node, ast.FunctionDef) and node.name == "delete_as_program_does"):
                found.append(node)
                left.append(node)
    return found


def imports(path: Path) -> Iterator[Import]:
    """Every import, those inside functions and for type checkers too; of `from a import b` both `a` and `a.b`."""
    for node in nodes(parsed(path)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(path, node.lineno, name.name)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (f"{node.module}." if node.module else "")
            for name in node.names:
                yield Import(path, node.lineno, base + name.name)


def part_of(module: str) -> str:
    """`helixstore.store.blobs` -> `store`."""
    words = module.split(".")
    name = words[1] if len(words) > 1 else "__init__"
    return "engine" if name in ("HelixStore", "looking") else "version" if name == "__version__" else name


def where(one: Import) -> str:
    return f"{one.source.relative_to(REPOSITORY)}:{one.line}: {one.module}"


def test_imports_run_one_way() -> None:
    wrong = []
    for path in sources(PACKAGE):
        inside = path.relative_to(PACKAGE)
        if inside.parent == Path() and path.stem in DOORS:
            continue
        part = part_of(f"helixstore.{inside.parts[0].removesuffix('.py')}")
        assert part in BELOW, f"{inside} belongs to no part that this test knows"
        allowed = BELOW[part] | {part, "values", "errors", "version"}
        for one in imports(path):
            if one.module.startswith("."):
                wrong.append(f"{where(one)}: relative")
            elif one.module.partition(".")[0] == "helixstore" and part_of(one.module) not in allowed:
                wrong.append(f"{where(one)}: {part} is not above {part_of(one.module)}")
    assert wrong == []


def test_the_order_of_the_parts_has_no_circle() -> None:
    above: dict[str, int] = {}
    while len(above) < len(BELOW):
        ready = [part for part, below in BELOW.items() if part not in above and below - {"version"} <= above.keys()]
        assert ready, "a part is above itself"
        above.update(dict.fromkeys(ready, len(above)))


def test_layouts_know_only_their_interface() -> None:
    wrong = []
    allowed = ("helixstore.values.", "helixstore.errors.", "helixstore.providers.layout.", "helixstore.formats.names.",
               "helixstore.fs.names.")
    for path in sources(LAYOUTS):
        for one in imports(path):
            top = one.module.partition(".")[0]
            fine = top in sys.stdlib_module_names or one.module.startswith(("__future__.", *allowed)) or \
                one.module in ("helixstore.formats.Inspection", "helixstore.formats.Part", "yaml") or \
                (not top and not one.module.startswith(".."))
            if not fine:
                wrong.append(where(one))
    assert wrong == []


def test_one_place_asks_the_kernel() -> None:
    """Links, renames, removals and flushes go through fs/kernel.py, locks and leases through fs/locks.py, what only a
    repair needs through fs/mending.py; fs/mounts.py asks a file system for its UUID."""
    wrong = []
    for path in [*sources(PACKAGE), *sources(LAYOUTS)]:
        if path.parent == PACKAGE / "fs" and path.stem in ("kernel", "locks", "mending", "mounts"):
            continue
        wrong += [where(one) for one in imports(path) if one.module.partition(".")[0] in KERNEL_MODULES]
        wrong += [f"{path.relative_to(REPOSITORY)}:{node.lineno}: {ast.unparse(node.func)}"
                  for node in nodes(parsed(path)) if isinstance(node, ast.Call) and asks_the_kernel(node.func)]
    assert wrong == []


def asks_the_kernel(function: ast.expr) -> bool:
    if not isinstance(function, ast.Attribute):
        return False
    owner = function.value.id if isinstance(function.value, ast.Name) else ""
    return (owner == "os" and function.attr in KERNEL_CALLS) or \
        (owner not in ("os", "kernel") and function.attr in KERNEL_METHODS)


def test_the_engine_names_no_provider() -> None:
    """Outside the registry, which lists them in their order, and texts for people, no string is a provider's name."""
    assert len(PROVIDERS) == 18
    wrong = []
    for path in sources(PACKAGE):
        inside = path.relative_to(PACKAGE).as_posix()
        if inside == "providers/registry.py":
            continue
        wrong += [where(one) for one in imports(path) if one.module.startswith(("layouts", "helixstore.layouts"))]
        wrong += [f"{inside}:{node.lineno}: {node.value!r}" for node in ast.walk(parsed(path))
                  if isinstance(node, ast.Constant) and node.value in PROVIDERS
                  and not (inside == "values.py" and node.value == "mlx")]      # the format
    assert wrong == []


def test_every_folder_is_installed() -> None:
    """The wheel holds what pyproject.toml lists, and nothing is forgotten in it."""
    listed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(path.parent.relative_to(REPOSITORY).parts) for path in PACKAGE.rglob("__init__.py")}
    layouts = {".".join(("helixstore", *path.parent.relative_to(REPOSITORY).parts))
               for path in LAYOUTS.rglob("__init__.py")}
    assert set(listed) == there | layouts
    assert {path.parent for path in sources(PACKAGE)} == {path.parent for path in PACKAGE.rglob("__init__.py")}


@pytest.mark.parametrize("folder", ["helixstore", "layouts"])
def test_a_file_is_read_in_one_sitting(folder: str) -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(REPOSITORY / folder)}
    assert {str(path): count for path, count in lines.items() if count > 500} == {}


@pytest.mark.parametrize("arguments", [["--help"], ["sync", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    heavy = ("rich", "pydantic", "huggingface_hub", "lmdb", "blake3", "xxhash", "tomlkit", "tqdm", "watchdog",
             "filelock", "helixstore.store", "helixstore.index", "helixstore.farm")
    script = ("import sys\nfrom helixstore.cli import main\nsys.argv = ['helixstore', *sys.argv[1:]]\n"
              f"try:\n    main()\nfinally:\n    print('loaded:', *(m for m in {heavy} if m in sys.modules))")
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False,
                          cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports them by name alone."""
    names = [path.name for path in (REPOSITORY / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("package", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_a_package_that_tells_of_its_files_tells_of_all(package: Path) -> None:
    """Its docstring has lines of `name, name    what they are`, so that nobody must open all to find the right one."""
    lines = (ast.get_docstring(parsed(package), clean=False) or "").splitlines()
    told = [name.strip() for line in lines if (row := re.fullmatch(r" {4}([a-z][a-z_, ]*?) {2,}\S.*", line))
            for name in row[1].split(",")]
    if told:
        assert sorted(told) == sorted(path.stem for path in package.parent.glob("*.py") if path != package)
