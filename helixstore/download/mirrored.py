"""What this site's mirror has of a repository of the hub, for when the hub itself cannot be asked.

Whoever pushed a model that came from the hub said in its configuration (ModelPack, `descriptor`) from which repository
at which commit. So the mirror can answer by itself. A file or quantisation is looked for under the tag that `push`
gives it, by two requests, and elsewhere only if it is not there. Where none is named, all tags are asked, each commit
for itself. Here the mirror is believed, since nobody else is there to ask: that these files are the repository's at
that commit. The bytes are compared with their digests as ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from helixstore.catalogue.references import HubReference, parse_reference
from helixstore.download.choosing import choose, packages
from helixstore.download.mirror import mirror_place, tag_of
from helixstore.download.offered import Offered
from helixstore.download.registries import BlobAddress, for_all, registry_access
from helixstore.errors import Failed, HelixError, NotFound, Passing
from helixstore.formats.names import quantization_in_name
from helixstore.fs.names import folded
from helixstore.hub.remote import RemoteFile
from helixstore.oci.access import Patience
from helixstore.oci.answers import Cut
from helixstore.oci.contents import Contents, read_contents
from helixstore.oci.reference import Reference, is_tag
from helixstore.oci.registry import Registry
from helixstore.session import Machine
from helixstore.values import Source

__all__ = ["Unanswered", "mirrored", "said_origin"]

_PATIENCE = Patience(tries=2, silence=20.0)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAIN = (None, "main")          # the branch that nearly every repository shows


class Unanswered(Failed):
    """The hub cannot be asked, and who is asked in its place has not got it."""


def mirrored(machine: Machine, wanted: HubReference, part: str, why: Passing) -> Offered:
    """What the mirror has of a repository.

    Args:
        machine: its settings name the mirror.
        wanted: the repository; its revision must be none, `main`, or (the beginning of) a commit, since the mirror
            knows no branches and tags of the hub.
        part: a file or quantisation that must be there; "": any, of several commits the one with most files.
        why: the hub cannot be asked.

    Raises:
        Passing: `why`, where there is no mirror; or the mirror cannot be asked either.
        Unanswered: the mirror has no such thing.
    """
    place = mirror_place(machine, wanted.repository)
    if place is None:
        raise why
    registry = Registry(place, registry_access(machine, _PATIENCE))
    where = f"{place.host}/{place.repository}"
    try:
        commits = _commits(registry, wanted, part)
    except NotFound:
        commits = {}
    except HelixError as error:
        raise Passing(f"{why.message}; nor can the mirror: {error.message}", error.remedy) from why
    for (name, commit), there in sorted(commits.items(), key=lambda item: (-len(item[1].files), item[0])):
        if _has(there.files, part):
            return Offered(wanted, name, commit, tuple(there.files[path] for path in sorted(there.files)),
                           Source("hub", repository=name, revision=commit, name=name), name.rpartition("/")[2],
                           public=not registry.logged_in or for_all(there.reference, registry_access(machine)),
                           note=f"The hub cannot be asked; this is what the mirror has, {where}")
    wish = str(wanted) if not part or str(wanted).endswith(f":{part}") else f"{wanted}:{part}"
    raise Unanswered(f"{why.message}; and the mirror {where} has no {wish}",
                     "push it there from a computer that has it: helixstore push MODEL")


class _There(NamedTuple):
    """What the mirror has of one commit: the first artifact of it, and path -> file of all."""

    reference: Reference
    files: dict[str, RemoteFile]


def _commits(registry: Registry, wanted: HubReference, part: str) -> dict[tuple[str, str], _There]:
    """(Repository, commit) -> what there is, of all tags that are of the repository, or up to one that has the part.

    A tag that is not, or that makes no sense, is none of ours; where all are so, the first is told.

    Raises:
        NotFound: the mirror has no such repository.
        Failed: it cannot be asked, or holds nothing that makes sense.
    """
    found: dict[tuple[str, str], _There] = {}
    refused: list[HelixError] = []
    for tag in _tags(registry, part):
        one = registry.tagged(tag)
        try:
            manifest = one.model()
            contents = read_contents(manifest, f"{one.reference.repository}-{tag}")
            origin = _said(one, contents)
        except Cut:
            raise
        except NotFound:                                # no such tag
            continue
        except HelixError as error:
            refused.append(error)
            continue
        except (ValueError, RecursionError):
            continue
        if origin is None or not _is(*origin, wanted):
            continue
        files = found.setdefault(origin, _There(one.reference.at(manifest.sha256), {})).files
        for file in contents.files:
            address = BlobAddress(one, file.sha256, file.bytes, file.path)
            files.setdefault(file.path, RemoteFile(file.path, file.bytes, file.sha256, None, address))
        if part and _has(files, part):
            return {origin: found[origin]}
    if refused and not found:
        raise refused[0]
    return found


def _tags(registry: Registry, part: str) -> Iterator[str]:
    """Its tags; first the one that a push of the part makes, whether it is there or not, then those that contain it."""
    likely = tag_of(quantization_in_name(part) or part)
    if is_tag(likely):
        yield likely
    yield from sorted((tag for tag in registry.tags() if tag != likely), key=lambda tag: likely not in tag)


def said_origin(machine: Machine, artifact: Reference) -> tuple[str, str] | None:
    """As which repository and commit of the hub a registry has a model; None where it says nothing. It may be wrong.

    Args:
        machine: its logins.
        artifact: by its digest.
    """
    registry = Registry(artifact, registry_access(machine, _PATIENCE))
    try:
        return _said(registry, read_contents(registry.model(), artifact.repository))
    except (HelixError, ValueError, RecursionError):
        return None


def _said(registry: Registry, contents: Contents) -> tuple[str, str] | None:
    """The repository of the hub and the commit that a configuration names; None where it names none."""
    said = json.loads(registry.small(contents.config)) if contents.config is not None else {}
    descriptor = said.get("descriptor") if isinstance(said, dict) else None
    if not isinstance(descriptor, dict):
        return None
    url, commit = descriptor.get("sourceURL"), descriptor.get("revision")
    if not isinstance(url, str) or not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        return None
    try:
        reference = parse_reference(url)
    except HelixError:
        return None
    return (reference.repository, commit) if isinstance(reference, HubReference) else None


def _is(repository: str, commit: str, wanted: HubReference) -> bool:
    """Whether it is the repository that is wanted, whose name in the mirror another may share, and its revision."""
    return folded(repository) == folded(wanted.repository) and (
        wanted.revision in _MAIN or commit.startswith(str(wanted.revision).lower()))


def _has(files: dict[str, RemoteFile], part: str) -> bool:
    try:
        return bool(choose("", packages(files.values()), wanted=part))
    except NotFound:
        return False
