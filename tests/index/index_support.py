"""Small stores for the tests of the index: real blobs, manifests and refs; ten thousand models in seconds."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from blake3 import blake3

from helixstore.store.host import Host
from helixstore.store.manifests import Manifest, ManifestFile
from helixstore.store.refs import Claim, Ref
from helixstore.store.store import Store
from helixstore.values import Format, Purpose, Role, Source

#: A folder on tmpfs, or None for the usual one.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
HOST = Host("00112233aabbccdd", os.getuid(), "b00t", ephemeral=False)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(name: str, elements: int = 32) -> bytes:
    """A whole GGUF of one F32 tensor."""
    data = struct.pack("<4sIQQ", b"GGUF", 3, 1, 3)
    data += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    data += text("general.name") + struct.pack("<I", 8) + text(name)
    data += text("llama.context_length") + struct.pack("<II", 4, 2048)
    data += text("output.weight") + struct.pack("<IQIQ", 1, elements, 0, 0)
    data += bytes(-len(data) % 32)
    return data + bytes(4 * elements)


def new_store(folder: Path) -> Store:
    return Store.create(folder, HOST)


def blob(store: Store, data: bytes) -> str:
    """Put bytes where a blob lies, without the cost of doing it durably."""
    digest = blake3(data).hexdigest()
    path = store.blobs.path(digest)
    if not os.path.exists(path):
        Path(path).write_bytes(data)
    return digest


def manifest(store: Store, data: bytes, file: str, quantization: str = "F32") -> Manifest:
    return Manifest(Format.GGUF, quantization, Purpose.MODEL,
                    (ManifestFile(file, len(data), blob(store, data), Role.WEIGHTS),))


def publish(store: Store, name: str, variant: str = "gguf:F32", content: str | None = "", *,
            sources: tuple[Source, ...] = (), supersedes: tuple[str, ...] = (), pinned: bool = False) -> Ref:
    """A model of one GGUF file that holds `content` ("" for its name); None withdraws the name."""
    if content is None:
        return store.refs.publish(name, variant, None, (), False, supersedes)
    data = gguf(content or name)
    digest = store.manifests.write(manifest(store, data, f"{name.replace('/', '-')}.gguf", variant.partition(":")[2]))
    sources = sources or (Source("program", program="ollama", name=f"{name}:x"),)
    return store.refs.publish(name, variant, digest, sources, pinned, supersedes)


def many(store: Store, count: int) -> None:
    """`count` models, written straight into the store's folders: a durable publish of so many takes minutes."""
    refs = Path(store.path) / "refs" / HOST.id / str(HOST.uid)
    refs.mkdir(parents=True, exist_ok=True)
    from helixstore.store.refs import _encode

    for number in range(count):
        name = f"Model-{number:05d}-Instruct"
        made = manifest(store, gguf(name), f"{name}.Q4_K_M.gguf", "Q4_K_M")
        path = Path(store.manifests.path(made.digest))
        if not path.exists():
            path.write_bytes(made.encode())
        sources = (Source("hub", repository=f"org{number % 50}/{name}-GGUF", revision=f"{number:040x}"),
                   Source("program", program="ollama", name=f"model{number}:latest"))
        claim = Claim(name, "gguf:Q4_K_M", made.digest, sources)
        (refs / f"{number:08x}-0000-4000-8000-000000000000.json").write_bytes(_encode(claim))


def settle(store: Store) -> None:
    """Make the refs' folders old enough to be trusted, as if the last publish were a minute ago."""
    for folder, _, _ in os.walk(Path(store.path) / "refs"):
        status = os.stat(folder)
        os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns - 60_000_000_000))
