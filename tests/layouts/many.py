"""Many variants without a disk, for what must hold for any names: made by hand or by hypothesis."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from hypothesis import strategies as st

from helixstore.providers.layout import Copy, Entry, Layout, Root, Weight
from helixstore.values import File, Format, Header, Key, Purpose, Role, Source, Variant
from support.layouts import FACTS

FORBIDDEN = set('\\<>:"|?*')


def gguf(
    model: str = "tiny", quantization: str = "Q4_K_M", file: str | None = None, *, shards: int = 1, projector: str = "",
    header: Header | None = None, purpose: Purpose = Purpose.MODEL, sources: Sequence[Source] = (), seed: object = 0,
    variant: str | None = None,
) -> Variant:
    """A variant of `shards` files whose digests follow from its names and `seed`."""
    def digest(what: object) -> str:
        return hashlib.sha256(repr((model, quantization, seed, what)).encode()).hexdigest()

    stem = (file or f"{model}-{quantization}.gguf").removesuffix(".gguf")
    names = [f"{stem}.gguf"] if shards == 1 else [f"{stem}-{i:05d}-of-{shards:05d}.gguf" for i in range(1, shards + 1)]
    files = [File(name, 1000 + i, digest(i), Role.WEIGHTS, digest(("s", i))) for i, name in enumerate(names)]
    if projector:
        digests = hashlib.sha256(projector.encode()).hexdigest(), hashlib.sha256(b"s" + projector.encode()).hexdigest()
        files.append(File(projector, 500, digests[0], Role.PROJECTOR, digests[1]))
    key = Key(model, variant or f"gguf:{quantization}")
    made = header or Header("llama", 8_030_261_312, 4096, True, 15, shards=shards)
    return Variant(key, digest("manifest"), Format.GGUF, quantization, purpose, made, tuple(files), tuple(sources))


def once(entries: Iterable[Entry]) -> list[Entry]:
    """One entry for each path; two variants may share one only if it is the same body."""
    kept: dict[str, Entry] = {}
    for entry in entries:
        if entry.path in kept:
            assert kept[entry.path].body == entry.body, entry.path
        else:
            kept[entry.path] = entry
    return list(kept.values())


def check_names(entries: Sequence[Entry], variants: Sequence[Variant]) -> None:
    """Names that every system takes, no two differing in case only, each variant with one witness of its own."""
    paths = {entry.path for entry in entries}
    assert len({path.casefold() for path in paths}) == len(paths)
    folders = {str(parent).casefold() for path in paths for parent in PurePosixPath(path).parents}
    assert not folders & {path.casefold() for path in paths}
    for path in paths:
        for part in path.split("/"):
            assert part not in ("", ".", "..")
            assert len(part.encode()) <= 255, part
            assert not set(part) & FORBIDDEN, part
            assert part[-1] not in ". ", part
            assert all(ord(c) >= 32 for c in part), part
    witnesses = [(entry.path, entry.key) for entry in entries if entry.witness]
    assert len({path for path, _ in witnesses}) == len(witnesses)
    assert sorted(key for _, key in witnesses if key) == sorted(variant.key for variant in variants)
    for variant in variants:
        digests = {entry.body.blob for entry in entries if entry.key == variant.key
                   and isinstance(entry.body, Weight | Copy)}
        assert {file.blake3 for file in variant.weights} <= digests


def paths_of(layout: Layout, variants: Sequence[Variant], root: Root) -> dict[Key | None, set[str]]:
    """The paths of each variant's entries."""
    found: dict[Key | None, set[str]] = {}
    for entry in layout.project(variants, root, FACTS):
        found.setdefault(entry.key, set()).add(entry.path)
    return found


def check_steady(layout: Layout, variants: Sequence[Variant], root: Root) -> None:
    """The order does not matter, and a variant that collides with no other has the name that it has alone."""
    together = paths_of(layout, variants, root)
    assert paths_of(layout, variants[::-1], root) == together
    alone = {variant.key: paths_of(layout, [variant], root)[variant.key] for variant in variants}
    names = {key: {name for path in paths for name in names_in(path)} for key, paths in alone.items()}
    for variant in variants:
        if not any(names[variant.key] & others for key, others in names.items() if key != variant.key):
            assert together[variant.key] == alone[variant.key]


#: parts of paths that tell no variants apart
_COMMON = {"models", "helix", "weights", "llamacpp", "model.yml", "mmproj"}


def names_in(path: str) -> set[str]:
    """The names in a path that tell variants apart, without what follows from the kind of file, as they are compared.

    Of an Ollama manifest it is the whole path: its model and its tag alone may be another's too.
    """
    if path.startswith(("manifests/", "blobs/")):
        return {path.casefold()}
    parts = {part.removeprefix("mmproj-").casefold() for part in path.split("/")}
    return {re.sub(r"(-\d{5}-of-\d{5})?\.(gguf|kcpps|yaml)$", "", part) for part in parts - _COMMON}


_NAME = st.one_of(
    st.text(min_size=1, max_size=30),
    st.sampled_from(["Qwen3-8B", "qwen3-8b", "QWEN3-8B", "llama3.1:8b", "con", "a..b", "../x", "模型", "é", "é",
                     "incomplete-x", "mmproj-x", "mtp-y", "x.gguf", "models", "-rf", ".hidden", "a/b", "x" * 300]))
_FILE = st.one_of(st.just(None), st.sampled_from(
    ["model.gguf", "Model.GGUF", "ggml-model-q4_0.gguf", "x.gguf", "X.gguf", "a-00001-of-00001.gguf", "sub/y.gguf",
     f"{'0' * 64}.gguf", "mmproj.gguf", "nul.gguf"]))


@st.composite
def variants(draw: st.DrawFn) -> list[Variant]:
    """Up to eight variants with different keys, as the store would have them: names differ by more than case."""
    made: dict[tuple[str, str], Variant] = {}
    for number in range(draw(st.integers(1, 8))):
        name = draw(_NAME)
        quantization = draw(st.sampled_from(["Q4_K_M", "Q8_0", "F16", ""]))
        projector = draw(st.sampled_from(["", "", "mmproj-F16.gguf", "vision.gguf"]))
        shards = draw(st.sampled_from([1, 1, 1, 3]))
        variant = gguf(name, quantization, draw(_FILE), shards=shards, projector=projector, seed=number)
        made.setdefault((name.casefold(), quantization), variant)
    return list(made.values())
