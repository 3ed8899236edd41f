"""Checks of how sidecars are merged: what a program or a person wrote into them is never lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from helixstore.providers.layout import Merge, Text
from helixstore.testing.case import Case, check, require, said
from helixstore.testing.ground import once

_MINE = "helixstore_test_of_a_foreign_key"
_GARBAGE = (b"\0\xff\xfe\x80", b"{", b"[1, 2", b"]]", b"- a\n  b: :\n\t", b"\xef\xbb\xbf", b"{" * 5000, b"x" * 100_000,
            b"{}", b"[]", b"null", b"\r\n\r\n", "ключ: значение\n".encode("utf-16"))


class Sidecar(NamedTuple):
    """A sidecar that is merged: what is wanted now, and what was wanted when the folder was another one."""

    path: str
    merge: Merge
    ours: bytes
    earlier: bytes


@check
def an_untouched_sidecar_is_written_anew(case: Case) -> None:
    """Where nothing lies, or what we wrote last, merging gives what we want now."""
    for one in _sidecars(case):
        for base, theirs in ((None, None), (one.earlier, None), (one.earlier, one.earlier), (one.ours, one.ours)):
            merged = one.merge(base, theirs, one.ours)
            require(merged == one.ours, f"the merge of {one.path} gives {_shown(merged)} where nobody touched it, "
                                        f"and not {said(one.ours)}")


@check
def merging_twice_changes_nothing_more(case: Case) -> None:
    """What a merge has written, merged again, stays as it is."""
    for one in _sidecars(case):
        for theirs in (one.ours, one.earlier, *_edited(one.earlier), *_edited(one.ours)):
            merged = one.merge(one.earlier, theirs, one.ours)
            if merged is not None and merged != one.ours:
                again = one.merge(one.ours, merged, one.ours)
                require(again == merged, f"the merge of {one.path} makes {_shown(again)} of its own {said(merged)}")


@check
def a_foreign_key_survives(case: Case) -> None:
    """What a program or a person has added to a sidecar is still there after a merge, or the merge declines."""
    for one in _sidecars(case):
        for edit in (_edited(one.earlier), _edited(one.ours)):
            for theirs in edit:
                merged = one.merge(one.earlier, theirs, one.ours)
                require(merged is None or _MINE.encode() in merged,
                        f"the merge of {one.path} loses what was added to it: {_shown(merged)}")
        for theirs in _edited(one.ours):
            merged = one.merge(None, theirs, one.ours)
            require(merged is None or _MINE.encode() in merged,
                    f"the merge of {one.path} overwrites a file that was there before ours: {_shown(merged)}")


@check
def garbage_is_declined(case: Case) -> None:
    """What is no sidecar any more is left alone: the merge gives None or what lies there, and raises nothing."""
    for one in _sidecars(case):
        for theirs in (*_GARBAGE, one.ours[: len(one.ours) // 2], one.ours[1:]):
            for base in (None, one.earlier):
                merged = one.merge(base, theirs, one.ours)
                require(merged is None or isinstance(merged, bytes), f"the merge of {one.path} gives {merged!r}")
                lost = merged is not None and theirs.strip(b"\0\xff\xfe \r\n{}[]") not in merged
                require(not lost or theirs in one.ours, f"the merge of {one.path} overwrites {said(theirs)}")


def _sidecars(case: Case) -> Iterator[Sidecar]:
    """Every sidecar with a merge, of one model of each kind."""
    for each in case.farm():
        elsewhere = replace(each.root, path=each.root.path.parent / "elsewhere" / each.root.path.name)
        before = once(case.layout.project(each.variants, elsewhere, each.facts))
        for path, entry in once(each.entries).items():
            if isinstance(entry.body, Text) and entry.body.merge is not None:
                old = before[path].body if path in before else entry.body
                earlier = old.data if isinstance(old, Text) else entry.body.data
                yield Sidecar(path, entry.body.merge, entry.body.data, earlier)


def _edited(data: bytes) -> Iterator[bytes]:
    """The text with a key of somebody else's, as its own form has it; nothing where it is of no form known here."""
    text = data.decode(errors="replace")
    for edit in (_json, _yaml, _ini):
        if (edited := edit(text)) is not None:
            yield edited.encode()
            return


def _json(text: str) -> str | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return json.dumps({**value, _MINE: [1, {"deep": "ж"}]}, indent=4) if isinstance(value, dict) else None


def _yaml(text: str) -> str | None:
    lines = text.splitlines()
    if not lines or not any(line.rstrip().endswith(":") or ": " in line for line in lines):
        return None
    return f"# {_MINE}\n{text}{_MINE}:\n  nested: 'it''s'   # mine\n"


def _ini(text: str) -> str | None:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or not all("=" in line or line.startswith(("[", ";", "#")) for line in lines):
        return None
    return f"{text}\n[{_MINE}]\nkey = value\n"


def _shown(data: bytes | None) -> str:
    return "None" if data is None else said(data)
