"""Hostile and broken files and folders, each in a folder of its own: what a scan may meet on a real disk.

    cases = build(tmp_path / "corpus")

Whatever reads them must give the line that `Case.kind` names, and change nothing.
"""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from support import raw

__all__ = ["MODEL", "NOTHING", "PICKLE", "Case", "build"]

MODEL = "model"                 # sound, however odd: found as a model, no issue
NOTHING = "nothing"             # left out without a word
PICKLE = "pickle"               # named, marked unsafe, no issue

Write = Callable[[Path], None]


class Case(NamedTuple):
    """One trouble.

    Attributes:
        name: says what it is.
        path: the folder that holds it, and nothing else.
        kind: the kind of the one issue that it gives, or `MODEL`, `NOTHING`, `PICKLE`.
    """

    name: str
    path: Path
    kind: str


def build(folder: Path) -> list[Case]:
    """Make the corpus.

    Args:
        folder: made if it is missing.

    Returns:
        More than forty cases. Those that need rights which the process lacks (a device node) are not among them.
    """
    cases = []
    for kind, makers in (
        *_gguf().items(), *_safetensors().items(), *_other().items(), *_folders().items(), *_names().items(),
        *_special().items(),
    ):
        for name, make in makers.items():
            path = folder / name
            path.mkdir(parents=True)
            try:
                make(path)
            except PermissionError:
                path.rmdir()
            else:
                cases.append(Case(name, path, kind))
    return cases


def _file(name: str, data: bytes) -> Write:
    return lambda folder: _put(folder / name, data)


def _files(*names: str, data: bytes) -> Write:
    def make(folder: Path) -> None:
        for name in names:
            _put(folder / name, data)

    return make


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


ARCH = raw.text("general.architecture", "llama")
ONE = raw.tensor("blk.0.attn_q.weight", (32, 32), 1, 0)


def _gguf() -> dict[str, dict[str, Write]]:
    whole = raw.model_gguf()
    deep = raw.gguf_string("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 100 + struct.pack("<IQ", 4, 0)
    lies = {
        "gguf-49-bytes": raw.gguf([raw.gguf_array("k", 0, 1 << 60)])[:49],
        "gguf-keys": raw.gguf([ARCH], keys=1 << 63),
        "gguf-tensors": raw.gguf([ARCH], count=1 << 62),
        "gguf-string": raw.gguf([raw.gguf_string("k") + struct.pack("<IQ", 8, 1 << 62)]),
        "gguf-key": raw.gguf([struct.pack("<Q", 1 << 40)], keys=1),
        "gguf-array-of-strings": raw.gguf([raw.gguf_array("k", 8, 1 << 50)]),
        "gguf-array-of-numbers": raw.gguf([raw.gguf_array("k", 4, (1 << 64) - 1)]),
        "gguf-nested-deep": raw.gguf([deep]),
        "gguf-nested-wide": raw.gguf([raw.gguf_array("k", 9, 1 << 40)]),
        "gguf-offset-overflows": raw.gguf([ARCH], [raw.tensor("a", (32,), 0, (1 << 64) - 32)], 128),
        "gguf-overlap": raw.gguf([ARCH], [ONE, raw.tensor("b", (32, 32), 1, 1024)], 4096),
        "gguf-same-place": raw.gguf([ARCH], [ONE, raw.tensor("b", (32, 32), 1, 0)], 4096),
        "gguf-overlap-out-of-order": raw.gguf([ARCH], [raw.tensor("b", (32, 32), 1, 1024), ONE], 4096),
        "gguf-misaligned": raw.gguf([ARCH], [raw.tensor("a", (32,), 0, 7)], 256),
        "gguf-alignment-zero": raw.gguf([ARCH, raw.number("general.alignment", 0)], [ONE], 2048),
        "gguf-alignment-odd": raw.gguf([ARCH, raw.number("general.alignment", 48)], [ONE], 2048),
        "gguf-alignment-huge": raw.gguf([ARCH, raw.number("general.alignment", 1 << 31)], [ONE], 2048),
        "gguf-dimensions": raw.gguf([ARCH], [raw.gguf_string("a") + struct.pack("<I", 1 << 31)], 64),
        "gguf-elements": raw.gguf([ARCH], [raw.tensor("a", (1 << 62, 1 << 62), 0, 0)], 64),
        "gguf-odd-rows": raw.gguf([ARCH], [raw.tensor("a", (33, 32), 2, 0)], 4096),
        "gguf-key-twice": raw.gguf([ARCH, ARCH], [ONE], 2048),
        "gguf-tensor-twice": raw.gguf([ARCH], [ONE, raw.tensor("blk.0.attn_q.weight", (32,), 0, 2048)], 4096),
        "gguf-value-type": raw.gguf([raw.gguf_string("k") + struct.pack("<I", 77)]),
        "gguf-tensor-type": raw.gguf([ARCH], [raw.tensor("a", (32,), 1 << 30, 0)], 2048),
        "gguf-version-1": raw.gguf([ARCH], [ONE], 2048, version=1),
        "gguf-version-99": raw.gguf([ARCH], [ONE], 2048, version=99),
        "gguf-nul-in-architecture": raw.gguf([raw.text("general.architecture", b"lla\0ma")], [ONE], 2048),
        "gguf-newline-in-architecture": raw.gguf([raw.text("general.architecture", "a\nb = c")], [ONE], 2048),
        "gguf-long-architecture": raw.gguf([raw.text("general.architecture", "x" * 9000)], [ONE], 2048),
        "gguf-shard-beyond-count": raw.model_gguf(shard=(7, 3)),
        "gguf-web-page": b"<!DOCTYPE html><html><title>Not found</title></html>",
        "gguf-zeros": bytes(4096),
    }
    cut = {
        "gguf-empty": b"", "gguf-magic-only": whole[:4], "gguf-cut-in-head": whole[:19], "gguf-cut-in-keys": whole[:60],
        "gguf-cut-in-tensors": whole[: whole.index(b"blk.1") + 9], "gguf-cut-in-data": whole[:-1000],
        "gguf-cut-by-a-byte": whole[:-1],
        "gguf-offset-outside": raw.gguf([ARCH], [raw.tensor("a", (32,), 0, 1 << 40)], 64),
        "gguf-string-past-end": raw.gguf([raw.gguf_string("k") + struct.pack("<IQ", 8, 5000)]),
    }

    def renamed(folder: Path) -> None:
        _put(folder / "big-00001-of-00002.gguf", raw.model_gguf(shard=(1, 2)))
        _put(folder / "big-00002-of-00002.gguf", b"")
        (folder / "big-00002-of-00002.gguf").unlink()

    def shards(folder: Path) -> None:
        for number in (0, 2, 4):
            _put(folder / f"big-Q8_0-{number + 1:05}-of-00005.gguf", raw.model_gguf(shard=(number, 5)))

    def one_cut(folder: Path) -> None:
        _put(folder / "big-00001-of-00002.gguf", raw.model_gguf(shard=(0, 2)))
        _put(folder / "big-00002-of-00002.gguf", raw.model_gguf(shard=(1, 2))[:-100])

    def miscounted(folder: Path) -> None:
        for number in range(2):
            data = raw.model_gguf(shard=(number, 2))
            _put(folder / f"big-0000{number + 1}-of-00002.gguf", data.replace(
                raw.number("split.tensors.count", 4, 5), raw.number("split.tensors.count", 40, 5)))

    return {
        "unreadable": {**{name: _file("m.gguf", data) for name, data in lies.items()},
                       "gguf-shard-renamed": renamed, "gguf-shards-miscounted": miscounted},
        "incomplete": {**{name: _file("m.gguf", data) for name, data in cut.items()},
                       "gguf-shards-missing": shards, "gguf-shard-cut": one_cut},
        MODEL: {
            "gguf-named-bin": _file("model.bin", whole),
            "gguf-without-ending": _file("model", whole),
            "gguf-control-in-name": _file("m.gguf", raw.model_gguf(raw.text("general.name", "a\x1b[31m\nb\0c"))),
            "gguf-bytes-behind": _file("m.gguf", whole + b"tail"),
            "gguf-file-type-lies": _file("m.gguf", raw.model_gguf(file_type=15)),
        },
    }


def _safetensors() -> dict[str, dict[str, Write]]:
    two = {"a": ("F32", [2], 0, 8), "b": ("F32", [2], 8, 16)}
    whole = raw.safetensors(two, 16)
    lies = {
        "tensors-length": raw.safetensors(two, 16, length=1 << 63),
        "tensors-length-below-limit-of-format": raw.safetensors(two, 16, length=100_000_001),
        "tensors-hole": raw.safetensors({"a": ("F32", [2], 0, 8), "b": ("F32", [2], 16, 24)}, 24),
        "tensors-overlap": raw.safetensors({"a": ("F32", [2], 0, 8), "b": ("F32", [2], 4, 12)}, 12),
        "tensors-bytes-behind": whole + b"tail",
        "tensors-backwards": raw.safetensors({"a": ("F32", [0], 8, 0)}, 8),
        "tensors-shape": raw.safetensors({"a": ("F32", [1 << 62, 1 << 62], 0, 8)}, 8),
        "tensors-shape-zero-times-huge": raw.safetensors({"a": ("F32", [1 << 63, 0], 0, 0)}, 0),
        "tensors-size": raw.safetensors({"a": ("F32", [3], 0, 8)}, 8),
        "tensors-negative": raw.safetensors({"a": ("F32", [-2], 0, 8)}, 8),
        "tensors-twice": raw.safetensors({}, 16, header=(
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
            b'"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}')),
        "tensors-deep": raw.safetensors({}, 0, header=b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
        "tensors-deep-metadata": raw.safetensors(
            {}, 0, header=b'{"__metadata__":' + b'{"a":' * 5000 + b"1" + b"}" * 5001),
        "tensors-no-json": raw.safetensors({}, 8, header=b"{this is no JSON}"),
        "tensors-not-utf-8": raw.safetensors(
            {}, 8, header=b'{"\xff\xfe":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
        "tensors-list": raw.safetensors({}, 8, header=b'["a"]   '),
        "tensors-second-document": raw.safetensors({}, 0, header=b"{} {}"),
        "tensors-web-page": b"<!DOCTYPE html><html><title>Not found</title></html>",
    }
    cut = {
        "tensors-empty": b"", "tensors-cut": whole[:-1], "tensors-cut-in-header": whole[:40],
        "tensors-header-beyond-file": raw.safetensors(two, 16, length=90_000_000),
    }
    return {
        "unreadable": {name: _file("m.safetensors", data) for name, data in lies.items()},
        "incomplete": {name: _file("m.safetensors", data) for name, data in cut.items()},
        MODEL: {
            "tensors-null-metadata": _file("m.safetensors", raw.safetensors({}, 8, header=(
                b'{"__metadata__":null,"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'))),
            "tensors-other-order": _file("m.safetensors", raw.safetensors({}, 8, header=(
                b'{ "a" : {"shape":[2], "data_offsets":[0,8], "dtype":"F32"} }   '))),
        },
    }


def _other() -> dict[str, dict[str, Write]]:
    bomb = b"\x80\x04cos\nsystem\n(S'false'\ntR."
    zipped = b"PK\x03\x04" + bytes(26) + b"archive/data.pkl" + bomb
    return {
        PICKLE: {
            "pickle": _file("m.pt", bomb), "pickle-in-zip": _file("m.pth", zipped),
            "pickle-named-bin": _file("m.bin", bomb),
            "pickle-named-safetensors": _file("m.safetensors", bomb), "pickle-named-gguf": _file("m.gguf", zipped),
            "pickle-of-protocol-0": _file("m.pkl", b"cos\nsystem\n(S'false'\ntR."),
        },
        "unreadable": {"ggml-before-gguf": _file("m.bin", b"tjgg" + bytes(200))},
        NOTHING: {
            "bin-of-no-kind": _file("firmware.bin", b"\x7fELF" + bytes(100)),
            "unfinished": _files(
                "a.gguf.part", "b.gguf.incomplete", "c.gguf.downloadInProgress", "incomplete-d.gguf", "e.gguf.aria2",
                "e.gguf", ".nfs0001", "~f.gguf", "sha256-" + "0" * 64 + "-partial", data=raw.model_gguf()[:500]),
            "importance-matrix": _file("m.gguf", raw.gguf([raw.text("general.type", "imatrix")], [ONE], 2048)),
            "blob-of-a-program": _file("sha256-" + "ab" * 32, raw.model_gguf()),
            "in-git": _file(".git/lfs/m.gguf", b"GGUF"),
        },
    }


TENSORS = raw.safetensors({"a.weight": ("BF16", [4, 2], 0, 16)}, 16)
CONFIG = json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}).encode()


def _model(*, config: bytes = CONFIG, **files: bytes) -> Write:
    def make(folder: Path) -> None:
        _put(folder / "config.json", config)
        for name, data in (files or {"model.safetensors": TENSORS}).items():
            _put(folder / name.replace("__", "-").replace("_dot_", "."), data)

    return make


def _index(*names: str) -> Write:
    def make(folder: Path) -> None:
        _put(folder / "config.json", CONFIG)
        _put(folder / "model-00001-of-00002.safetensors", TENSORS)
        weights = {f"t{number}": name for number, name in enumerate(names)}
        _put(folder / "model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": weights}).encode())

    return make


def _folders() -> dict[str, dict[str, Write]]:
    first = "model-00001-of-00002.safetensors"

    def sparse(folder: Path) -> None:
        _model()(folder)
        os.truncate(folder / "config.json", 200 << 20)

    def index_no_json(folder: Path) -> None:
        _index(first)(folder)
        _put(folder / "model.safetensors.index.json", b'{"weight_map": {"a": ')

    def shards_missing(folder: Path) -> None:
        _put(folder / "config.json", CONFIG)
        _put(folder / "model-00002-of-00003.safetensors", TENSORS)

    def case_only(folder: Path) -> None:
        _model()(folder)
        _put(folder / "Config.json", CONFIG)

    def config_is_folder(folder: Path) -> None:
        _put(folder / "model.safetensors", TENSORS)
        (folder / "config.json").mkdir()

    def dangling(name: str) -> Write:
        def make(folder: Path) -> None:
            _model()(folder)
            (folder / name).unlink(missing_ok=True)
            os.symlink("/nonexistent/blob", folder / name)
        return make

    def modules(folder: Path) -> None:
        _model()(folder)
        _put(folder / "modules.json", b'[{"path": "../../etc"}, {"path": 7}, 3]')

    lying = json.dumps({"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}}).encode()
    return {
        "unreadable": {
            "config-deep": _model(config=b'{"model_type":' + b"[" * 300_000 + b"]" * 300_000 + b"}"),
            "config-no-json": _model(config=b"model_type: llama"),
            "config-not-utf-8": _model(config=b'{"model_type": "\xff\xfe"}'),
            "config-huge": sparse,
            "config-is-a-folder": config_is_folder,
            "config-link-to-nothing": dangling("config.json"),
            "weights-link-to-nothing": dangling("model.safetensors"),
            "tokenizer-link-to-nothing": dangling("tokenizer.json"),
            "weights-of-two-models": _model(a_dot_safetensors=TENSORS, b_dot_safetensors=TENSORS),
            "config-a-list": _model(config=b"[1, 2, 3]"),
            "folder-weights-lie": _model(model_dot_safetensors=raw.safetensors({"a": ("F32", [3], 0, 8)}, 8)),
        },
        "incomplete": {
            "config-empty": _model(config=b""),
            "index-missing-files": _index(first, "model-00002-of-00002.safetensors"),
            "index-no-json": index_no_json,
            "folder-shards-missing": shards_missing,
            "folder-weights-cut": _model(model_dot_safetensors=TENSORS[:-3]),
        },
        "unsafe-name": {
            "index-climbs": _index(first, "../../elsewhere/model.safetensors"),
            "index-absolute": _index(first, "/etc/passwd"),
            "index-backslash": _index(first, "..\\..\\model.safetensors"),
            "index-nul": _index(first, "a\0b.safetensors"),
            "index-other-folder": _index(first, "sub/model.safetensors"),
            "names-differ-in-case-only": case_only,
        },
        MODEL: {
            "config-lies": _model(config=lying), "modules-climb": modules,
            "config-of-other-types": _model(config=b'{"model_type": 7, "architectures": {"a": 1}, "vocab_size": -5, '
                                            b'"hidden_size": 1e400, "quantization_config": [1], "text_config": "x"}'),
        },
    }


def _names() -> dict[str, dict[str, Write]]:
    whole = raw.model_gguf()

    def named(name: bytes) -> Write:
        def make(folder: Path) -> None:
            with open(os.fsencode(folder) + b"/" + name, "wb") as file:
                file.write(whole)
        return make

    def folder_named(name: str) -> Write:
        return lambda folder: _put(folder / name / "m.gguf", whole)

    return {
        "unsafe-name": {
            "name-newline": named(b"a\nb.gguf"), "name-not-utf-8": named(b"a\xff\xfe.gguf"),
            "name-escape": named(b"a\x1b[2J.gguf"), "name-backslash": named(b"..\\..\\m.gguf"),
            "name-colon": named(b"c:m.gguf"), "name-device": named(b"con.gguf"), "name-space": named(b"m.gguf "),
            "name-direction": named("m\u202effugg.gguf".encode()), "name-of-folder": folder_named("a\nb"),
        },
        MODEL: {"name-255-bytes": named(b"m" * 250 + b".gguf"), "name-two-dots": named(b"a..b.gguf"),
                "name-dashes": named(b"--help.gguf")},
    }


def _special() -> dict[str, dict[str, Write]]:
    def link(target: str) -> Write:
        return lambda folder: os.symlink(target, folder / "m.gguf")

    def loop(folder: Path) -> None:
        os.symlink("b.gguf", folder / "a.gguf")
        os.symlink("a.gguf", folder / "b.gguf")
        os.unlink(folder / "b.gguf")
        os.symlink("a.gguf", folder / "b")

    def node(kind: int, device: int = 0) -> Write:
        return lambda folder: os.mknod(folder / "m.gguf", kind | 0o600, device)

    def cycle(folder: Path) -> None:
        (folder / "deep").mkdir()
        os.symlink("..", folder / "deep" / "up")
        os.symlink(folder, folder / "deep" / "top")

    def device_behind_link(folder: Path) -> None:
        os.symlink("/dev/zero", folder / "m.gguf")

    return {
        "unreadable": {
            "link-to-nothing": link("/nonexistent/m.gguf"), "link-to-itself": link("m.gguf"), "links-in-a-loop": loop,
            "pipe": node(stat.S_IFIFO), "socket": node(stat.S_IFSOCK), "device": node(stat.S_IFCHR, os.makedev(1, 5)),
            "device-behind-link": device_behind_link,
        },
        NOTHING: {"folders-in-a-cycle": cycle, "link-to-root": lambda folder: os.symlink("/", folder / "root"),
                  "pipe-of-no-model": lambda folder: os.mkfifo(folder / "control")},
    }
