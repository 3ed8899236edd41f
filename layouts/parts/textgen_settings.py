"""TextGen's `config-user.yaml`: which projector goes with which file, and our entries among the person's.

Its keys are regular expressions, matched in lower case from the start of a file's name; the interface writes the name
and `$`, unescaped. They are read as far as names, dots and `.*` go: anything more could take for ever to match, and is
TextGen's alone. Entries marked `# helixstore` are ours; one that the interface has rewritten is the person's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from . import yaml_lines
from .yaml_tree import first_document, text_at

__all__ = ["MARK", "Setting", "Settings", "merge", "read_setting", "without", "written"]

MARK = "  # helixstore"
_PIECES = re.compile(r"\\(?P<escaped>\W)|(?P<any>\.\*)|(?P<plain>[\w\-. ,@%/~=&!#'\"<>:;])", re.ASCII)


class Setting(NamedTuple):
    """That the files which a pattern names run with a projector: a name in the `mmproj` folder, or a full path."""

    pattern: str
    projector: str
    ours: bool = False

    def text(self) -> str:
        """As `config-user.yaml` has it."""
        mark = MARK if self.ours else ""
        return f"{yaml_lines.quote(self.pattern)}:\n  mmproj: {yaml_lines.quote(self.projector)}{mark}\n"


class Settings:
    """The projectors that a `config-user.yaml` names.

    Args:
        text: of the file.

    Raises:
        ValueError: it is no YAML, or no mapping.
    """

    def __init__(self, text: str) -> None:
        self._exact: dict[str, tuple[int, Setting]] = {}
        self._parts: list[tuple[int, list[str], bool, Setting]] = []
        document = first_document(text)
        if document is not None and not isinstance(document, dict):
            raise ValueError("there is no mapping of names to settings")
        for number, (pattern, values) in enumerate((document or {}).items()):
            pieces = _pieces(pattern.casefold())
            if not isinstance(values, dict) or "mmproj" not in values or pieces is None:
                continue
            parts, whole = pieces
            ours = MARK.strip() in yaml_lines.block(text, pattern, "mmproj")
            setting = Setting(pattern, text_at(values, "mmproj"), ours)
            if whole and len(parts) == 1:
                self._exact[parts[0]] = number, setting
            else:
                self._parts.append((number, parts, whole, setting))

    @property
    def any(self) -> bool:
        """Whether it names a projector at all."""
        return bool(self._exact or self._parts)

    def projector_for(self, file: str) -> Setting | None:
        """The setting that holds for a file's name, if it names a projector."""
        name = file.casefold()
        found = [(number, setting) for number, parts, whole, setting in self._parts if _matches(name, parts, whole)]
        if (exact := self._exact.get(name)) is not None:
            found.append(exact)
        setting = max(found, default=(0, None), key=lambda pair: pair[0])[1]
        return setting if setting is not None and setting.projector not in ("", "None") else None


def read_setting(text: str) -> Setting | None:
    """The one setting that `Setting.text` wrote."""
    pattern = next(yaml_lines.keys(text), "")
    projector = yaml_lines.read(text, pattern, "mmproj") if pattern else None
    return Setting(pattern, projector, MARK.strip() in text) if projector else None


def _pieces(pattern: str) -> tuple[list[str], bool] | None:
    """What stands between the `.*` of a pattern, and whether it reaches to the end; None for one that says more."""
    whole = pattern.endswith("$")
    pattern = pattern.removeprefix("^").removesuffix("$")
    parts, at = [""], 0
    while at < len(pattern):
        match = _PIECES.match(pattern, at)
        if match is None:
            return None
        if match["any"]:
            parts.append("")
        else:
            parts[-1] += match["escaped"] or match["plain"]
        at = match.end()
    return parts, whole


def _matches(name: str, parts: list[str], whole: bool) -> bool:
    """Whether the parts follow each other in a name, the first at its start and, if `whole`, the last at its end."""
    first, *rest = parts
    if not name.startswith(first):
        return False
    if not rest:
        return len(name) == len(first) if whole else True
    at = len(first)
    for part in rest[:-1] if whole else rest:
        at = name.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return not whole or (len(name) - len(rest[-1]) >= at and name.endswith(rest[-1]))


def written(projectors: Mapping[str, str]) -> bytes:
    """Our entries: file name -> projector."""
    return "".join(
        f"{name}$:\n  mmproj: {yaml_lines.quote(projectors[name])}{MARK}\n" for name in sorted(projectors)).encode()


def without(data: bytes, gone: Callable[[str], bool]) -> bytes | None:
    """Settings without our entries, and, where the interface has rewritten them, without what they said.

    Args:
        data: a `config-user.yaml`.
        gone: whether a projector, as the settings name it, goes away.

    Returns:
        b"" when nothing else is in it; None when it cannot be read.
    """
    rest = merge(None, data, b"")
    if rest is None:
        return None
    text = rest.decode()
    for key in list(yaml_lines.keys(text)):
        projector = yaml_lines.read(text, key, "mmproj")
        if projector and gone(projector):
            alone = yaml_lines.block(text, key).count("\n") <= 2
            text = yaml_lines.remove(text, key) if alone else yaml_lines.remove(text, key, "mmproj")
    return text.encode() if text.strip() else b""


def merge(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes | None:
    """Theirs, with our entries added, brought up to date, or, where they are not wanted any more, taken out."""
    if theirs is None or theirs == base:
        return ours
    try:
        text, wanted = theirs.decode(), ours.decode()
    except UnicodeDecodeError:
        return None
    present = list(yaml_lines.keys(text))
    if text.strip() and not present:
        return None
    new = {key: yaml_lines.read(wanted, key, "mmproj") for key in yaml_lines.keys(wanted)}
    for key in present:
        block = yaml_lines.block(text, key)
        if block.count("\n") == 2 and block.rstrip().endswith(MARK) and key not in new:
            text = yaml_lines.remove(text, key)
    for key, value in new.items():
        line = f"{yaml_lines.quote(value or '')}{MARK}"
        if key not in present:
            text = text if not text or text.endswith("\n") else f"{text}\n"
            text += f"{key}:\n  mmproj: {line}\n"
        elif yaml_lines.read(text, key, "mmproj") is None or MARK.strip() in yaml_lines.block(text, key, "mmproj"):
            text = yaml_lines.write(text, line, key, "mmproj")
    return text.encode()
