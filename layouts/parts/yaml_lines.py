"""Single values in YAML that a program rewrites: read and set line by line, everything else left as it is.

Only block mappings are understood, which is what every program here writes; a file in another style reads as if the
value were not there. A value that continues on deeper lines is one value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence

from .yaml_tree import first_document, text_at

__all__ = ["block", "keys", "merge_paths", "quote", "read", "remove", "write"]

_KEY = re.compile(
    r"""(?P<indent>\ *)
        (?P<key>"(?:[^"\\]|\\.)*" | '(?:[^']|'')*' | (?:[^\s\#:'"\[{&*!|>%@`-]|-(?=[^\s:]))[^:\n]*?)
        :(?:[ \t]+(?P<value>.*?))?[ \t\r]*$""", re.VERBOSE)
_LINE = re.compile(r"[^\n]*\n|[^\n]+")          # str.splitlines would cut at characters that YAML may not
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
_COMMENT = re.compile(r"(?:^|\s)#.*$")


def quote(value: str) -> str:
    """`value` as a YAML scalar that every parser reads back as this text."""
    if value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def keys(text: str) -> Iterator[str]:
    """The top-level keys, in order."""
    for line in _LINE.findall(text):
        if (match := _KEY.match(line)) and not match["indent"]:
            yield _plain(match["key"])


def read(text: str, *path: str) -> str | None:
    """The scalar under these nested keys; None when it is not there, "" when it is empty."""
    lines = _LINE.findall(text)
    span = _span(lines, path)
    if span is None:
        return None
    match = _KEY.match(lines[span[0]])
    assert match
    further = [line.strip() for line in lines[span[0] + 1:span[1]] if _counts(line)]
    return _plain(" ".join([match["value"] or "", *further]))


def block(text: str, *path: str) -> str:
    """The lines under these nested keys as they stand; "" when they are not there."""
    lines = _LINE.findall(text)
    span = _span(lines, path)
    return "".join(lines[span[0]:span[1]]) if span else ""


def write(text: str, value: str, *path: str) -> str:
    """`text` with the scalar under these keys set; added at the end of its mapping when it was not there.

    Args:
        text: YAML whose outer mapping is a block.
        value: the scalar as it stands in the file, quoted already.
        path: nested keys; all but the last must exist.

    Raises:
        KeyError: the mapping that should hold it is not there.
    """
    lines = _LINE.findall(text)
    span = _span(lines, path)
    if span is None:
        return _added(text, value, path)
    match = _KEY.match(lines[span[0]])
    assert match
    lines[span[0]:span[1]] = [f"{match['indent']}{match['key']}: {value}\n"]
    return "".join(lines)


def remove(text: str, *path: str) -> str:
    """`text` without these nested keys and all below them."""
    lines = _LINE.findall(text)
    if span := _span(lines, path):
        del lines[span[0]:span[1]]
    return "".join(lines)


def merge_paths(
    places: Sequence[tuple[str, ...]], is_ours: Callable[[str], bool], base: bytes | None, theirs: bytes | None,
    ours: bytes,
) -> bytes | None:
    """The `merge` of a sidecar in which only paths are ours: theirs, with those paths brought up to date.

    Args:
        places: the nested keys that hold paths; the first one names the model itself.
        is_ours: whether a path that stands there leads to what we project; one of the person's stays.
        base: what we wrote last.
        theirs: what is there now.
        ours: what we want.

    Returns:
        None, a conflict, where the file is not ours and tells of a model of the person's, or of none, or where it
        cannot be changed without making something else of it.
    """
    if theirs is None or theirs == base:
        return ours
    try:
        text = theirs.decode()
        now, new = first_document(text), first_document(ours.decode())
        main = text_at(now, *places[0])
        if not main or (base is None and not is_ours(main)):
            return None
        changed: dict[tuple[str, ...], str] = {}
        for place in places:
            has, wanted = text_at(now, *place), text_at(new, *place)
            if has != wanted and (not has or is_ours(has)):
                changed[place] = wanted
                text = write(text, quote(wanted), *place) if wanted else remove(text, *place)
        after = first_document(text) if changed else now
    except (ValueError, KeyError):              # no YAML, or in a style that lines cannot change
        return None
    return text.encode() if all(text_at(after, *place) == wanted for place, wanted in changed.items()) else None


def _added(text: str, value: str, path: tuple[str, ...]) -> str:
    lines = _LINE.findall(text)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    indent, end = 0, len(lines)
    if path[:-1]:
        span = _span(lines, path[:-1])
        if span is None:
            raise KeyError(path[-2])
        end = span[1]
        first = next((line for line in lines[span[0] + 1:end] if _counts(line)), None)
        indent = _indent(first) if first else _indent(lines[span[0]]) + 2
    lines.insert(end, f"{' ' * indent}{path[-1]}: {value}\n")
    return "".join(lines)


def _span(lines: list[str], path: tuple[str, ...]) -> tuple[int, int] | None:
    """The lines of the entry under these keys, [start, end)."""
    start, end, indent = 0, len(lines), 0
    for depth, key in enumerate(path):
        if depth:
            first = next((line for line in lines[start + 1:end] if _counts(line)), None)
            if first is None:
                return None
            start, indent = start + 1, _indent(first)
        found = next((i for i in range(start, end) if _is(lines[i], key, indent)), None)
        if found is None:
            return None
        last = found
        for i in range(found + 1, end):
            if _counts(lines[i]):
                if _indent(lines[i]) <= indent:
                    break
                last = i
        start, end = found, last + 1
    return start, end


def _is(line: str, key: str, indent: int) -> bool:
    match = _KEY.match(line)
    return match is not None and len(match["indent"]) == indent and _plain(match["key"]) == key


def _counts(line: str) -> bool:
    """Neither blank nor a comment."""
    stripped = line.strip()
    return bool(stripped) and not stripped.startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _plain(scalar: str) -> str:
    """What a scalar means, its quotes and comment taken away."""
    scalar = scalar.strip()
    if scalar.startswith('"'):
        end = re.match(r'"(?:[^"\\]|\\.)*"', scalar)
        try:
            return str(json.loads(end[0])) if end else scalar
        except ValueError:                      # an escape that only YAML knows
            return scalar
    if scalar.startswith("'"):
        closed = re.match(r"'((?:[^']|'')*)'", scalar)
        return closed[1].replace("''", "'") if closed else scalar
    return _COMMENT.sub("", scalar).strip()
