"""The LMDB index: derived from the store, local, rebuilt at any time."""
