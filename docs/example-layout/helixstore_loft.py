"""Loft: a card for each model, and its file in a folder of its own.

Contract (Loft 2.3, its manual and a look at its folder):
- home: `LOFT_HOME`, else `~/loft`. `cards/<id>.json` is a model; ids are letters, digits, `.`, `_`, `-`, at most 60.
- a card is JSON: `file`, relative to the home, and whatever settings the person has for the model. Loft writes
  `last_used` into it. A card whose file is missing stops the whole list.
- deleting removes the card, then the folder that the file lies in.
- Loft 3 keeps all cards in one `catalogue.json`, and reads no other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from helixstore.providers.layout import (
    Entry,
    Env,
    Facts,
    Found,
    Layout,
    Reader,
    Refusal,
    Root,
    Text,
    Weight,
    sanitize,
    unique_names,
)
from helixstore.values import Format, Purpose, Source, Variant


class Loft(Layout):
    """The home of one Loft server."""

    name = "loft"
    title = "Loft"
    checked = ("2.3",)
    formats = (Format.GGUF,)
    refresh = "POST /cards/reload"
    launch = ("loft", "serve", "--home", "{root}")

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else `LOFT_HOME`, else `~/loft`."""
        if env.setting:
            return [Root(env.setting, "setting")]
        if home := env.variable("LOFT_HOME"):
            return [Root(home, "LOFT_HOME")]
        return [Root(env.home / "loft", "default")]

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """Models of one GGUF file."""
        if variant.format is not Format.GGUF:
            return Refusal("Loft reads GGUF only", wants=(Format.GGUF,))
        if variant.purpose is not Purpose.MODEL:
            return Refusal("Loft runs models that generate text only")
        if len(variant.weights) != 1:
            return Refusal("a card of Loft names one file, and this model has several")
        return None

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """The file, then its card; what Loft has itself keeps its id, its place and its card."""
        lies = {variant.key: card for variant in variants if (card := _own(variant))}
        wanted = {variant.key: sanitize(f"{variant.key.model}-{variant.quantization}", limit=50)
                  for variant in variants}
        ids = unique_names(wanted, {variant.key: variant.manifest for variant in variants}, 60,
                           {key: card.id for key, card in lies.items()})
        for variant in variants:
            id, file = ids[variant.key], variant.weights[0]
            card = lies.get(variant.key) or _made(id)
            yield Entry(card.file, Weight(file.blake3, file.bytes), variant.key)
            yield Entry(f"cards/{id}.json", Text(card.text.encode(), _merge), variant.key, witness=True, order=1)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """The model of every card, with the card as it stands."""
        for seen in reader.entries(root.path / "cards"):
            if seen.kind != "file" or not seen.name.endswith(".json") or (text := reader.text(seen.path)) is None:
                continue
            id = seen.name.removesuffix(".json")
            file = _file(text)
            model = reader.model(root.path / file) if file else None
            if model is None:
                reader.issue("incomplete", seen.path, f"the card {id} names no model in the home of Loft",
                             "name the file in it again, or delete the card")
                continue
            source = Source("program", program=self.name, name=id, sidecars=((f"cards/{seen.name}", text),))
            yield Found(model, source, model.name)

    def drifted(self, root: Root, reader: Reader) -> str:
        """The home of Loft 3."""
        if reader.exists(root.path / "catalogue.json"):
            return "it has a catalogue.json, as Loft 3 keeps it, and 2.3 is the last that is known"
        return ""

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """The card, then the folder that its file lies in."""
        card = root / next(entry.path for entry in entries if entry.witness and entry.key == variant.key)
        file = _file(card.read_text())
        card.unlink()
        shutil.rmtree((root / file).parent)


class _Card(NamedTuple):
    """A card: its id, the file that it names, and its text."""

    id: str
    file: str
    text: str


def _made(id: str) -> _Card:
    file = f"files/{id}/{id}.gguf"
    return _Card(id, file, json.dumps({"file": file}) + "\n")


def _own(variant: Variant) -> _Card | None:
    """The card that Loft itself has for the variant."""
    for source in variant.sources:
        if source.program == Loft.name and source.name:
            text = dict(source.sidecars).get(f"cards/{source.name}.json", "")
            if file := _file(text):
                return _Card(source.name, file, text)
    return None


def _file(text: str) -> str:
    """The file that a card names, if it lies in the home; "" if it does not, or the card is none."""
    try:
        card = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    file = card.get("file") if isinstance(card, dict) else None
    if not isinstance(file, str) or "\\" in file or "\0" in file:
        return ""
    path = PurePosixPath(file)
    return file if len(path.parts) > 1 and not path.is_absolute() and ".." not in path.parts else ""


def _merge(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes | None:
    """Theirs, with the file that we mean; None when theirs is no card."""
    if theirs is None or theirs == base:
        return ours
    try:
        card, wanted = json.loads(theirs), json.loads(ours)
    except (ValueError, RecursionError):
        return None
    if not isinstance(card, dict) or not card.get("file"):
        return None
    if card["file"] == wanted["file"]:
        return theirs
    return json.dumps({**card, "file": wanted["file"]}).encode() + b"\n"
