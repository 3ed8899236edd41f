"""Small things that the tests of the store need again and again."""

from __future__ import annotations

import os
from pathlib import Path

from helixstore.store.host import Host
from helixstore.store.manifests import Manifest, ManifestFile
from helixstore.store.refs import Ref
from helixstore.store.store import Store
from helixstore.values import Format, Purpose, Role, Source


def here(uid: int | None = None, name: str = "host1") -> Host:
    return Host(name, os.geteuid() if uid is None else uid, "boot-1")


def manifest(*digests: str, size: int = 1, role: Role = Role.WEIGHTS) -> Manifest:
    files = tuple(ManifestFile(f"{n}.gguf", size, digest, role) for n, digest in enumerate(digests))
    return Manifest(Format.GGUF, "Q4_K_M", Purpose.MODEL, files)


def model(store: Store, name: str, data: bytes, supersedes: tuple[str, ...] = ()) -> tuple[str, Ref]:
    """A model of one file, wholly in the store."""
    added = store.blobs.add_bytes(data)
    written = store.manifests.write(manifest(added.digest, size=added.bytes))
    return added.digest, store.refs.publish(name, "gguf:Q4_K_M", written, [Source("file", name=name)],
                                            supersedes=supersedes)


def every_file(folder: Path) -> set[str]:
    return {os.path.relpath(os.path.join(place, name), folder)
            for place, _, names in os.walk(folder) for name in names}
