"""The form of a catalogue's file: one TOML table for each model and size, read one at a time.

    [cite]                              # where things were seen: a short name for each page
    litgpt = "https://github.com/..."

    ["mistral-7b-instruct"]
    title = "Mistral 7B Instruct v0.3"
    aliases = ["mistral-7b"]
    can = ["chat", "tools"]             # chat, code, embedding, reasoning, tools, vision
    context = 32768                     # tokens
    parameters = 7_248_023_552          # active = ... too, in a mixture of experts
    licence = "apache-2.0"              # as the hub calls it; gated = true where consent is asked for
    shape = { layers = 32, kv_heads = 8, head_dim = 128, hidden = 4096, vocabulary = 32768 }
    seen = { litgpt = "context parameters shape", mistral = "chat tools licence" }     # what each source shows
    sources = [                         # exact references, the makers' own first
        { format = "hf", at = "hf:mistralai/Mistral-7B-Instruct-v0.3", cite = "litgpt" },
        { format = "mlx", at = "hf:mlx-community/...-{quantization}", quantizations = ["4bit", "8bit"], cite = "..." },
    ]

A file is cut at the lines that start a table, and each piece is parsed by itself: a mistake in one leaves the others
as they are and can be told by its line, and looking up one name costs the parsing of one piece.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from helixstore.catalogue.entry import BLANK, Capability, Entry, Offer, Seen
from helixstore.catalogue.memory import Shape
from helixstore.catalogue.references import HubReference, PathReference, parse_reference, quantization_of
from helixstore.errors import ConfigError, Usage
from helixstore.fs.names import printable
from helixstore.values import Format

__all__ = ["CITE", "Piece", "cites_of", "cut", "entry_of", "quick_names"]

#: The table that is no model.
CITE = "cite"
_TABLE = re.compile(r"""^\[[ \t]*(?:"([^"\n]*)"|'([^'\n]*)'|([A-Za-z0-9_-]+))[ \t]*\][ \t]*(?:#.*)?$""", re.MULTILINE)
_NAME = re.compile(r"[a-z0-9](?:(?:[a-z0-9.]|-(?!-)){0,78}[a-z0-9])?")
_ALIAS = re.compile(r"[A-Za-z0-9][\w.:/ -]{0,118}[\w]", re.ASCII)
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")
# as our own file is written, which the tests hold it to
_ALIASES = re.compile(r'\naliases = \[([^\]]*)\]')
_AT = re.compile(r' at = "([^"]+)"(?:, quantizations = \[([^\]]*)\])?')
_QUOTED = re.compile(r'"([^"]+)"')
_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_CLAIMS = (*Capability, "context", "parameters", "active", "licence", "gated", "shape")
_MOST = 1 << 50                         # of any number here
_MANY = 64                              # of anything that is listed


class Piece(NamedTuple):
    """One table of a file as text.

    Attributes:
        name: of the table; "" for what stands before the first one.
        line: of the file, on which it starts; from 1.
        text: with its first line.
    """

    name: str
    line: int
    text: str


def cut(text: str) -> Iterator[Piece]:
    """The tables of a file, in order, none of them parsed yet."""
    start, line, name = 0, 1, ""
    for match in _TABLE.finditer(text):
        yield Piece(name, line, text[start:match.start()])
        line += text.count("\n", start, match.start())
        start, name = match.start(), next(group for group in match.groups() if group is not None)
    yield Piece(name, line, text[start:])


def quick_names(piece: Piece) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """What an index needs of our own file, found without parsing it.

    Returns:
        The aliases of an entry, and each of its places with the quantisations beside it.
    """
    aliases = _ALIASES.search(piece.text)
    places = [(at, _QUOTED.findall(listed) if BLANK in at else []) for at, listed in _AT.findall(piece.text)]
    return _QUOTED.findall(aliases[1]) if aliases else [], places


def cites_of(piece: Piece) -> dict[str, str]:
    """Short name -> address.

    Raises:
        ConfigError: it is no TOML, or not such a table.
    """
    table = _table(piece)
    if not all(isinstance(value, str) and value.startswith("https://") for value in table.values()):
        raise _flaw(piece, "holds something that is no address", 'name = "https://..."')
    return dict(table)


def entry_of(piece: Piece, cites: Mapping[str, str], own: bool = False) -> Entry:
    """The entry that a piece holds, every part of it checked.

    Args:
        piece: of the file.
        cites: short name -> address.
        own: the person's own, who need not say where they saw things.

    Raises:
        ConfigError: something in it is wrong; the message says on which line of the file it starts, and what.
    """
    if not _NAME.fullmatch(piece.name):
        raise _flaw(piece, "has a name that cannot be one", "lower-case letters, digits, `.` and `-`")
    return _Reading(piece, _table(piece), cites, own).entry()


class _Reading:
    """One table being read."""

    def __init__(self, piece: Piece, table: dict[str, Any], cites: Mapping[str, str], own: bool) -> None:
        self._piece, self._table, self._cites, self._own = piece, table, cites, own

    def entry(self) -> Entry:
        table = self._table
        known = {"title", "aliases", "can", "context", "parameters", "active", "licence", "gated", "shape", "seen",
                 "sources"}
        if unknown := sorted(table.keys() - known):
            raise self.flaw(f"has {unknown[0]!r}, which means nothing here", f"one of {', '.join(sorted(known))}")
        sources = table.get("sources")
        if not isinstance(sources, list) or not 0 < len(sources) <= _MANY:
            raise self.flaw("has no sources", 'sources = [{ format = "gguf", at = "hf:org/name" }]')
        found = Entry(
            name=self._piece.name,
            title=self.text("title", self._piece.name),
            offers=tuple(self.offer(source) for source in sources),
            aliases=self.texts(table.get("aliases", []), "aliases", lambda text: bool(_ALIAS.fullmatch(text))),
            can=tuple(sorted(Capability(word) for word in self.texts(
                table.get("can", []), "can", lambda text: text in set(Capability)))),
            context=self.number(table, "context"),
            parameters=self.number(table, "parameters"),
            active=self.number(table, "active"),
            licence=self.licence(),
            gated=self.switch("gated"),
            shape=self.shape(),
            seen=self.seen(),
            own=self._own,
        )
        if extra := [one.claim for one in found.seen if one.claim not in found.claims]:
            raise self.flaw(f"says where {extra[0]} was seen, but not what it is", f"take {extra[0]} out of seen")
        return found

    def seen(self) -> tuple[Seen, ...]:
        table = self._table.get("seen", {})
        if not isinstance(table, dict) or not all(isinstance(shown, str) for shown in table.values()):
            raise self.flaw("has seen of another form", 'seen = { NAME = "context parameters licence" }')
        found = [Seen(claim, self.cited(name)) for name, shown in table.items() for claim in shown.split()]
        if unknown := [one.claim for one in found if one.claim not in _CLAIMS]:
            raise self.flaw(f"has seen {_shown(unknown[0])}, which is nothing that is said of a model",
                            f"one of {', '.join(_CLAIMS)}")
        return tuple(found)

    def offer(self, source: object) -> Offer:
        if not isinstance(source, dict) or not source.keys() <= {"format", "at", "quantizations", "files", "cite"}:
            raise self.flaw("has a source of another form",
                            '{ format = "gguf", at = "hf:org/name", quantizations = ["Q4_K_M"] }')
        at, kind = source.get("at"), source.get("format")
        if kind not in set(Format):
            raise self.flaw(f"has a source of an unknown format: {_shown(kind)}", f"one of {', '.join(Format)}")
        quantizations = self.texts(source.get("quantizations", []), "quantizations",
                                   lambda text: bool(quantization_of(text)))
        files = source.get("files", "")
        if not isinstance(at, str) or (BLANK in at and not quantizations):
            raise self.flaw(f"has a source at {_shown(at)}", f'at = "hf:org/name"; with {BLANK}, quantizations too')
        if not isinstance(files, str) or (files and BLANK not in files) or len(files) > 512:
            raise self.flaw(f"has files of no pattern: {_shown(files)}", f'files = "name-{BLANK}.gguf"')
        try:
            found = parse_reference(at.replace(BLANK, quantizations[0] if quantizations else ""))
        except Usage as error:
            raise self.flaw(f"has a source that cannot be: {error.message}", error.remedy) from error
        if found is None or isinstance(found, PathReference) or (
                isinstance(found, HubReference) and quantizations and found.quantization):
            raise self.flaw(f"has a source at {_shown(at)}, which names no place", 'at = "hf:org/name"')
        return Offer(Format(kind), at, quantizations, files, self.cited(source.get("cite", "")))

    def shape(self) -> Shape | None:
        table = self._table.get("shape")
        if table is None:
            return None
        names = {field.name for field in fields(Shape)}
        if not isinstance(table, dict) or not {"layers", "kv_heads", "head_dim"} <= table.keys() <= names:
            raise self.flaw("has a shape of another form", "shape = { layers = 32, kv_heads = 8, head_dim = 128 }")
        return Shape(**{name: self.number(table, name) for name in table})

    def cited(self, name: object) -> str:
        """The address that a short name stands for."""
        if not isinstance(name, str) or not (name or self._own):
            raise self.flaw("does not say where a source was seen", 'cite = "NAME", explained in [cite]')
        found = self._cites.get(name, name)
        if found and not found.startswith("https://"):
            raise self.flaw(f"cites {_shown(name)}, which is not explained", f'in [cite]: {name} = "https://..."')
        return found

    def licence(self) -> str:
        text = self.text("licence", "")
        if text and not _LICENCE.fullmatch(text):
            raise self.flaw(f"has a licence of another form: {_shown(text)}", 'as the hub calls it: "apache-2.0"')
        return text

    def text(self, key: str, default: str) -> str:
        value = self._table.get(key, default)
        if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
            raise self.flaw(f"has a {key} that is no line of text", f'{key} = "..."')
        return value

    def texts(self, value: object, key: str, fits: Callable[[str], bool] = bool) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > _MANY or not all(isinstance(one, str) for one in value):
            raise self.flaw(f"has {key} that are no list of texts", f'{key} = ["..."]')
        for one in value:
            if not fits(one):
                raise self.flaw(f"has {_shown(one)} among its {key}, which cannot be one", f"see other {key}")
        return tuple(dict.fromkeys(value))

    def number(self, table: Mapping[str, Any], key: str) -> int:
        value = table.get(key, 0)
        if type(value) is not int or not 0 <= value < _MOST:
            raise self.flaw(f"has {key} = {_shown(value)}", f"{key} is a count, such as 8192")
        return value

    def switch(self, key: str) -> bool:
        value = self._table.get(key, False)
        if not isinstance(value, bool):
            raise self.flaw(f"has {key} = {_shown(value)}", f"{key} = true or false")
        return value

    def flaw(self, what: str, remedy: str) -> ConfigError:
        return _flaw(self._piece, what, remedy)


def _table(piece: Piece) -> dict[str, Any]:
    """The one table that a piece holds."""
    try:
        whole = tomllib.loads(piece.text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        within = _LINE.search(str(error))
        line = piece.line + (int(within[1]) - 1 if within else 0)
        what = _LINE.sub("", str(error)).strip()
        raise ConfigError(f"line {line}, in {_shown(piece.name)}: {what}", "mend that line") from None
    table = whole.get(piece.name)
    if whole.keys() != {piece.name} or not isinstance(table, dict):
        raise _flaw(piece, "holds something beside the table", "one table for each model")
    return table


def _flaw(piece: Piece, what: str, remedy: str) -> ConfigError:
    return ConfigError(f"line {piece.line}: {_shown(piece.name)} {what}", remedy)


def _shown(value: object) -> str:
    return printable(str(value)[:80])
