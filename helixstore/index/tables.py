"""The tables of the index and their keys. Keys are digests or short hashes, since LMDB takes 511 bytes at most."""

from __future__ import annotations

import os
from hashlib import blake2b

from helixstore.values import Key

__all__ = ["FROM_STORE", "STAMP", "TABLES", "farm_key", "path_key", "raw", "root_key", "row_key", "text_key"]

#: Goes up when a table changes its meaning; an index with another stamp is thrown away.
STAMP = "helixstore index 7"

#: What follows from the store's refs and manifests alone. A row key stands for (model, variant).
FROM_STORE = (
    "refs",         # id -> ref, of all hosts and people, superseded ones too
    "manifests",    # digest -> manifest, of every ref
    "headers",      # manifest digest -> what the header of its weights says
    "contents",     # content key + manifest digest -> nothing
    "heads",        # row key -> id of the ref that counts for this person on this host
    "claimed",      # row key of a folded name -> this person's current refs for it, tombstones too
    "variants",     # row key -> the variant
    "rows",         # row key -> what a line of `list` prints
    "names",        # hash of a folded name + row key -> the name
    "uses",         # digest of a blob or manifest + row key -> nothing
    "blobs",        # digest -> size, other hashes, our last full hash
    "aliases",      # sha256, gitsha1 or xet -> digest
)
TABLES = (
    *FROM_STORE,
    "standings",    # row key -> how it stands with each provider
    "states",       # row key -> the same in a word each
    "paths",        # hash of a path -> stat and digest
    "hashed",       # digest -> the other hashes of what was hashed, in the store or not
    "farm",         # hash of the root + hash of the path in it -> a ledger's line
    "notes",        # name -> bytes: snapshots, what was seen of the refs' folders
)


def raw(digest: str) -> bytes:
    """A hex digest as bytes."""
    return bytes.fromhex(digest)


def row_key(key: Key) -> bytes:
    """16 bytes for one variant of one model, names as spelt."""
    return blake2b(f"{key.model}\0{key.variant}".encode(errors="surrogatepass"), digest_size=16).digest()


def text_key(text: str) -> bytes:
    """16 bytes for a name."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def path_key(path: str) -> bytes:
    """16 bytes for a path."""
    return blake2b(os.fsencode(path), digest_size=16).digest()


def root_key(root: str) -> bytes:
    """8 bytes for a root."""
    return blake2b(os.fsencode(root), digest_size=8).digest()


def farm_key(root: str, path: str) -> bytes:
    """24 bytes for a path, relative to its root."""
    return root_key(root) + path_key(path)
