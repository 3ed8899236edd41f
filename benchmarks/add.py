"""Make a store at STORE and add FILE to it; print the seconds that the adding took.

    python benchmarks/add.py STORE FILE
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from helixstore.store.host import Host
from helixstore.store.store import Store

store = Store.create(Path(sys.argv[1]), Host("bench", 0, "", ephemeral=False))
os.sync()           # making 770 folders is not adding; let the disk finish with them
begun = time.perf_counter()
added = store.blobs.add(sys.argv[2])
print(added.how, f"{time.perf_counter() - begun:.3f}")
