"""Reading YAML that somebody else wrote: the first document as plain values, whatever style it is in.

PyYAML's own constructors are not used: they build deep documents by recursion in C, where a file of 100 KB of brackets
ends the process, and make dates and numbers of what is only text here. Its parser gives events, one after the other.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Tree", "first_document", "text_at"]

#: a scalar is its text, and None where it is empty or null
Tree = str | None | list["Tree"] | dict[str, "Tree"]

_LEVELS = 32                    # of nesting; a model's settings have four
_NODES = 50_000
_NULL = frozenset({"", "~", "null", "Null", "NULL"})


def first_document(text: str) -> Tree:
    """The first document of a YAML stream; None when it is empty.

    Raises:
        ValueError: it is no YAML, or nested or large beyond reason; the message is one clause.
    """
    import yaml

    loader = getattr(yaml, "CLoader", yaml.Loader)
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=loader):
            if builder.take(event, type(event).__name__):
                break
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{getattr(error, 'problem', None) or 'no YAML'}") from error
    return builder.document


def text_at(tree: Tree, *path: str) -> str:
    """The text under these nested keys; "" when it is not there, or is none."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, str) else ""


class _Builder:
    """Puts events together. Each open collection is a frame: the value, the key that waits for one, its anchor."""

    def __init__(self) -> None:
        self.document: Tree = None
        self._frames: list[tuple[list[Tree] | dict[str, Tree], list[str | None], str | None]] = []
        self._anchors: dict[str, Tree] = {}
        self._nodes = 0

    def take(self, event: Any, kind: str) -> bool:
        """Take one event in; True when the document has ended."""
        if kind == "ScalarEvent":
            plain_null = event.implicit[0] and event.value in _NULL
            self._put(None if plain_null else event.value, event.anchor)
        elif kind == "AliasEvent":
            if event.anchor not in self._anchors:
                raise ValueError(f"the anchor {event.anchor[:40]!r} is not known where it is used")
            self._put(self._anchors[event.anchor], None)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            if len(self._frames) >= _LEVELS:
                raise ValueError(f"it is nested more than {_LEVELS} levels deep")
            self._frames.append(({} if kind[0] == "M" else [], [], event.anchor))
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            value, _, anchor = self._frames.pop()
            self._put(_merged(value) if isinstance(value, dict) else value, anchor)
        return kind == "DocumentEndEvent"

    def _put(self, value: Tree, anchor: str | None) -> None:
        self._nodes += 1
        if self._nodes > _NODES:
            raise ValueError(f"it has more than {_NODES:,} values")
        if anchor:
            self._anchors[anchor] = value
        if not self._frames:
            self.document = value
            return
        into, waiting, _ = self._frames[-1]
        if isinstance(into, list):
            into.append(value)
        elif not waiting:
            waiting.append(value if isinstance(value, str) else None)
        elif (key := waiting.pop()) is not None:
            into[key] = value


def _merged(mapping: dict[str, Tree]) -> dict[str, Tree]:
    """The mapping with what `<<` brings in, as Go's and Python's readers have it."""
    brought = mapping.pop("<<", None)
    for one in brought if isinstance(brought, list) else [brought]:
        if isinstance(one, dict):
            for key, value in one.items():
                mapping.setdefault(key, value)
    return mapping
