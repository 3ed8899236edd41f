"""LMDB: derived, local, rebuildable. The truth is the store's files; `path_from_refs` answers from them alone."""

from helixstore.index.codec import BlobRow, FarmRow, Standing
from helixstore.index.from_refs import path_from_refs
from helixstore.index.index import Figures, Index, ReindexReport

__all__ = ["BlobRow", "FarmRow", "Figures", "Index", "ReindexReport", "Standing", "path_from_refs"]
