"""LMDB: derived, local, rebuildable. The truth is the store's files; `path_from_refs` answers from them alone.

    index                       what is asked of it
    follow                      how it learns what is new in the store
    missing                     claims that vanished, as when an older `refs/` was put back
    names, shelf, from_refs     which model a person means; in the index; and without one
    farm_table, path_cache      copies of the ledgers; digests of files by their stat
    rows, unpacked              the rows of one variant and one blob; variants as values
    database, tables, codec     LMDB itself; which tables there are; how values look in them
"""

from helixstore.index.codec import BlobRow, FarmRow, Standing
from helixstore.index.from_refs import path_from_refs
from helixstore.index.index import Figures, Index, ReindexReport

__all__ = ["BlobRow", "FarmRow", "Figures", "Index", "ReindexReport", "Standing", "path_from_refs"]
