"""KoboldAI, which today means KoboldCpp: a `.kcpps` for each model in its admin folder.

Contract (providers-2.md section 5.1; koboldcpp.py 1.117):
- `--admindir` lists `.kcpps`, `.kcppt` and `.gguf` of the folder and one level below, with no filter for projectors and
  further shards: so the admin folder holds `.kcpps` files only, and the weights lie at depth two, which is not scanned.
- a `.kcpps` is JSON whose keys are argument names; its paths are used as they are, so they are absolute, into this
  folder. People save their settings into it: only the paths are ours.
- links are followed, dangling ones skipped; without `--host` it listens on every interface.

KoboldAI United embeds a KoboldCpp of early 2024 and looks only below its own program folder; KoboldAI-Client loads no
GGUF. Neither is served: name `models` of United as a folder with `helixstore link MODEL DIR`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from helixstore.providers.layout import Entry, Env, Facts, Layout, Refusal, Root, Text
from helixstore.values import Format, Purpose, Variant

from .gguf_files import main_projector, refuse, shard_names, stem, weight
from .llamacpp import projector_name
from .names import distinct

__all__ = ["KoboldAI"]

_PATHS = ("model_param", "embeddingsmodel", "mmproj")


class KoboldAI(Layout):
    """KoboldCpp's admin folder."""

    name = "koboldai"
    title = "KoboldCpp"
    checked = ("1.76", "1.117")
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
        """The files of each model in `weights/<name>/`, then `<name>.kcpps`."""
        names = distinct(variants, {variant.key: stem(variant) for variant in variants})
        for variant in variants:
            yield from _entries(variant, str(root.path), names[variant.key])


def _entries(variant: Variant, root: str, name: str) -> Iterator[Entry]:
    folder = os.sep.join((root, "weights", name, ""))
    files = list(shard_names(variant, name))
    for file_name, file in files:
        yield Entry(f"weights/{name}/{file_name}", weight(file), variant.key)
    main = "embeddingsmodel" if variant.purpose is Purpose.EMBEDDING else "model_param"
    settings = {main: folder + files[0][0]}
    if projector := main_projector(variant):
        settings["mmproj"] = folder + projector_name(projector.path)
        yield Entry(f"weights/{name}/{projector_name(projector.path)}", weight(projector), variant.key)
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
        return isinstance(value, str) and value.replace("\\", "/").rpartition("/")[0].endswith(f"/weights/{name}")

    if not isinstance(settings, dict) or (base is None and not any(is_mine(settings.get(key)) for key in _PATHS)):
        return None
    before = dict(settings)
    for key in _PATHS:
        if key in wanted and (not settings.get(key) or is_mine(settings[key])):
            settings[key] = wanted[key]
        elif key not in wanted and is_mine(settings.get(key)):
            del settings[key]
    return theirs if settings == before else _encode(settings)
