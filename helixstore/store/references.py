"""References: on a file system without links (exFAT) a volume says where a file lies instead of holding it.

    <volume>/references/<2 hex>/<digest>.json    {path, bytes, mtime_ns}

`path` is relative to the volume's folder, so that the disk may be mounted anywhere. Nothing is moved or made
read-only: the file stays the person's, and is what it was as long as its size and time are; `verify` reads it.
"""

from __future__ import annotations

import os

from helixstore.errors import Unreadable
from helixstore.fs import kernel
from helixstore.store import records
from helixstore.store.adding import Added, Request
from helixstore.store.hashing import hash_open, open_steady
from helixstore.store.volumes import Volume

__all__ = ["add"]


def add(request: Request, volume: Volume) -> Added:
    """See `Blobs.add`: the file becomes a blob by being named.

    Raises:
        Busy: somebody has it open for writing.
        Unreadable: it cannot be read, or changed meanwhile.
        Failed: no space for the note.
    """
    source, known = os.path.realpath(request.source), request.known
    with open_steady(source) as file:
        before = kernel.fingerprint(file.descriptor)
        if request.expect is not None and before[1:3] != request.expect[1:3]:      # inodes mean nothing there
            raise Unreadable(f"{source} is not what it was", "run the command again", source)
        if known is None or known.bytes != before.bytes or (request.sha256 and known.sha256 is None):
            known = hash_open(file, before.bytes, sha256=request.sha256)
        file.check(before)
    note = records.canonical({
        "schema": records.SCHEMA, "path": os.path.relpath(source, volume.path).replace(os.sep, "/"),
        "bytes": before.bytes, "mtime_ns": before.mtime_ns,
    })
    try:
        kernel.replace_file(volume.blob(known.blake3), note, 0o644)
    except OSError as error:
        raise records.failed(source, error) from error
    return Added(known.blake3, known.bytes, known.sha256, known.gitsha1, "referred to", before)
