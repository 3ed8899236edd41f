"""GPT4All: GGUF files flat in one folder.

Contract (providers-1.md section 4; gpt4all cd70db2, v3.10.0, nothing newer since February 2025):
- Linux `~/.local/share/nomic.ai/GPT4All`, or `modelPath` in `[General]` of `GPT4All.ini`. The Python package downloads
  into `~/.cache/gpt4all` (`python`), where models are found and nothing is put: it loads from any path it is given.
- `.gguf` in lower case, any depth, folders that are links not entered, names that begin with `incomplete` left out; the
  bare file name is the model's id, so equal names in two folders are one model. A file called as in GPT4All's own
  catalogue gets the catalogue's prompt settings: original names are kept.
- architectures are a list compiled in; no projectors; each shard would be a model of its own.
- deleting unlinks `<modelPath>/<file name>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from helixstore.providers.layout import LINKS, Entry, Env, Facts, Found, Layout, Reader, Refusal, Root
from helixstore.values import Format, LinkKind, Variant

from .parts.gguf_files import gguf_places, own_entries, refuse, stem, weight
from .parts.names import alike, distinct
from .parts.own import below, found_own, loose

__all__ = ["ARCHITECTURES", "GPT4All"]

#: `KNOWN_ARCHES` of gpt4all-backend/src/llamamodel.cpp
ARCHITECTURES = frozenset({
    "llama", "falcon", "gpt2", "gptneox", "granite", "granitemoe", "mpt", "baichuan", "starcoder", "starcoder2",
    "refact", "bert", "nomic-bert", "bloom", "stablelm", "qwen", "qwen2", "qwen2moe", "phi2", "phi3", "codeshell",
    "orion", "internlm2", "gemma", "gemma2", "xverse", "command-r", "olmo", "olmoe", "openelm", "deepseek2", "chatglm",
    "jais",
})
#: tensor types that llama.cpp learnt after GPT4All's copy of it
_TOO_NEW = frozenset({"MXFP4", "NVFP4", "Q1_0"})
_PYTHON = "python"                  # label of the Python package's folder
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{1,4})|(.))")


class GPT4All(Layout):
    """The model folder of the desktop application."""

    name = "gpt4all"
    title = "GPT4All"
    checked = ("2.8.2", "3.10.0")
    formats = (Format.GGUF,)
    refresh = "restart GPT4All"
    bears_dangling = True

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else `modelPath` of `GPT4All.ini`, else the default; then the Python package's."""
        python = Root(env.home / ".cache" / "gpt4all", "default of the Python package", label=_PYTHON)
        if env.setting:
            return (Root(env.setting, "setting"), python)
        default, ini = _places(env)
        if folder := _model_path(env.reader.text(ini)):
            return (Root(env.expand(folder), "GPT4All.ini", present=(ini,)), python)
        return (Root(default, "default"), python)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """One whole file of an architecture that it knows; a projector beside it is left out."""
        if reason := refuse(variant, facts, self.title):
            return reason
        if len(variant.weights) > 1:
            return Refusal("GPT4All takes each shard of a split GGUF for a model of its own", (Format.GGUF,))
        architecture = variant.header.architecture
        if architecture not in ARCHITECTURES:
            return Refusal(f"GPT4All 3.10 does not know the architecture {architecture or 'of a file that names none'}")
        if new := _TOO_NEW.intersection(kind for kind, _ in variant.header.tensor_types):
            return Refusal(f"GPT4All 3.10 does not know tensors of type {min(new)}", (Format.GGUF,))
        return None

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """One file each, flat; what lies in GPT4All already keeps its place."""
        if root.label == _PYTHON:
            return
        kinds = (LinkKind.HARD, LinkKind.REFLINK) if facts.platform == "win32" else LINKS
        own = {variant.key: gguf_places(variant, self.name) for variant in variants}
        taken = [path.rpartition("/")[2][:-5] for places in own.values() for path, _ in places]
        names = distinct(variants, {v.key: _file_stem(v) for v in variants if not own[v.key]}, taken=taken)
        for variant in variants:
            for path, source in own[variant.key]:
                yield from own_entries(path, source, variant, kinds, projectors=False)
            if variant.key in names:
                path = f"{names[variant.key]}.gguf"
                yield Entry(path, weight(variant.weights[0], kinds), variant.key, witness=True)

    def alike(self, variant: Variant) -> frozenset[str]:
        """Models whose names could collide."""
        return alike(variant, self.name)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """Every model below the folder; the source's name is the path below it of those that GPT4All would list."""
        for inspection in reader.models(root.path, -1):
            where = below(root.path, inspection.location)
            seen = inspection.format is Format.GGUF and where.endswith(".gguf") and root.label != _PYTHON
            yield found_own(inspection, self.name, where, root.path) if seen else loose(inspection)

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """The file of that name directly in the folder is unlinked; one in a folder below stays."""
        for entry in entries:
            if entry.key == variant.key:
                (root / entry.path.rpartition("/")[2]).unlink(missing_ok=True)


def _places(env: Env) -> tuple[Path, Path]:
    """The default model folder and the settings file."""
    library = env.home / "Library" / "Application Support"
    if env.platform == "darwin":
        return library / "nomic.ai" / "GPT4All", env.home / ".config" / "gpt4all.io" / "GPT4All.ini"
    if env.platform == "win32":
        local = env.variable("LOCALAPPDATA") or env.home / "AppData" / "Local"
        roaming = env.variable("APPDATA") or env.home / "AppData" / "Roaming"
        return local / "nomic.ai" / "GPT4All", roaming / "nomic.ai" / "GPT4All.ini"
    return env.data / "nomic.ai" / "GPT4All", env.config / "nomic.ai" / "GPT4All.ini"


def _model_path(ini: str | None) -> str | None:
    """`modelPath` of `[General]` in Qt's form of INI: quoted where needed, backslash escapes, `\\x` for Unicode."""
    section = ""
    for line in (ini or "").splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == "[General]" and line.partition("=")[0].strip() == "modelPath":
            value = line.partition("=")[2].strip()
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else m[2], value) or None
    return None


def _file_stem(variant: Variant) -> str:
    name = stem(variant)
    return f"model-{name}" if name.casefold().startswith("incomplete") else name
