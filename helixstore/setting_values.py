"""What makes the value of a setting, of TOML or of the text of a variable; or why it makes no sense."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helixstore.sizes import bytes_of
from helixstore.values import LinkKind

__all__ = [
    "Bad", "Origin", "hosts", "links", "mirror", "namespace", "one_of", "path", "paths", "patterns", "repositories",
    "seconds", "size", "switch",
]

_HOST = re.compile(r"(?:\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::\d{1,5})?")
_PREFIX_IN = re.compile(r"(?:[a-z0-9]+(?:[._-]+[a-z0-9]+)*/?)*")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_WORDS = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


class Bad(ValueError):
    """A value that makes no sense; the text says what would."""


@dataclass(frozen=True)
class Origin:
    """Where a value was read, for messages and for relative paths."""

    name: str
    folder: Path            # relative paths are counted from here
    home: Path
    text: bool              # the value is the text of a variable or an argument, not a TOML value


def path(value: Any, origin: Origin) -> Path:
    """An absolute path; `~` and relative ones are resolved."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise Bad("must be a path")
    value = value.strip()
    expanded = origin.home / value[2:] if value == "~" or value.startswith(("~/", "~" + os.sep)) else Path(value)
    return Path(os.path.abspath(origin.folder / expanded))


def _texts(value: Any, origin: Origin, separator: str) -> list[str]:
    if isinstance(value, str):
        if not origin.text:
            value = [value]
        elif value.strip().startswith("["):
            value = _toml_list(value)
        else:
            value = value.split(separator)
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise Bad("must be a list of texts")
    return [one.strip() for one in value if one.strip()]


def _toml_list(text: str) -> Any:
    """A list as the file would hold it: `["a", "b"]`."""
    import tomllib

    try:
        return tomllib.loads(f"list = {text}")["list"]
    except tomllib.TOMLDecodeError as error:
        raise Bad(f'must be a list such as ["a", "b"] ({error})') from error


def paths(value: Any, origin: Origin) -> tuple[Path, ...]:
    """Paths, separated as the system separates them."""
    if origin.text and isinstance(value, str) and "," in value and not (
            os.pathsep in value or value.strip().startswith("[") or path(value, origin).exists()):
        value = value.replace(",", os.pathsep)          # no folder is called so
    return tuple(path(one, origin) for one in _texts(value, origin, os.pathsep))


def patterns(value: Any, origin: Origin) -> tuple[str, ...]:
    """Patterns of paths."""
    return tuple(str(origin.home) + one[1:] if one == "~" or one.startswith("~/") else one
                 for one in _texts(value, origin, ","))


def repositories(value: Any, origin: Origin) -> tuple[str, ...]:
    """Patterns of repositories."""
    return tuple(_texts(value, origin, ","))


def hosts(value: Any, origin: Origin) -> tuple[str, ...]:
    """Hosts, with their ports."""
    found = tuple(one.casefold() for one in _texts(value, origin, ","))
    if not all(_HOST.fullmatch(one) for one in found):
        raise Bad("must be a list of hosts with their ports: nas:5000")
    return found


def mirror(value: Any, origin: Origin) -> str:
    """A registry, and the beginning of the names in it."""
    host, _, path = value.removeprefix("oci://").partition("/") if isinstance(value, str) else ("", "", "")
    if value != "" and (not value.startswith("oci://") or not _HOST.fullmatch(host) or not _PREFIX_IN.fullmatch(path)):
        raise Bad("must be a registry, with the beginning of names in it if you like: oci://nas:5000/models")
    return str(value).rstrip("/")


def links(value: Any, origin: Origin) -> tuple[LinkKind, ...]:
    """Kinds of links, in order."""
    names = [one.casefold() for one in _texts(value, origin, ",")]
    kinds = {kind.value: kind for kind in LinkKind if kind is not LinkKind.REFERENCE}
    if not names or any(name not in kinds for name in names):
        raise Bad(f"must be a list of {', '.join(kinds)}")
    return tuple(dict.fromkeys(kinds[name] for name in names))


def seconds(value: Any, origin: Origin) -> float:
    """A time, in seconds."""
    number: float | None = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str):
        word = value.strip().casefold()
        try:
            number = float(word[:-1]) * _UNITS[word[-1]] if word[-1:] in _UNITS else float(word)
        except ValueError:
            number = None
    if number is None or not 0 <= number < float("inf"):
        raise Bad('must be seconds or a time such as "90m", "24h" or "7d"')
    return number


def size(value: Any, origin: Origin) -> int:
    """A size, in bytes."""
    found = bytes_of(value) if isinstance(value, str) else value if type(value) is int else None
    if not found or found < 0:
        raise Bad('must be a size such as "16GB" or "24GiB"')
    return int(found)


def switch(value: Any, origin: Origin) -> bool:
    """Yes or no."""
    word = _WORDS.get(value.strip().casefold()) if isinstance(value, str) else value
    if not isinstance(word, bool):
        raise Bad("must be true or false")
    return word


def namespace(value: Any, origin: Origin) -> str:
    """One part of a name on the hub."""
    if not isinstance(value, str) or not value.strip("-.") or not value.isascii() \
            or not all(c.isalnum() or c in "-._" for c in value) or "--" in value or ".." in value:
        raise Bad("must be one part of a hub name: letters, digits, `-`, `_` and `.`")
    return value


def one_of(*words: str) -> Callable[[Any, Origin], str]:
    """What checks that a value is one of these words."""
    def check(value: Any, origin: Origin) -> str:
        if not isinstance(value, str) or value.strip().casefold() not in words:
            raise Bad(f"must be {', '.join(words[:-1])} or {words[-1]}")
        return value.strip().casefold()
    return check
