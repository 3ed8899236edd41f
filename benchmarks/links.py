"""Make COUNT hard links below FOLDER/farm through plan, journal, apply and ledger; print the seconds that took.

    python benchmarks/links.py FOLDER COUNT

The store has one blob for every ten links, as if ten programs showed each model. What is timed is what a sync does
once it knows what it wants: plan, journal, links, ledger, all flushed to the disk.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from helixstore.farm.desired import join
from helixstore.farm.farm import Farm
from helixstore.providers.layout import Entry, Weight
from helixstore.settings import Settings
from helixstore.store.host import Host
from helixstore.store.store import Store
from helixstore.values import Key

PROGRAMS = 10


def main() -> None:
    """See the module."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    store = Store.create(folder / "store", Host("bench", 0, "", ephemeral=False))
    blobs = store.blobs.add_many([number.to_bytes(8, "little") for number in range(count // PROGRAMS)])
    farm = Farm(store, None, folder / "state", Settings())
    roots = []
    for program in range(PROGRAMS):
        entries = [Entry(f"model-{number}/weights-{number}.gguf", Weight(blob.digest, blob.bytes),
                         Key(f"model-{number}", "gguf"), witness=True) for number, blob in enumerate(blobs)]
        root, issues = join(str(folder / "farm" / f"program-{program}"), [(f"program-{program}", entries)])
        assert not issues
        roots.append(root)
    (folder / "farm").mkdir()
    begun = time.perf_counter()
    outcome = farm.apply(farm.plan(roots))
    seconds = time.perf_counter() - begun
    assert outcome.made == count // PROGRAMS * PROGRAMS, outcome.issues[:3]
    assert not outcome.issues
    print(f"{seconds:.3f}")


if __name__ == "__main__":
    main()
