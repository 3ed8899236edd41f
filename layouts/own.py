"""What a program has of its own: models that lie in its folders under names of its choosing, and keep them.

A layout's `discover` gives each such model a source of the kind "program": the program, and a name that tells where the
model lies, mostly its path relative to the root. `project` reads it back, so that what lies there already is what is
wanted there.
"""

from __future__ import annotations

from collections.abc import Iterator

from helixstore.providers.layout import Text
from helixstore.values import Source, Variant

__all__ = ["kept_text", "own_sources"]


def own_sources(variant: Variant, program: str) -> Iterator[Source]:
    """The sources that say where the variant lies in `program` itself, in the order in which they were found."""
    return (source for source in variant.sources if source.program == program and source.name)


def kept_text(text: str) -> Text:
    """A sidecar of the program's own: written again when it is gone, and left as it is when it was changed."""
    return Text(text.encode(), _keep)


def _keep(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes:
    return ours if theirs is None else theirs
