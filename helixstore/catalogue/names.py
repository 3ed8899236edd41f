"""Names of models as people type them: folded so that spelling does not count, and the near ones when none fits."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping

__all__ = ["fold", "loose", "near"]

_DOTS = re.compile(r"(?<![0-9])\.|\.(?![0-9])")
_SEPARATORS = str.maketrans("", "", " \t\n\r\v\f:/_-")
_WORDS = re.compile(r"[0-9]+(?:\.[0-9]+)*[a-z]*|[a-z]+")
#: What a name for the talking variant may end in; without it, the same model is meant.
_KINDS = ("instruct", "chat", "it")
_LONGEST = 200                  # characters; nothing that long is a name
_FAR = 0.36                     # so much less like it than the best one, and it was not meant


def fold(name: str) -> str:
    """The form in which names are compared: `Llama3.1:8B`, `llama 3.1 8b` and `llama-3.1-8b` are one.

    Case and every separator fall away; a dot stays between digits, where it makes another version.
    """
    text = name[:_LONGEST]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = text.casefold().removesuffix(":latest").translate(_SEPARATORS)
    return _DOTS.sub("", text) if "." in text else text


def loose(name: str) -> str:
    """A still looser form, for when nothing has the first: without dots, and without a word for the talking variant."""
    text = fold(name).replace(".", "")
    return next((text[: -len(kind)] for kind in _KINDS if text.endswith(kind) and len(text) > len(kind) + 2), text)


def near(name: str, names: Mapping[str, str], count: int = 3) -> list[str]:
    """The entries whose names are like a name, the most like first.

    Args:
        name: as it was typed.
        names: folded name or alias -> the entry's name.
        count: at most.
    """
    wanted, words = fold(name), frozenset(_words(name))
    if not wanted:
        return []
    best: dict[str, float] = {}
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    for known, entry in names.items():
        matcher.set_seq1(known)
        hopeless = matcher.real_quick_ratio() < 0.5 or matcher.quick_ratio() < 0.5
        score = 0.0 if hopeless else matcher.ratio()
        if wanted in known:
            score = max(score, 0.75)
        best[entry] = max(best.get(entry, 0.0), score)
    for entry in best:
        shared = len(words & frozenset(_words(entry))) / len(words) if words else 0.0
        best[entry] += 0.4 * shared - 0.001 * len(entry)
    ranked = sorted(best, key=lambda entry: (-best[entry], entry))
    least = max(0.6, best[ranked[0]] - _FAR) if ranked else 0.0
    return [entry for entry in ranked if best[entry] >= least][:count]


def _words(name: str) -> Iterable[str]:
    """`Llama3:8B` -> llama, 3, 8b."""
    return _WORDS.findall(name.casefold())
