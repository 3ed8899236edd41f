"""Manifests: one version of one variant by content alone, so that the same content has the same name everywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from blake3 import blake3

from helixstore.errors import Corrupt, NotFound, StoreTooNew, UnsafeName
from helixstore.fs.listing import scandir
from helixstore.fs.names import check_relative, folded
from helixstore.store import records
from helixstore.values import Format, Purpose, Role

__all__ = ["Manifest", "ManifestFile", "Manifests"]


@dataclass(frozen=True, slots=True, order=True)
class ManifestFile:
    """One file of a variant: its name in the model, its size in bytes, its blob, and what it is for."""

    path: str
    bytes: int
    blake3: str
    role: Role


@dataclass(frozen=True)
class Manifest:
    """The immutable description of one version of one variant. No times, no sources: content alone is identity.

    Attributes:
        format: how the bytes are to be read.
        quantization: "" when unknown.
        purpose: what it can do.
        files: kept sorted by path.

    Raises:
        UnsafeName: a path that cannot be on every system, two that differ in case only, or a bad digest.
    """

    format: Format
    quantization: str
    purpose: Purpose
    files: tuple[ManifestFile, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(sorted(self.files)))
        taken: dict[str, str] = {}
        for file in self.files:
            records.check_digest(file.blake3)
            check_relative(file.path)
            if (other := taken.get(folded(file.path))) is not None:
                raise UnsafeName(f"the names {other!r} and {file.path!r} are one on some systems",
                                 "rename one of the files", file.path)
            taken[folded(file.path)] = file.path

    def encode(self) -> bytes:
        """The canonical bytes."""
        return records.canonical({
            "schema": records.SCHEMA, "format": self.format.value, "quantization": self.quantization,
            "purpose": self.purpose.value,
            "files": [{"path": f.path, "bytes": f.bytes, "blake3": f.blake3, "role": f.role.value}
                      for f in self.files],
        })

    @cached_property
    def digest(self) -> str:
        """BLAKE3 of the canonical bytes: the manifest's name."""
        return blake3(self.encode()).hexdigest()

    @cached_property
    def content_key(self) -> str:
        """The same for the same blobs in the same roles, whatever they are called."""
        return blake3(records.canonical({"files": sorted({(f.role.value, f.blake3) for f in self.files})})).hexdigest()

    @classmethod
    def decode(cls, data: bytes, path: str = "a manifest") -> Manifest:
        """The manifest in these bytes; unknown keys are ignored.

        Raises:
            Unreadable, UnsafeName: damaged or hostile.
            StoreTooNew: of a format, purpose or role that a later version has added.
        """
        record = records.parse(data, path)
        try:
            return cls(Format(record["format"]), str(record["quantization"]), Purpose(record["purpose"]),
                       tuple(_file(item) for item in record["files"]))
        except UnsafeName:
            raise
        except ValueError as error:
            raise StoreTooNew(f"{path} is of a later version: {error}", "upgrade helixstore", path) from None
        except (KeyError, TypeError) as error:
            raise Corrupt(f"{path} is not a manifest: {error!r}", "run: helixstore verify", path) from None


def _file(item: dict[str, Any]) -> ManifestFile:
    path, size, digest = item["path"], item["bytes"], item["blake3"]
    if not isinstance(path, str) or not isinstance(digest, str) or not isinstance(size, int) or size < 0:
        raise TypeError(path)
    return ManifestFile(path, size, digest, Role(item["role"]))


class Manifests:
    """The manifests of one store, `manifests/<2 hex>/<digest>`."""

    def __init__(self, root: str, working: Callable[[], AbstractContextManager[str]]) -> None:
        self._root = os.path.join(root, "manifests")
        self._working = working

    def path(self, digest: str) -> str:
        """Where it lies, absolute."""
        records.check_digest(digest)
        return f"{self._root}/{digest[:2]}/{digest}"

    def write(self, manifest: Manifest) -> str:
        """Make it durable; writing it again does nothing. Returns its digest."""
        return self.write_many([manifest])[0]

    def write_many(self, manifests: Sequence[Manifest]) -> list[str]:
        """As `write`, with one pass of flushing for all."""
        missing = {m.digest: m.encode() for m in manifests if not os.path.exists(self.path(m.digest))}
        if missing:
            with self._working() as staging:
                records.publish_all(staging, [(self.path(digest), data) for digest, data in missing.items()])
        return [manifest.digest for manifest in manifests]

    def read(self, digest: str) -> Manifest:
        """The manifest of that name; its bytes are checked against it.

        Raises:
            NotFound: there is none.
            Unreadable, Corrupt, StoreTooNew, UnsafeName: it cannot be used.
        """
        return Manifest.decode(self._bytes(digest), self.path(digest))

    def blobs(self, digest: str) -> set[str]:
        """The digests of all blobs it names, also where a later version has written it; for gc.

        Raises:
            NotFound, Unreadable, Corrupt, StoreTooNew: they cannot be known, so that everything must be kept.
        """
        path = self.path(digest)
        record = records.parse(self._bytes(digest), path)
        try:
            return {records.check_digest(item["blake3"]) for item in record["files"]}
        except (KeyError, TypeError, UnsafeName) as error:
            raise Corrupt(f"{path} is not a manifest: {error!r}", "run: helixstore verify", path) from None

    def all(self) -> Iterator[str]:
        """The digests of all manifests, in no order."""
        yield from digests_below(self._root)

    def _bytes(self, digest: str) -> bytes:
        path = self.path(digest)
        try:
            data, _ = records.read_small(path)
        except FileNotFoundError:
            raise NotFound(f"the manifest {digest[:12]} is missing from the store", "restore it from a backup",
                           path) from None
        if blake3(data).hexdigest() != digest:
            raise Corrupt(f"the manifest {digest[:12]} is damaged", "restore it from a backup", path)
        return data


def digests_below(root: str) -> Iterator[str]:
    """Every file name that is a digest, in the 256 folders below `root`."""
    for number in range(256):
        prefix = f"{number:02x}"
        try:
            with scandir(f"{root}/{prefix}") as entries:
                names = [entry.name for entry in entries]
        except FileNotFoundError:
            continue
        yield from (name for name in names if name.startswith(prefix) and records.is_digest(name))
