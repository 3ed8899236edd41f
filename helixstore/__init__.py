"""helixstore: one copy of every model on disk, visible to every program that wants it."""
