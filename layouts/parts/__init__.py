"""What several programs have in common, and what is too long for one file: formats, names, folders, sidecars."""
