"""One path, one answer: what is this file or folder?"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from helixstore.errors import HelixError, NotFound, Unreadable
from helixstore.formats.describe import Description, describe_folder
from helixstore.formats.folder import inspect_folder, is_model_folder
from helixstore.formats.gguf import read_gguf
from helixstore.formats.inspection import Inspection, Part
from helixstore.formats.listing import Listing, list_folder, safe_name
from helixstore.formats.loose import LooseFile, choose_projectors, describe_ggufs, group, read_loose
from helixstore.formats.names import base_name, extension, is_digest, shard_name
from helixstore.formats.opened import Opened, show, why_unreadable
from helixstore.formats.sniff import Content, sniff
from helixstore.formats.survey import survey
from helixstore.fs.names import unfinished
from helixstore.values import Issue, Purpose, Role

__all__ = ["describe", "inspect", "inspect_file"]


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """What one file or model folder is, with the shards and the projector that belong to it.

    Args:
        path: a file, of which the content counts and not the name, or a folder that holds exactly one model.

    Returns:
        The model; `missing` names the shards that are not there.

    Raises:
        NotFound: there is nothing at the path.
        Unreadable: it cannot be read, is no model, or a folder with none or several.
        Incomplete: a file is shorter than its header says; the message has both sizes.
        UnsafeName: a name that may not be used elsewhere.
    """
    where = os.path.abspath(path)
    try:
        mode = os.stat(where).st_mode
    except ValueError as error:
        raise Unreadable(f"{show(where)} is not a file name", path=where) from error
    except FileNotFoundError as error:
        raise NotFound(f"there is nothing at {show(where)}", path=where) from error
    except OSError as error:
        raise Unreadable(why_unreadable(where, error), path=where) from error
    safe_name(os.path.basename(where) or "root", where)
    return _inspect_directory(where) if stat.S_ISDIR(mode) else _inspect_file(where)


def inspect_file(path: str | os.PathLike[str]) -> Inspection | None:
    """What one file is by its content alone, whatever it is called: a blob, say.

    Args:
        path: absolute.

    Returns:
        The model, with the file as its only part; of a shard `missing` names the others. None when it is no model.

    Raises:
        Unreadable: it cannot be read, or lies.
        Incomplete: it is shorter than its header says.
    """
    file = read_loose(os.fspath(path))
    return _joined([file]) if file is not None else None


def _inspect_directory(path: str) -> Inspection:
    listing = list_folder(path)
    if is_model_folder(listing):
        return inspect_folder(listing)[0]
    issues: list[Issue] = []
    found = survey(Path(path), 0, issue=issues.append)
    main = [one for one in found if one.purpose is not Purpose.PROJECTOR] or found
    if len(main) == 1:
        return main[0]
    if not main and issues:
        raise Unreadable(issues[0].message, issues[0].remedy, issues[0].path)
    if not main:
        raise Unreadable(f"the folder {show(path)} holds no model", path=path)
    names = ", ".join(sorted(one.location.name for one in main)[:5])
    raise Unreadable(f"the folder {show(path)} holds {len(main)} models: {names}", "name one of them", path)


def _inspect_file(path: str) -> Inspection:
    file = read_loose(path)
    if file is None:
        raise Unreadable(f"{show(path)} is no model that is known here", path=path)
    try:
        listing = list_folder(os.path.dirname(path))
    except Unreadable:                                  # it may be entered, but not listed: the file counts alone
        return _joined([file])
    if file.content is Content.GGUF:
        return _joined(_with_siblings(file, listing))
    if is_model_folder(listing):
        model = inspect_folder(listing)[0]
        if any(str(part.location) == path for part in model.parts):
            return model
    return _joined(_with_siblings(file, listing))


def _joined(files: list[LooseFile]) -> Inspection:
    errors: list[HelixError] = []
    found = group(files, frozenset(), errors.append)
    if errors:
        raise errors[0]
    return next(one for one in found if any(str(part.location) == files[0].path for part in one.parts))


def _with_siblings(file: LooseFile, listing: Listing) -> list[LooseFile]:
    """The file, first, its shards, and the projector of its folder that fits best."""
    files = [file]
    if file.shard:
        wanted = {shard_name(file.shard, number) for number in range(1, file.shard.total + 1)} - {file.name}
        shards = [read_loose(listing.items[name].path) for name in sorted(wanted & listing.items.keys())]
        files += [shard for shard in shards if shard is not None]
    if file.facts is None:
        return files
    names = [item.name for item in listing.files if extension(item.name) == "gguf" and not is_digest(item.name)
             and not unfinished(item.name, listing.items)]
    beside = [name for name in names if "mmproj" in name.lower() and name != file.name]
    if not beside or file.name not in names:
        return files
    bases = {base_name(name).casefold() for name in names if "mmproj" not in name.lower()}
    read = {Path(one.path): one for name in beside if (one := read_loose(listing.items[name].path)) and one.facts}
    kinds = {where: describe_ggufs([(one.name, one.facts)], True, one.path).quantization
             for where, one in read.items() if one.facts}
    chosen = choose_projectors(bases, kinds).get(base_name(file.name).casefold())
    return [*files, read[chosen]] if chosen else files


def describe(parts: Sequence[Part]) -> Description:
    """Format, quantisation, purpose and header of a model whose files may lie anywhere under any names.

    Args:
        parts: their `path` is the name that programs see, their `location` where the bytes lie: blobs, say.

    Raises:
        Unreadable, Incomplete: one of the files.
    """
    weights = [part for part in parts if part.role in (Role.WEIGHTS, Role.PROJECTOR)]
    main = [part for part in weights if part.role is Role.WEIGHTS] or weights
    if not main:
        return describe_folder(parts)
    with Opened(main[0].location) as file:
        content = sniff(file)
    if content is not Content.GGUF:
        return describe_folder(parts)
    shards = []
    for part in sorted(main, key=lambda part: part.path):
        with Opened(part.location) as file:
            shards.append((part.path.rpartition("/")[2], read_gguf(file)))
    return describe_ggufs(shards, True, str(main[0].location))
