"""For those who write layouts: which there are, a first one that works at once, and whether one keeps its contract."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helixstore.errors import Failed, Usage
from helixstore.fs.private import make_private
from helixstore.session import Machine
from helixstore.values import Issue

if TYPE_CHECKING:
    from helixstore.providers.layout import Layout
    from helixstore.testing import Outcome

__all__ = ["Checked", "LayoutView", "Scaffold", "check", "layouts", "new", "scaffold"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_OURS = "helixstore.layouts."


@dataclass(frozen=True, slots=True)
class LayoutView:
    """One layout: whose it is ("helixstore", or the file that it is in), and what it was checked against."""

    name: str
    title: str
    origin: str
    checked: tuple[str, ...]
    formats: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scaffold:
    """A first layout: the file that it was written to, and its test for pytest."""

    name: str
    path: Path
    test: str
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """How a layout did: each check, and how many passed."""

    name: str
    title: str
    checks: tuple[Outcome, ...]
    passed: int
    failed: int


def layouts(machine: Machine) -> tuple[list[LayoutView], list[Issue]]:
    """Every layout, and what is wrong with those that were left out."""
    found = [LayoutView(name, layout.title, _origin(layout), tuple(layout.checked), tuple(map(str, layout.formats)))
             for name, layout in machine.layouts.items()]
    return found, machine.issues


def new(machine: Machine, name: str, *, dry_run: bool = False) -> Scaffold:
    """Write a first layout into the configuration's folder, as a file that works at once.

    Args:
        machine: says where the configuration is.
        name: the provider's name.
        dry_run: only say where it would lie.

    Raises:
        Usage: the name is none, or some layout has it already.
        Failed: the file is there, or cannot be written.
    """
    from helixstore.fs import kernel

    if not _NAME.fullmatch(name):
        raise Usage(f"{name!r} is no name for a layout", "lower-case letters, digits and _, a letter first")
    if name in machine.layouts:
        raise Usage(f"there is a layout called {name} already: {_origin(machine.layouts[name])}",
                    f"helixstore layouts check {name}")
    path = machine.places.layouts / f"{name}.py"
    if not dry_run:
        try:
            make_private(path.parent)
            kernel.write_new(path, scaffold(name).encode())
        except OSError as error:
            raise Failed(f"{path} cannot be written: {error.strerror}", "move what is in the way", path) from error
    return Scaffold(name, path, _test(name), dry_run)


def check(machine: Machine, name: str, names: Sequence[str] | None = None) -> Checked:
    """Try a layout with every check, without pytest.

    Args:
        machine: whose layouts.
        name: the provider's.
        names: of these checks only; None for all.

    Raises:
        Usage: there is no such layout, with the reason if it could not be loaded; or no such check.
    """
    from helixstore.testing import CHECKS, run

    if name not in machine.layouts and machine.issues:
        first = machine.issues[0]
        raise Usage(f"no layout is called {name}; {first.path}: {first.message}", first.remedy)
    layout = machine.layout(name)
    if unknown := [one for one in names or () if one not in CHECKS]:
        raise Usage(f"no check is called {unknown[0]}", f"helixstore layouts check {name} lists them")
    outcomes = tuple(run(layout, names))
    passed = sum(outcome.passed for outcome in outcomes)
    return Checked(name, layout.title, outcomes, passed, len(outcomes) - passed)


def scaffold(name: str) -> str:
    """The source of a first layout: one flat folder of GGUF files."""
    words = name.split("_")
    return (_SCAFFOLD.replace("NAME_MODELS", f"{name.upper()}_MODELS").replace("@name@", name)
            .replace("@Class@", "".join(word.capitalize() for word in words))
            .replace("@Title@", " ".join(word.capitalize() for word in words)))


def _test(name: str) -> str:
    words = "".join(word.capitalize() for word in name.split("_"))
    return f'from helixstore.testing import LayoutSuite\nclass Test{words}(LayoutSuite):\n    layout = "{name}"\n'


def _origin(layout: Layout) -> str:
    module = type(layout).__module__
    if module.startswith(_OURS):
        return "helixstore"
    return getattr(sys.modules.get(module), "__file__", None) or module


_SCAFFOLD = '''"""@Title@: one flat folder of GGUF files.

What the program really does with its folder, in which version, and where that is known from, stands here.
"""

from helixstore.providers.layout import Entry, Found, Layout, Refusal, Root, Weight, sanitize, unique_names
from helixstore.values import Format, Purpose, Source


class @Class@(Layout):
    """Reads *.gguf in its folder."""

    name = "@name@"                     # on the command line and in JSON
    title = "@Title@"                   # for people
    checked = ("1.0",)                  # the versions of the program that this was compared with
    formats = (Format.GGUF,)            # what it loads, the best first
    refresh = ""                        # what makes a running program see a change, for people

    def roots(self, env):
        """Where it looks: the folder that the person named, the program's own variable, its default."""
        if env.setting:
            return [Root(env.setting, "setting")]
        if folder := env.variable("NAME_MODELS"):
            return [Root(folder, "NAME_MODELS")]
        return [Root(env.home / "@name@" / "models", "default")]

    def accepts(self, variant, facts):
        """None if the program can load it, else why not, and into which format a conversion would help."""
        if variant.format is not Format.GGUF:
            return Refusal("it reads GGUF only", wants=(Format.GGUF,))
        if variant.purpose not in (Purpose.MODEL, Purpose.EMBEDDING):
            return Refusal("it is a part of a model, which does not run by itself")
        if len(variant.weights) != 1:
            return Refusal("it reads models of one file only")
        return None

    def project(self, variants, root, facts):
        """One file for each model: under the name that it has there already, else under one made of its own."""
        lies = {v.key: place for v in variants if (place := self._place(v))}
        wanted = {v.key: sanitize(f"{v.key.model}-{v.quantization}") for v in variants}
        names = unique_names(wanted, {v.key: v.manifest for v in variants}, fixed=lies)
        for variant in variants:
            file = variant.weights[0]
            yield Entry(f"{names[variant.key]}.gguf", Weight(file.blake3, file.bytes), variant.key, witness=True)

    def discover(self, root, reader):
        """What lies there, whoever put it there. The source's name tells where, so that `project` leads back to it."""
        for model in reader.models(root.path):
            if model.format is Format.GGUF and model.location.suffix == ".gguf":
                yield Found(model, Source("program", program=self.name, name=model.location.name), model.name)

    def _place(self, variant):
        """The name of the file, without its extension, if the model lies in this program's own folder."""
        names = [source.name for source in variant.sources if source.program == self.name]
        return next((name[:-5] for name in names if name and name.endswith(".gguf") and "/" not in name), None)
'''
