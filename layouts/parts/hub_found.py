"""What already lies in a Hugging Face cache: whole models, snapshot by snapshot, with what their names claim.

The link of a snapshot names the content: its last part is the etag, the git-SHA-1 or SHA-256 that the commit's listing
had for that path. It is passed on as a claim and proven by intake. `trees/<commit>.json` (huggingface_hub 1.22 and
later) says the same and more: which weights the commit has, so that an interrupted download is told from a whole one.
Since 1.32 a blob may itself be a link into a store that all repositories share; the etag is always the first hop's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from helixstore.providers.layout import Found, Reader, Root
from helixstore.values import Format, Role, Source

from .hf_folders import is_repository

if TYPE_CHECKING:
    from helixstore.formats import Inspection

__all__ = ["LOCAL_REF", "discover"]

#: the ref that marks a repository whose name is helixstore's own invention
LOCAL_REF = "helixstore"

_ETAG = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"model-\d{5}-of-(\d{5})\.safetensors")
_DEPTH = 4                          # folders below a snapshot in which GGUF files are looked for
_TREE_BYTES = 32 << 20


def discover(root: Root, reader: Reader) -> Iterator[Found]:
    """The models of all repositories; of one repository the commit that `main` names comes last, as the latest."""
    for seen in reader.entries(root.path):
        repository = seen.name.removeprefix("models--").replace("--", "/")
        if seen.kind == "folder" and not seen.linked and seen.name.startswith("models--") and is_repository(repository):
            yield from _repository(seen.path, repository, reader)


def _repository(folder: Path, repository: str, reader: Reader) -> Iterator[Found]:
    refs = dict(_refs(folder / "refs", "", reader))
    main = refs.get("main", "")
    revisions = [s for s in reader.entries(folder / "snapshots") if s.kind == "folder" and not s.linked]
    for revision in sorted(revisions, key=lambda seen: (seen.name == main, seen.name)):
        local = refs.get(LOCAL_REF) == revision.name
        hub = _COMMIT.fullmatch(revision.name) is not None and not local
        source = (Source("hub", repository=repository, revision=revision.name, name=repository) if hub
                  else Source("program", repository, revision.name, "huggingface", repository))
        yield from _snapshot(folder, revision.path, source, reader)


def _refs(folder: Path, prefix: str, reader: Reader) -> Iterator[tuple[str, str]]:
    """Ref name -> commit; `refs/refs/pr/1` nests."""
    for seen in reader.entries(folder):
        if seen.kind == "folder" and prefix.count("/") < _DEPTH:
            yield from _refs(seen.path, f"{prefix}{seen.name}/", reader)
        elif seen.kind == "file" and (text := reader.text(seen.path, 4096)) is not None:
            yield prefix + seen.name, text.strip()


def _snapshot(folder: Path, snapshot: Path, source: Source, reader: Reader) -> Iterator[Found]:
    name = str(source.name)
    etags: dict[str, str] = {}
    dangling = list(_links(snapshot, "", reader, etags))
    download = f"hf download {name} --revision {snapshot.name}" if source.kind == "hub" else "helixstore sync --restore"
    if dangling:
        reader.issue("incomplete", snapshot / dangling[0],
                     f"{name}: {_count(dangling, 'link')} of a snapshot lead nowhere, such as {dangling[0]}", download)
    tree = _tree(folder / "trees" / f"{snapshot.name}.json", reader)
    told = {str(snapshot), *(str(snapshot / link) for link in dangling)} if dangling else ()
    for inspection in reader.models(snapshot, _DEPTH, told=told):
        parts = tuple(replace(part, path=_inside(snapshot, part.location) or part.path) for part in inspection.parts)
        here = replace(inspection, parts=tuple(sorted(parts, key=lambda part: part.path)))
        if here.format is not Format.GGUF:
            if inspection.location != snapshot:
                continue            # a part of a pipeline: nothing loads it by the repository's name
            if dangling:
                continue            # said above
            if unfetched := _unfetched(here, tree):
                reader.issue("incomplete", snapshot, f"{name}: {_count(unfetched, 'file')} of the weights not there, "
                             f"such as {unfetched[0]}", download)
                continue
        if not here.whole:
            reader.issue("incomplete", here.location, f"{name}: {_count(here.missing, 'file')} missing, "
                         f"such as {here.missing[0]}", download)
            continue
        claims = {part.path: etag for part in here.parts if (etag := etags.get(part.path) or tree.get(part.path))}
        yield Found(here, _named(source, here), name.rpartition("/")[2], claims=claims)


def _named(source: Source, inspection: Inspection) -> Source:
    """Of a GGUF, the source names the file too: one commit mostly has several variants."""
    first = next((part.path for part in inspection.parts if part.role is Role.WEIGHTS), None)
    if inspection.format is not Format.GGUF or first is None:
        return source
    return replace(source, name=first if source.kind == "hub" else f"{source.name}/{first}")


def _links(folder: Path, prefix: str, reader: Reader, etags: dict[str, str]) -> Iterator[str]:
    """Fill `etags` with the first hop of every link below; yields those that lead nowhere."""
    for seen in reader.entries(folder):
        path = prefix + seen.name
        if seen.kind == "folder" and not seen.linked and path.count("/") < _DEPTH:
            yield from _links(seen.path, f"{path}/", reader, etags)
        elif seen.kind == "link":
            yield path
        elif seen.linked and (text := reader.link(seen.path)):
            target = PurePosixPath(text.replace("\\", "/"))
            if target.parent.name == "blobs" and _ETAG.fullmatch(target.name):
                etags[path] = target.name


def _tree(path: Path, reader: Reader) -> Mapping[str, str]:
    """Path -> etag of the commit's listing, as far as it is kept; {} when it is not, or makes no sense."""
    text = reader.text(path, _TREE_BYTES)
    if text is None:
        return {}
    try:
        files = json.loads(text)["files"]
        listing = {str(name): entry.get("lfs_sha256") or entry.get("blob_id") for name, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reader.issue("unreadable", path, f"is no listing of a commit: {type(error).__name__}", "delete it")
        return {}
    return {name: etag for name, etag in listing.items() if isinstance(etag, str) and _ETAG.fullmatch(etag)}


def _unfetched(inspection: Inspection, tree: Mapping[str, str]) -> list[str]:
    """Shards that the commit has beside those of the same set that are there; others may be left out on purpose."""
    there = {part.path for part in inspection.parts}
    sets = {match[1] for path in there if (match := _SHARD.fullmatch(path))}
    return sorted(name for name in tree if name not in there and (m := _SHARD.fullmatch(name)) and m[1] in sets)


def _inside(folder: Path, location: Path) -> str:
    """`location` relative to `folder`, POSIX; "" when it does not lie below."""
    return location.relative_to(folder).as_posix() if location.is_relative_to(folder) else ""


def _count(names: tuple[str, ...] | list[str], word: str) -> str:
    return f"{len(names)} {word}{'s' if len(names) > 1 else ''}"
