"""A process that uploads a file to a registry and can be killed: HOST FILE SESSION [PART]; the upload's address is kept
in the file SESSION."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from helixstore.oci import uploads
from helixstore.oci.access import Access, Patience
from helixstore.oci.reference import Reference
from helixstore.oci.registry import Registry

host, path, kept = sys.argv[1:4]
if len(sys.argv) > 4:
    uploads._PART = int(sys.argv[4])
data = Path(path).read_bytes()
session = Path(kept)
registry = Registry(Reference(host, "team/model"), Access.of(os.environ, patience=Patience(first=0.01, longest=0.1)))
how = registry.push_blob(
    path, hashlib.sha256(data).hexdigest(), len(data), session=session.read_text() if session.exists() else "",
    remember=lambda address: (session.write_text(address), None)[1])
print(how.how, how.sent)
