"""For programs that keep a file of settings for each model: which files such a sidecar means, and what it asks for.

Whatever stands in a sidecar is only what somebody wrote. A path that climbs out of the program's folder, leads nowhere,
or to something that is no model, costs one issue at the sidecar and nothing else.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from helixstore.formats.names import base_name, shard_name, shard_of_name
from helixstore.fs.names import printable, unfinished
from helixstore.providers.layout import LINKS, Entry, Reader, Root, Seen
from helixstore.values import LinkKind, Purpose, Role, Variant

from .gguf_files import main_projector, weight

if TYPE_CHECKING:
    from helixstore.formats import Inspection

__all__ = ["Files", "Said", "Sidecar", "inside", "own_weights", "shown", "telling", "without_projector"]

#: what files are called that say nothing of the model in them
_GENERIC = frozenset({"model", "ggml-model", "weights", "gguf"})


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A file of a program's about one model.

    Attributes:
        path: absolute.
        model: what the program calls the model, for messages.
        remedy: what to do in that program when the model's file is not there.
    """

    path: Path
    model: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Said:
    """What one sidecar says of one model.

    Attributes:
        sidecar: where it says so.
        name: what the program calls the model, unique in it.
        text: of the sidecar.
        main: the path of the model, as it stands there; "" for none.
        projector: likewise.
    """

    sidecar: Sidecar
    name: str
    text: str
    main: str
    projector: str


class Files:
    """The files that the sidecars of one root name; each folder is listed once.

    Args:
        root: relative paths are counted from it.
        reader: the layout's eyes.

    Attributes:
        root: absolute.
        named: every file that some sidecar means.
    """

    def __init__(self, root: Root, reader: Reader) -> None:
        self.root, self._reader = root.path, reader
        self._listed: dict[Path, dict[str, Seen]] = {}
        self.named: set[Path] = set()

    def listing(self, folder: Path) -> dict[str, Seen]:
        """What lies in a folder, by name."""
        if folder not in self._listed:
            self._listed[folder] = {seen.name: seen for seen in self._reader.entries(folder)}
        return self._listed[folder]

    def finished(self, path: Path) -> bool:
        """Whether a file is no half of a download."""
        return not unfinished(path.name, self.listing(path.parent))

    def place(self, sidecar: Sidecar, value: str) -> Path | None:
        """Where a path in a sidecar leads; None, with an issue, when it climbs out or nothing lies there."""
        path = Path(os.path.normpath(self.root / value))
        if not os.path.isabs(value) and not inside(self.root, value):
            self._reader.issue("unsafe", sidecar.path, f"{sidecar.model} names {shown(value)}, which leads out of the "
                               "program's folder", "name the file by its full path, or remove this file")
            return None
        self.named.add(path)
        seen = self.listing(path.parent).get(path.name)
        if seen is None and self._reader.exists(path):      # spelt otherwise, where case does not count
            return path
        if seen is None or seen.kind == "link":
            what = "is not there" if seen is None else "is a link that leads nowhere"
            self._reader.issue("incomplete", sidecar.path, f"{sidecar.model}: {shown(value)} {what}", sidecar.remedy)
            return None
        if seen.kind == "other":
            self._reader.issue("unsafe", sidecar.path, f"{sidecar.model}: {shown(value)} is no file", sidecar.remedy)
            return None
        return path

    def news(self, said: Sequence[Said]) -> Iterator[Said]:
        """Those that may say something new.

        Left out is a GGUF with its sidecar where both are as helixstore made or took them in, unless another sidecar
        names the same file: then it has several names, and all of them count.
        """
        places = [Path(os.path.normpath(self.root / one.main)) for one in said]
        times = Counter(places)
        for one, place in zip(said, places, strict=True):
            files = [one.sidecar.path, place, *([self.root / one.projector] if one.projector else [])]
            if (times[place] == 1 and place.suffix.casefold() == ".gguf" and shard_of_name(place.name) is None
                    and all(map(self._reader.settled, files))):
                self.named.update(files)
            else:
                yield one

    def is_folder(self, path: Path) -> bool:
        """Whether a path that `place` gave is a folder."""
        seen = self.listing(path.parent).get(path.name)
        return seen is not None and seen.kind == "folder"

    def gguf(self, sidecar: Sidecar, main: str, projector: str = "") -> Inspection | None:
        """The model whose first file is `main`, with the projector that the sidecar names, and no other.

        None when one of them is missing, broken or no model; the reader was told why.
        """
        path = self.place(sidecar, main)
        if path is None:
            return None
        if self.is_folder(path):
            self._reader.note(sidecar.path, f"{sidecar.model} names a folder where a file is expected")
            return None
        one = self.single(path)
        if one is None and not path.name.casefold().endswith(".gguf"):
            self._reader.note(sidecar.path, f"{path.name} is no model that another program could run")
        return self.joined(sidecar, one, projector) if one is not None and projector else one

    def joined(self, sidecar: Sidecar, model: Inspection, projector: str) -> Inspection | None:
        """The model with the projector that the sidecar names; None when that is missing or broken."""
        path = self.place(sidecar, projector)
        eye = self._reader.model(path) if path is not None and self.finished(path) else None
        if path is None or eye is None:
            return None
        if eye.purpose is not Purpose.PROJECTOR:
            self._reader.note(sidecar.path, f"{path.name}, which {sidecar.model} has for its projector, is none")
            return model
        names = {part.path for part in model.parts}
        parts = [replace(part, role=Role.PROJECTOR, path=f"mmproj-{part.path}" if part.path in names else part.path)
                 for part in eye.parts]
        return replace(model, parts=tuple(sorted((*model.parts, *parts), key=lambda part: part.path)))

    def unnamed(self, listed: Iterable[Seen], whose: str) -> Iterator[tuple[Seen, Inspection]]:
        """Of these GGUF files the models that no sidecar names, each set of shards once.

        Args:
            listed: GGUF files, after all sidecars were read.
            whose: what could have named a projector, for people: "model of LocalAI".
        """
        for seen in listed:
            shard = shard_of_name(seen.name)
            if seen.path in self.named or (shard is not None and shard.number > 1):
                continue
            model = self.single(seen.path)
            if model is not None and model.purpose is Purpose.PROJECTOR:
                self._reader.note(seen.path, f"is a projector that no {whose} names")
            elif model is not None:
                yield seen, model

    def single(self, path: Path) -> Inspection | None:
        """The GGUF at a path with all its shards, and without a projector that only its name would give it."""
        if not self.finished(path):
            return None
        one = self._reader.model(path)
        if one is not None and not one.whole:
            beside = self._reader.models(path.parent, again=True)
            one = next((model for model in beside if model.location == path), None)
        if one is None:
            return None
        one = without_projector(one)
        self.named.update(part.location for part in one.parts)
        return one

    def folder(self, path: Path) -> Inspection | None:
        """The one model that a folder is; None when it is none."""
        return next((model for model in self._reader.models(path, again=True) if model.location == path), None)


def without_projector(model: Inspection) -> Inspection:
    """The model by itself: a projector joined to it by its name alone is left out."""
    parts = tuple(part for part in model.parts if part.role is not Role.PROJECTOR)
    return replace(model, parts=parts) if parts and len(parts) < len(model.parts) else model


def inside(root: Path, value: str) -> str:
    """A path in a sidecar, absolute or counted from the root, as a POSIX one below the root; "" when it is not."""
    base = os.path.join(root, "")
    path = os.path.normpath(os.path.join(base, value))
    return path[len(base):].replace(os.sep, "/") if path.startswith(base) else ""


def shown(value: str) -> str:
    """A value from a sidecar, for messages: one line, not too long."""
    return printable(value if len(value) <= 120 else f"{value[:117]}...")


def own_weights(
    variant: Variant, first: str, projector: str, kinds: tuple[LinkKind, ...] = LINKS, witness: bool = False
) -> Iterator[Entry]:
    """The weights and the projector of a GGUF at the very places where a program has them.

    Args:
        variant: has them.
        first: the first file of the weights, relative to the root; "" when it lies elsewhere: nothing is put there.
        projector: likewise.
        kinds: of links.
        witness: no sidecar tells of the model, so the first file does.
    """
    weights, folder = variant.weights, first.rpartition("/")[0]
    shard = shard_of_name(first.rpartition("/")[2])
    if first and len(weights) == 1:
        yield Entry(first, weight(weights[0], kinds), variant.key, witness)
    elif first and shard is not None and (shard.number, shard.total) == (1, len(weights)):
        for number, file in enumerate(weights, 1):
            name = shard_name(shard, number)
            path = f"{folder}/{name}" if folder else name
            yield Entry(path, weight(file, kinds), variant.key, witness and number == 1)
    eye = main_projector(variant)
    if projector and eye:
        yield Entry(projector, weight(eye, kinds), variant.key)


def telling(name: str, otherwise: str) -> str:
    """The name of a model after its file, unless that says nothing of it; then another, without its quantisation."""
    return base_name(otherwise) if name.casefold() in _GENERIC else name
