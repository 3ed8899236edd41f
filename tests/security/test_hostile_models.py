"""A hostile model folder, repository, manifest or record: what it names stays inside, and its cost is bounded.

More than forty hostile files, folders and names are in `support.corpus`, tried by tests/formats/test_corpus.py."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from farmland import Land

from helixstore import HelixStore
from helixstore.errors import HelixError, UnsafeName
from helixstore.farm.desired import join
from helixstore.formats import inspect_file, survey
from helixstore.formats.outward import leads_out
from helixstore.providers.layout import Entry, Text
from helixstore.store import records
from helixstore.store.manifests import Manifest
from helixstore.values import Key, Purpose
from support.disks import apart
from support.models import tiny_hf
from support.person import Person

SECRET = b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
PURPOSE = next(iter(Purpose)).value
CLIMBS = ["../x", "a/../../x", "/etc/x", "a//x", "..", ".", "", "a/./x", "C:x", "C:\\x", "\\\\host\\share\\x",
          "a\\..\\x", "con", "aux.gguf", "lpt1", "a\x00b", "a\x1b[31m", "a\u202egpj.gguf", "x" * 256, "a/" * 600 + "x",
          "a.", "a ", "a:b",
          "a\nb", "\u2028", "a|b", "*"]


@pytest.mark.parametrize("name", CLIMBS, ids=ascii)
def test_no_manifest_or_projection_has_a_name_that_leads_out(name: str) -> None:
    record = {"schema": 1, "format": "gguf", "quantization": "", "purpose": PURPOSE,
              "files": [{"path": name, "bytes": 1, "blake3": "0" * 64, "role": "weights"}]}
    with pytest.raises(UnsafeName):
        Manifest.decode(json.dumps(record).encode())
    root, issues = join("/root", [("p", [Entry(name, Text(b""), Key("m", "gguf:Q4"))])])
    assert not root.entries
    assert [issue.kind for issue in issues] == ["unsafe-name"]


def test_names_that_are_one_where_case_is_not_told_apart_are_refused_together() -> None:
    files = [{"path": path, "bytes": 1, "blake3": "0" * 64, "role": "weights"} for path in ("Model.gguf", "MODEL.gguf")]
    with pytest.raises(UnsafeName):
        Manifest.decode(json.dumps({"schema": 1, "format": "gguf", "quantization": "", "purpose": PURPOSE,
                                    "files": files}).encode())


@pytest.mark.parametrize("digest", ["../../etc/passwd", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "", "0" * 64 + "\n"],
                         ids=ascii)
def test_only_a_digest_becomes_a_path(tmp_path: Path, digest: str) -> None:
    land = Land(tmp_path)
    for ask in (land.store.blobs.path, land.store.manifests.path, land.store.blobs.meta,
                lambda bad: land.store.quarantine.mark(bad, "x"), lambda bad: bad in land.store.quarantine):
        with pytest.raises(UnsafeName):
            ask(digest)


def test_a_link_to_a_private_file_is_no_part_of_a_model(person: Person) -> None:
    """A cloned repository with README.md -> ~/.ssh/id_ed25519: its bytes enter neither the store nor a program."""
    key = person.put(".ssh/id_ed25519", SECRET, 0o600)
    model = person.home / "models" / "evil"
    tiny_hf(model)
    for name, target in (("README.md", "../../.ssh/id_ed25519"), ("notes.txt", str(key))):
        (model / name).unlink(missing_ok=True)
        (model / name).symlink_to(target)
    (model / "sub").mkdir()
    (model / "sub" / "extra.json").symlink_to(key)
    [found] = survey(str(person.home / "models"), -1, issue=lambda issue: None)
    assert {"README.md", "notes.txt", "sub/extra.json"}.isdisjoint(part.path for part in found.parts)
    assert sum("left out" in note for note in found.notes) == 3, found.notes
    HelixStore.init(every=True, scan=[person.home / "models"], environ=person.environ)
    with person.open() as store:
        store.sync()
        folder = Path(store.path("evil"))
    holders = [path for path in person.home.rglob("*") if path.is_file() and SECRET in path.read_bytes()]
    assert {path.resolve() for path in holders} == {key}
    assert not (folder / "README.md").exists()


def test_links_that_programs_make_are_followed(tmp_path: Path) -> None:
    blobs, model, beside = tmp_path / "blobs", tmp_path / "snapshots/1", tmp_path / "other"
    for folder in (blobs, model, beside):
        folder.mkdir(parents=True)
    for path in (blobs / ("a" * 40), beside / "config.json", beside / "w.safetensors", tmp_path / "key"):
        path.write_bytes(b"{}")
    for name, target in (("one.json", f"../../blobs/{'a' * 40}"), ("two.json", "../../other/config.json"),
                         ("three.json", "one.json"), ("four.json", "../../key"), ("w.gguf", "../../key")):
        (model / name).symlink_to(target)
    out = {name for name in os.listdir(model) if leads_out(str(model / name), str(model))}
    assert out == {"four.json"}


BOMBS: dict[str, Callable[[], bytes]] = {
    "lists": lambda: b'{"a":[' + b"[]," * 5_000_000 + b"[]]}",
    "texts": lambda: b'{"a":[' + b'"ab",' * 3_000_000 + b'"ab"]}',
    "depth": lambda: b"[" * 5_000_000,
    "number": lambda: b'{"a":' + b"9" * 5_000_000 + b"}",
    "float": lambda: b'{"a":1e999999999}',
    "twice": lambda: b'{"schema":1,"schema":2}',
    "keys": lambda: b"{" + b",".join(b'"%d":0' % number for number in range(1_500_000)) + b"}",
    "not UTF-8": lambda: b'{"a":"\xff"}',
    "surrogate": lambda: b'{"a":"\\ud800"}',
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_record_costs_bounded_memory_and_time(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(BOMBS[kind]())

    def read() -> tuple[float, int, str]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        try:
            records.read_record(str(path))
            said = "read"
        except HelixError as error:
            said = type(error).__name__
        return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, said

    seconds, kilobytes, said = apart(read)
    assert seconds < 5
    assert kilobytes < 200 << 10, f"{kilobytes >> 10} MiB for {path.stat().st_size >> 20} MiB: {said}"


def test_a_yaml_of_aliases_that_multiply_is_refused_or_read_in_no_time(person: Person) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
        for before, name in zip("abcdefghi", "bcdefghij", strict=True))
    person.put(".localai/models/bomb.yaml", (bomb + "name: bomb\nparameters:\n  model: bomb.gguf\n").encode())
    person.put(".local/share/Jan/data/llamacpp/models/bomb/model.yml", bomb.encode())
    HelixStore.init(every=True, environ=person.environ)
    began = time.process_time()
    with person.open() as store:
        store.sync()
    assert time.process_time() - began < 20


@pytest.mark.parametrize("sidecar", ["model_path: ../../../../../../etc/passwd", "model_path: /etc/passwd",
                                     "model_path: llamacpp/models/x/../../../../../../.ssh/id"])
def test_a_sidecar_makes_no_model_of_a_file_that_is_none(person: Person, sidecar: str) -> None:
    secret = person.put(".ssh/id", SECRET, 0o600)
    person.put(".local/share/Jan/data/llamacpp/models/x/model.yml", f"{sidecar}\nname: x\nsize_bytes: 1\n".encode())
    HelixStore.init(every=True, environ=person.environ)
    with person.open() as store:
        store.sync()
        assert store.shared_models() == []
    assert secret.stat().st_nlink == 1
    assert secret.stat().st_mode & 0o777 == 0o600


def test_no_pickle_is_opened(tmp_path: Path) -> None:
    """Torch files of every kind, and ZIPs with pickles: this process neither imports pickle's machinery for them nor
    resolves a single name of theirs, and reads no more than their first bytes."""
    import pickle
    import zipfile

    folder = tmp_path / "model"
    tiny_hf(folder)
    (folder / "model.safetensors").unlink()
    mark = tmp_path / "opened"

    class Boom:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(mark),)

    for name, protocol in (("pytorch_model.bin", 4), ("a.pt", 2), ("b.ckpt", 5), ("c.pkl", 0), ("d.pth", 3)):
        (folder / name).write_bytes(pickle.dumps(Boom(), protocol) + bytes(1 << 20))
    with zipfile.ZipFile(folder / "pytorch_model-00001-of-00001.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Boom()))

    def look() -> list[str]:
        import sys
        seen: list[str] = []
        sys.addaudithook(lambda event, args: seen.append(event) if event in (
            "pickle.find_class", "exec", "os.mkdir", "marshal.loads", "subprocess.Popen") else None)
        for path in folder.iterdir():
            try:
                inspect_file(str(path))
            except HelixError:
                continue
        survey(str(folder), -1, issue=lambda issue: None)
        return [event for event in seen if event != "exec"]

    assert apart(look) == []
    assert not mark.exists()
