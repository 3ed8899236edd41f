"""What a program has of its own: models that lie in its folders under names of its choosing, and keep them.

A layout's `discover` gives each such model a source of the kind "program": the program, and a name that tells where the
model lies, mostly its path relative to the root. `project` reads it back, so that what lies there already is what is
wanted there. One content may lie there under several names; it keeps all of them.

The weights' name tells the folder and the names of all shards. A projector beside them may be called anything: it
stands among the source's sidecars, without text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from helixstore.errors import UnsafeName
from helixstore.fs.names import check_relative
from helixstore.providers.layout import Found, Reader, Text
from helixstore.values import Role, Source, Variant

if TYPE_CHECKING:
    from helixstore.formats import Inspection

__all__ = ["below", "discover_own", "found_own", "kept_text", "loose", "own_places", "own_sources"]


def own_sources(variant: Variant, program: str) -> Iterator[Source]:
    """The sources that say where the variant lies in `program` itself, in the order in which they were found."""
    return (source for source in variant.sources if source.program == program and source.name)


def own_places(variant: Variant, program: str) -> Iterator[tuple[str, Source]]:
    """The paths of the variant in `program`'s own folder, relative to it, POSIX; each once, none that climbs out."""
    seen: set[str] = set()
    for source in own_sources(variant, program):
        path = str(source.name)
        if path not in seen and _is_safe(path):
            seen.add(path)
            yield path, source


def discover_own(folder: Path, reader: Reader, program: str) -> Iterator[Found]:
    """Every model in a folder and below it, each called by where it lies; the folder itself is loose."""
    for inspection in reader.models(folder, -1):
        where = below(folder, inspection.location)
        yield found_own(inspection, program, where, folder) if where else loose(inspection)


def found_own(
    inspection: Inspection, program: str, name: str, folder: Path, model: str = "", repository: str | None = None
) -> Found:
    """A model that lies in a program's own folder.

    Args:
        inspection: what its files are.
        program: the provider's name.
        name: where it lies, unique in the program; see `own_places`.
        folder: the program's folder, absolute.
        model: the model name that follows; "" for what the files say.
        repository: what groups different contents into one model.
    """
    projectors = sorted((below(folder, part.location), "") for part in inspection.parts if part.role is Role.PROJECTOR)
    source = Source("program", repository, None, program, name, tuple(projectors))
    return Found(inspection, source, model or inspection.name)


def loose(inspection: Inspection) -> Found:
    """A model that lies where the program does not see it: nobody's but the person's."""
    return Found(inspection, Source("file", name=inspection.location.name), inspection.name)


def below(folder: Path, location: Path) -> str:
    """`location` relative to `folder`, POSIX; "" when it is the folder itself."""
    relative = location.relative_to(folder).as_posix()
    return "" if relative == "." else relative


def kept_text(text: str) -> Text:
    """A sidecar of the program's own: written again when it is gone, and left as it is when it was changed."""
    return Text(text.encode(), _keep)


def _keep(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes:
    return ours if theirs is None else theirs


def _is_safe(path: str) -> bool:
    try:
        check_relative(path)
    except UnsafeName:
        return False
    return True
