"""A process that downloads a blob into a file and can be killed: HOST SHA256 BYTES FILE; it goes on where the file
ends, and prints a line for each block."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from helixstore.oci.access import Access
from helixstore.oci.reference import Reference
from helixstore.oci.registry import Registry

host, sha256, size, path = sys.argv[1:5]
hashed = hashlib.sha256(Path(path).read_bytes() if Path(path).exists() else b"")
with open(path, "ab", buffering=0) as file, Registry(Reference(host, "team/model"), Access.of(os.environ)).blob(
        sha256, int(size), file.tell()) as stream:
    for block in stream:
        file.write(block)
        hashed.update(block)
        print(file.tell(), flush=True)
    stream.check(hashed.hexdigest())
