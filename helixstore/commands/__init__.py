"""What each command does: one file for each kind of question or deed. `HelixStore` calls them; nothing else does."""
