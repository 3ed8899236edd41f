"""Which layouts there are: the built-in ones and those of third parties, found in the same way.

A layout comes by the entry-point group `helixstore.layouts.v1` of an installed package, or as a single file in the
configuration's `layouts` folder. Whatever goes wrong while one is loaded is an issue, and the others work on: a
package of somebody else must not stop `leave`.

HELIXSTORE_PLUGINS isolates: unset, all are loaded; `none`, only our own; `a,b`, our own and those of these names (of
the entry point, or of the file without `.py`).

Reading the entry points of all installed packages takes 3 ms with 50 of them, after the 20 ms that Python's own
`importlib.metadata` takes to be imported, so nothing is cached that could be stale.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from helixstore.errors import LayoutError
from helixstore.fs.listing import listdir
from helixstore.fs.private import read_trusted, why_open
from helixstore.providers.layout import Layout
from helixstore.values import Format, Issue

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "ORDER", "load_layouts"]

GROUP = "helixstore.layouts.v1"

#: the order in which providers are listed: those of the guide first; others, built in or not, follow by name
ORDER = ("vllm", "llamacpp", "ollama", "localai", "fastchat", "textgen", "lmstudio", "jan", "koboldai", "gpt4all",
         "tabbyapi", "mlx", "mistralrs", "huggingface")

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_OURS = "helixstore"
_CLOSE = "if you trust what it does, make it yours alone: chown $USER {0}; chmod go-w {0}"

Report = Callable[[Issue], None]


def load_layouts(
    config_folder: Path | None, environ: Mapping[str, str] | None = None, issue: Report | None = None
) -> dict[str, Layout]:
    """All layouts by provider name, in the order in which they are listed.

    Args:
        config_folder: the person's configuration folder, absolute; layouts lie in its `layouts`. None: not looked at.
        environ: environment variables; None: this process's.
        issue: called for each layout that is left out, and why.

    A file in the configuration's folder replaces a built-in layout of the same name: so a person mends one that a
    program has outgrown. A package cannot; the second of one name is left out.
    """
    report = issue or (lambda _: None)
    wanted = _plugins(os.environ if environ is None else environ)
    found: dict[str, Layout] = {}
    ours, others = _entry_points()
    for point in (*ours, *(one for one in others if wanted is None or one.name in wanted)):
        layout = _from_entry_point(point, report)
        if layout is None:
            continue
        if layout.name in found:
            report(_issue(point.value, f"a second layout calls itself {layout.name}; it is left out"))
            continue
        found[layout.name] = layout
    for path in _files(config_folder, report):
        if wanted is None or path.stem in wanted:
            found.update((layout.name, layout) for layout in _from_file(path, report))
    if not found:
        report(_issue(GROUP, "no layout was found: the installation of helixstore is damaged", "install it again"))
    return {name: found[name] for name in sorted(found, key=_rank)}


def _plugins(environ: Mapping[str, str]) -> frozenset[str] | None:
    """The names in HELIXSTORE_PLUGINS; None when it is not set."""
    value = environ.get("HELIXSTORE_PLUGINS", "").strip()
    if not value:
        return None
    return frozenset(name.strip() for name in value.split(",")) - {"none", ""}


def _entry_points() -> tuple[list[EntryPoint], list[EntryPoint]]:
    """Our own and those of other packages, each sorted. Which package one is of is not asked of each: that parses
    the description of the package again each time."""
    from importlib.metadata import PackageNotFoundError, distribution, entry_points

    try:
        ours = set(distribution(_OURS).entry_points.select(group=GROUP))
    except PackageNotFoundError:
        ours = set()
    every = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    return [point for point in every if point in ours], [point for point in every if point not in ours]


def _from_entry_point(point: EntryPoint, report: Report) -> Layout | None:
    try:
        return _checked(point.load())
    except Exception as error:  # noqa: BLE001 - a third party's module may raise anything when it is imported
        report(_issue(f"{point.name} = {point.value}", _said(error), "update or remove the package"))
        return None


def _files(config_folder: Path | None, report: Report) -> list[Path]:
    """The single-file layouts, sorted by name."""
    if config_folder is None:
        return []
    folder = config_folder / "layouts"
    try:
        names = sorted(listdir(folder))
        for above in (config_folder, folder) if names else ():
            if why := why_open(os.stat(above)):
                report(_issue(str(above), f"{why}, so no layout in it is run", _CLOSE.format(shlex.quote(str(above)))))
                return []
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        report(_issue(str(folder), f"cannot be read: {error.strerror}"))
        return []
    return [folder / name for name in names if name.endswith(".py") and not name.startswith((".", "_"))]


def _from_file(path: Path, report: Report) -> list[Layout]:
    """The layouts that one file defines; none, and an issue, when it cannot be imported."""
    name = f"helixstore_layout_{re.sub(r'[^0-9a-zA-Z_]', '_', path.stem)}"
    try:
        return _import(path, name)
    except Exception as error:  # noqa: BLE001 - a person's file may raise anything when it is imported
        sys.modules.pop(name, None)
        report(_issue(str(path), _said(error), getattr(error, "remedy", "") or "mend the file, or move it away"))
        return []


def _import(path: Path, name: str) -> list[Layout]:
    """The layouts defined in the file itself; those that it imports are not its own.

    It is compiled from the bytes whose owner and mode were looked at: no compiled file beside it is read or written.

    Raises:
        LayoutError: there are none, one breaks the contract, or others could have written the file; and whatever the
            file raises.
    """
    source, why = read_trusted(path)
    if why:
        raise LayoutError(f"{why}, so it is not run", _CLOSE.format(shlex.quote(str(path))))
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))  # noqa: S102  # that is what a layout is: the person's code
    layouts = [_checked(value) for value in vars(module).values() if _defined_in(value, name)]
    if not layouts:
        raise LayoutError(f"{path.name} defines no subclass of helixstore.providers.layout.Layout")
    return layouts


def _defined_in(value: object, module: str) -> bool:
    return (isinstance(value, type) and issubclass(value, Layout) and value.__module__ == module
            and not inspect.isabstract(value) and not value.__name__.startswith("_"))


def _checked(value: object) -> Layout:
    """An instance of the layout class, if it keeps the contract as far as can be seen without a call.

    Raises:
        LayoutError: it does not.
    """
    if not (isinstance(value, type) and issubclass(value, Layout)):
        raise LayoutError(f"{value!r} is no subclass of helixstore.providers.layout.Layout")
    if inspect.isabstract(value):
        raise LayoutError(f"{value.__name__} lacks {', '.join(sorted(value.__abstractmethods__))}")
    missing = [name for name in ("name", "title", "checked", "formats") if not hasattr(value, name)]
    if missing:
        raise LayoutError(f"{value.__name__} does not say its {', '.join(missing)}")
    if not isinstance(value.name, str) or not _NAME.fullmatch(value.name):
        raise LayoutError(f"{value.__name__} has the name {value.name!r}: lower-case letters, digits, - and _ only")
    if not all(isinstance(item, Format) for item in value.formats):
        raise LayoutError(f"{value.__name__} names formats that are no helixstore.Format")
    return cast(type[Any], value)()     # type: ignore[no-any-return]


def _rank(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _said(error: Exception) -> str:
    text = str(error) or "no message"
    return text if isinstance(error, LayoutError) else f"cannot be imported: {type(error).__name__}: {text}"


def _issue(path: str, message: str, remedy: str = "") -> Issue:
    return Issue("layout", path, message, remedy)
