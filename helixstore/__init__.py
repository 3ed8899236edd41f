"""helixstore: one copy of every model on disk, visible to every program that wants it.

>>> from helixstore import HelixStore, Format
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helixstore.engine import HelixStore
    from helixstore.errors import HelixError
    from helixstore.values import Format

__all__ = ["Format", "HelixError", "HelixStore", "__version__"]

__version__ = "0.1.0"

_HOMES = {"HelixStore": "engine", "HelixError": "errors", "Format": "values"}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first asked for: `helixstore --help` needs none of them."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"helixstore.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'helixstore' has no attribute {name!r}")
