"""The catalogue: well-known names, and what is known of each. Ours, with the person's own entries over it.

Nothing is read until something is asked. A name is found by an index of names that is made without parsing the file,
and then its one entry is parsed: a few milliseconds. What the hub tells at the moment of use (sizes, files,
revisions, who may have it) is not in here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from helixstore.catalogue.entry import BLANK, Capability, Entry
from helixstore.catalogue.form import CITE, Piece, cites_of, cut, entry_of, quick_names
from helixstore.catalogue.names import fold, loose, near
from helixstore.errors import ConfigError, NotFound, advice
from helixstore.fs.names import printable
from helixstore.fs.private import read_trusted
from helixstore.values import Format, Issue

__all__ = ["Catalogue"]

_OURS = Path(__file__).with_name("models.toml")
_LARGEST = 1 << 20              # bytes of a person's file


class Catalogue:
    """Names and what they stand for.

    Args:
        own: the person's file of the same form, whose entries win; None, or a file that is not there: there are none.
    """

    def __init__(self, own: Path | None = None) -> None:
        self._own = own

    @property
    def issues(self) -> tuple[Issue, ...]:
        """What is wrong in the person's file, one for each entry that had to be left out."""
        return self._additions[1]

    def find(self, name: str) -> Entry:
        """The entry of a name.

        Args:
            name: its name, an alias, Ollama's name, or the repository of one of its sources. Case, punctuation and
                how a size is set off do not count: `Llama3:8B` is `llama-3-8b-instruct`.

        Raises:
            NotFound: there is none; the remedy names those that are near.
        """
        if (known := self._lookup(name)) is not None:
            return self._entry(known)
        meant = self.suggest(name)
        remedy = f"did you mean {' or '.join(meant)}?" if meant else \
            "helixstore models search, or an exact reference: hf:org/name"
        own = "".join(f"; in your own {issue.path}: {issue.message}" for issue in self.issues[:3])
        raise NotFound(f"no model is known by the name {printable(name[:100])}", f"{remedy}{own}")

    def suggest(self, name: str) -> list[str]:
        """The names of entries that are like a name, the most like first; at most three."""
        return near(name, self._names, 3)

    def of_repository(self, repository: str) -> Entry | None:
        """The entry that has a repository of the hub, `org/name`, among its sources."""
        known = self._places.get(repository.casefold())
        return self._entry(known) if known else None

    def entries(self) -> tuple[Entry, ...]:
        """All of them, by name."""
        own = self._additions[0]
        return tuple(own.get(name) or self._entry(name) for name in sorted({*own, *_pieces()[0]}))

    def search(self, words: str = "", *, can: Iterable[Capability] = (), licence: str = "",
               format_: Format | None = None, at_least: int = 0, at_most: int = 0) -> tuple[Entry, ...]:
        """The entries for which all of it holds, by name.

        Args:
            words: each of which occurs in the name, title or an alias.
            can: capabilities, all of them.
            licence: that its licence starts with: "apache", "llama3".
            format_: in which it is published.
            at_least, at_most: parameters; 0: no bound. One whose parameters are not known fits no bound.
        """
        wanted, parts = frozenset(can), [fold(word) for word in words.split()]
        found = []
        for entry in self.entries():
            text = " ".join(fold(one) for one in (entry.name, entry.title, *entry.aliases))
            fits = wanted <= frozenset(entry.can) and all(part in text for part in parts) \
                and entry.licence.startswith(licence.casefold()) \
                and (format_ is None or format_ in entry.formats) \
                and (entry.parameters or not (at_least or at_most)) and entry.parameters >= at_least \
                and (not at_most or entry.parameters <= at_most)
            if fits:
                found.append(entry)
        return tuple(found)

    def _lookup(self, name: str) -> str | None:
        known = self._names.get(fold(name)) or self._places.get(name.removeprefix("hf:").casefold())
        return known or self._loose.get(loose(name))

    def _entry(self, name: str) -> Entry:
        own = self._additions[0].get(name)
        return own if own is not None else _parsed(name)

    @functools.cached_property
    def _additions(self) -> tuple[dict[str, Entry], tuple[Issue, ...]]:
        return _read_own(self._own) if self._own is not None else ({}, ())

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        """Folded name or alias -> name; names count more than aliases, and the person's more than ours."""
        own = self._additions[0]
        ours = {name: names for name, (names, _) in _index().items() if name not in own}
        rows = [(name, [name]) for name in own]
        rows += [(name, _also(entry.aliases, (offer.at for offer in entry.offers))) for name, entry in own.items()]
        rows += [(name, [name]) for name in ours]
        rows += list(ours.items())
        found: dict[str, str] = {}
        for name, spellings in rows:
            for spelling in spellings:
                found.setdefault(fold(spelling), name)
        return found

    @functools.cached_property
    def _loose(self) -> dict[str, str]:
        """The still looser form -> name, where only one entry has it."""
        found: dict[str, str] = {}
        for known, name in self._names.items():
            key = loose(known)
            found[key] = name if found.get(key, name) == name else ""
        return {key: name for key, name in found.items() if name}

    @functools.cached_property
    def _places(self) -> dict[str, str]:
        """Repository of the hub, lower case -> name."""
        own = self._additions[0]
        found: dict[str, str] = {}
        for name, entry in own.items():
            for offer in entry.offers:
                for repository in _repositories(offer.at, offer.quantizations):
                    found.setdefault(repository, name)
        for name, (_, places) in _index().items():
            if name not in own:
                for repository in places:
                    found.setdefault(repository, name)
        return found


@functools.cache
def _pieces() -> tuple[dict[str, Piece], dict[str, str]]:
    """Our file, cut: name -> piece, and what its short names for pages stand for."""
    pieces = {piece.name: piece for piece in cut(_OURS.read_text(encoding="utf-8")) if piece.name}
    return pieces, cites_of(pieces.pop(CITE))


@functools.cache
def _index() -> dict[str, tuple[list[str], list[str]]]:
    """Of our file: name -> (other spellings of it, repositories of the hub in lower case)."""
    found = {}
    for name, piece in _pieces()[0].items():
        aliases, places = quick_names(piece)
        found[name] = (_also(aliases, (place for place, _ in places)),
                       [repository for place, spelled in places for repository in _repositories(place, spelled)])
    return found


@functools.cache
def _parsed(name: str) -> Entry:
    pieces, cites = _pieces()
    return entry_of(pieces[name], cites)


def _also(aliases: Iterable[str], places: Iterable[str]) -> list[str]:
    """Spellings that lead to an entry too: its aliases, and what its sources call it."""
    found = list(aliases)
    for place in places:
        scheme, _, rest = place.partition(":")
        if BLANK in place:
            continue
        found.append(rest.rpartition("/")[2] if scheme == "hf" else rest)
    return found


def _repositories(place: str, quantizations: Iterable[str]) -> list[str]:
    """The repositories of the hub that a source stands for, in lower case."""
    if not place.startswith("hf:"):
        return []
    repository = place[3:].partition("@")[0].partition(":")[0]
    return [repository.replace(BLANK, one).casefold() for one in (quantizations if BLANK in place else ("",))]


def _read_own(file: Path) -> tuple[dict[str, Entry], tuple[Issue, ...]]:
    """The person's entries, and an issue for each that cannot be used."""
    try:
        data, why = read_trusted(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}, ()
    except OSError as error:
        return {}, (_issue(file, f"cannot be read: {error.strerror or error}", advice(error)),)
    if why:
        return {}, (_issue(file, f"is left out, since {why}: others could choose what is fetched",
                           f"chmod go-w {file}"),)
    if len(data) > _LARGEST:
        return {}, (_issue(file, f"is left out: it has {len(data):,} bytes", "keep your own models in it only"),)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return {}, (_issue(file, f"is no UTF-8 text: byte {error.start}", "save it as UTF-8"),)
    entries: dict[str, Entry] = {}
    issues: list[Issue] = []
    pieces = list(cut(text.replace("\r\n", "\n")))
    cites = dict(_pieces()[1])
    for piece in pieces:
        try:
            if not piece.name:
                _check_start(piece)
            elif piece.name == CITE:
                cites.update(cites_of(piece))
        except ConfigError as error:
            issues.append(_issue(file, error.message, error.remedy))
    for piece in pieces:
        if not piece.name or piece.name == CITE:
            continue
        try:
            entry = entry_of(piece, cites, own=True)
        except ConfigError as error:
            issues.append(_issue(file, error.message, error.remedy))
            continue
        if entry.name in entries:
            issues.append(_issue(file, f"line {piece.line}: {entry.name} is there twice; the first counts",
                                 "take one of them out"))
            continue
        entries[entry.name] = entry
    return entries, tuple(issues)


def _check_start(piece: Piece) -> None:
    """What stands before the first table can only be remarks."""
    for number, line in enumerate(piece.text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            raise ConfigError(f"line {number} belongs to no model", 'start with a line such as ["my-model"]')


def _issue(file: Path, message: str, remedy: str) -> Issue:
    return Issue("catalogue", str(file), message, remedy)
