"""KoboldAI, which today means KoboldCpp: a `.kcpps` for each model in its admin folder.

Contract (providers-2.md section 5.1; koboldcpp.py 1.117):
- `--admindir` lists `.kcpps`, `.kcppt` and `.gguf` of the folder and one level below, with no filter for projectors and
  further shards: so the admin folder holds `.kcpps` files only, and the weights lie at depth two, which is not scanned.
- a `.kcpps` is JSON whose keys are argument names; its paths are used as they are, so they are absolute, into this
  folder. People save their settings into it: only the paths are ours. Saved by the program it has every key, the model
  as `model_param` or in the list `model`; a `.kcppt` is a template, often without one. A model may be an address.
- links are followed, dangling ones skipped; without `--host` it listens on every interface.

KoboldAI United embeds a KoboldCpp of early 2024 and looks only below its own program folder; KoboldAI-Client loads no
GGUF. Neither is served: name `models` of United as a folder with `helixstore link MODEL DIR`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from helixstore.fs.names import printable
from helixstore.providers.layout import Entry, Env, Facts, Found, Layout, Reader, Refusal, Root, Seen, Text
from helixstore.values import Format, Purpose, Source, Variant

from .parts.gguf_files import main_projector, projector_name, refuse, shard_names, stem, weight
from .parts.names import alike, distinct
from .parts.own import kept_text, own_sources
from .parts.sidecars import Files, Said, Sidecar, inside, own_weights, telling

__all__ = ["KoboldAI"]

_PATHS = ("model_param", "embeddingsmodel", "mmproj")
_WEIGHTS = "weights"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
#: what a configuration may load instead of a text model -> what that is
_OTHERS = {"sdmodel": "an image model", "whispermodel": "a speech recogniser", "ttsmodel": "a voice",
           "musicllm": "a music model"}


class KoboldAI(Layout):
    """KoboldCpp's admin folder."""

    name = "koboldai"
    title = "KoboldCpp"
    checked = ("1.76", "1.117")
    bears_dangling = True    # os.path.isfile skips it (scan_directory)
    formats = (Format.GGUF,)
    launch = ("koboldcpp", "--nomodel", "--skiplauncher", "--admin", "--admindir", "{root}", "--routermode",
              "--host", "127.0.0.1")

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else a folder of helixstore's own: KoboldCpp is told its folder at start."""
        if env.setting:
            return (Root(env.setting, "setting"),)
        return (Root(env.farms / self.name, "helixstore's own", owned=True),)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """Whole GGUF models, embedding models too."""
        return refuse(variant, facts, self.title)

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """The files of each model in `weights/<name>/`, then `<name>.kcpps`; what is the person's stays as it is."""
        own = {variant.key: found for variant in variants if (found := list(_own(variant, root.path)))}
        made = [variant for variant in variants if variant.key not in own]
        taken = [one.name.removesuffix(".kcpps") for found in own.values() for one in found]
        names = distinct(made, {variant.key: stem(variant) for variant in made}, taken=taken)
        texts: dict[str, Text] = {}
        for variant in variants:
            if variant.key not in own:
                yield from _entries(variant, str(root.path), names[variant.key])
            for one in own.get(variant.key, ()):
                yield from own_weights(variant, one.first, one.projector, witness=not one.text)
                if one.text:
                    text = texts.setdefault(one.name, kept_text(one.text))
                    yield Entry(one.name, text, variant.key, witness=True, order=1)

    def alike(self, variant: Variant) -> frozenset[str]:
        """Models whose names could collide."""
        return alike(variant, self.name)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """What KoboldCpp lists: configurations with the models that they name, and GGUF files by themselves."""
        files = Files(root, reader)
        listed = list(_listed(root.path, files))
        said = [one for seen in listed if not seen.name.casefold().endswith(".gguf")
                and (one := _said(root.path, seen, reader))]
        for one in files.news(said):
            if model := files.gguf(one.sidecar, one.main, one.projector):
                source = Source("program", program=self.name, name=one.name, sidecars=((one.name, one.text),))
                yield Found(model, source, telling(model.name, one.sidecar.path.stem))
        weights = (seen for seen in listed if seen.name.casefold().endswith(".gguf"))
        for seen, model in files.unnamed(weights, "configuration of KoboldCpp"):
            name = seen.path.relative_to(root.path).as_posix()
            yield Found(model, Source("program", program=self.name, name=name), telling(model.name, name))

    def left_of(self, path: str, text: bytes, gone: Callable[[str], bool]) -> bytes | None:
        """Nothing of a configuration whose model goes away."""
        return b"" if (main := _paths(text.decode(errors="replace"))[0]) and gone(main) else None

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """It has no delete: the person removes the configuration."""
        (root / next(entry.path for entry in entries if entry.witness and entry.key == variant.key)).unlink()


class _Own(NamedTuple):
    """What the person has: its name and text ("": a GGUF by itself), and where the files lie, "" outside the root."""

    name: str
    text: str
    first: str
    projector: str


def _listed(folder: Path, files: Files) -> Iterator[Seen]:
    """What KoboldCpp lists: the folder and one level below, by extension in any case."""
    for seen in files.listing(folder).values():
        below = files.listing(seen.path).values() if seen.kind == "folder" else (seen,)
        yield from (one for one in below if one.kind == "file"
                    and one.name.casefold().endswith((".kcpps", ".kcppt", ".gguf")))


def _said(root: Path, seen: Seen, reader: Reader) -> Said | None:
    name = seen.path.relative_to(root).as_posix()
    text = reader.text(seen.path)
    if text is None:
        return None
    if seen.linked:
        reader.note(seen.path, "is a link; what it names is left as it is")
        return None
    sidecar = Sidecar(seen.path, printable(name), "choose the model again in KoboldCpp, or remove this file")
    settings = _settings(text)
    if settings is None:
        reader.issue("unreadable", seen.path, f"{sidecar.model} is no configuration of KoboldCpp: it is not JSON",
                     "save it again in KoboldCpp, or remove it")
        return None
    main, projector = _named(settings)
    if not main:
        others = [what for key, what in _OTHERS.items() if settings.get(key)]
        if others:
            reader.note(seen.path, f"loads {others[0]} only, which no other program runs")
        return None
    if _ADDRESS.match(main):
        reader.note(seen.path, "names an address, which KoboldCpp downloads itself")
        return None
    if not os.path.isabs(main) and not reader.exists(root / main):
        reader.note(seen.path, "names a file by a path that depends on where KoboldCpp is started")
        return None
    return Said(sidecar, name, text, main, "" if _ADDRESS.match(projector) else projector)


def _settings(text: str) -> Mapping[str, object] | None:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return settings if isinstance(settings, dict) else None


def _named(settings: Mapping[str, object]) -> tuple[str, str]:
    """The model and the projector that a configuration names."""
    def value(key: str) -> str:
        found = settings.get(key)
        if isinstance(found, list) and found:
            found = found[0]
        return found if isinstance(found, str) else ""

    main = value("model_param") or value("model")
    return main or value("embeddingsmodel"), value("mmproj") if main else ""


def _own(variant: Variant, root: Path) -> Iterator[_Own]:
    for source in own_sources(variant, KoboldAI.name):
        for name, text in source.sidecars:
            first, projector = _paths(text)
            yield _Own(name, text, inside(root, first) if first else "", inside(root, projector) if projector else "")
        if not source.sidecars and source.name and inside(root, source.name) == source.name:
            yield _Own(source.name, "", source.name, "")


@lru_cache(maxsize=16384)
def _paths(text: str) -> tuple[str, str]:
    return _named(_settings(text) or {})


def _entries(variant: Variant, root: str, name: str) -> Iterator[Entry]:
    folder = os.sep.join((root, _WEIGHTS, name, ""))
    files = list(shard_names(variant, name))
    for file_name, file in files:
        yield Entry(f"{_WEIGHTS}/{name}/{file_name}", weight(file), variant.key)
    main = "embeddingsmodel" if variant.purpose is Purpose.EMBEDDING else "model_param"
    settings = {main: folder + files[0][0]}
    if projector := main_projector(variant):
        settings["mmproj"] = folder + projector_name(projector.path)
        yield Entry(f"{_WEIGHTS}/{name}/{projector_name(projector.path)}", weight(projector), variant.key)
    text = Text(_encode(settings), partial(_merge, name))
    yield Entry(f"{name}.kcpps", text, variant.key, witness=True, order=1)


def _encode(settings: object) -> bytes:
    return json.dumps(settings).encode() + b"\n"


def _merge(name: str, base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes | None:
    """Theirs, with the paths that lead into this model's folder brought up to date."""
    if theirs is None or theirs == base:
        return ours
    try:
        settings, wanted = json.loads(theirs), json.loads(ours)
    except ValueError:
        return None

    def is_mine(value: object) -> bool:
        return isinstance(value, str) and value.replace("\\", "/").rpartition("/")[0].endswith(f"/{_WEIGHTS}/{name}")

    if not isinstance(settings, dict) or (base is None and not any(is_mine(settings.get(key)) for key in _PATHS)):
        return None
    before = dict(settings)
    for key in _PATHS:
        if key in wanted and (not settings.get(key) or is_mine(settings[key])):
            settings[key] = wanted[key]
        elif key not in wanted and is_mine(settings.get(key)):
            del settings[key]
    return theirs if settings == before else _encode(settings)
