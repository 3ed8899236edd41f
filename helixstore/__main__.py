"""`python -m helixstore` is `helixstore`."""

from __future__ import annotations

from helixstore.cli import main

if __name__ == "__main__":
    main()
