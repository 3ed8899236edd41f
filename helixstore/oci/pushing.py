"""A whole artifact on its way to a registry: the files that it has not got, the configuration, the manifest last."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import NamedTuple

from helixstore.errors import Failed, NotFound
from helixstore.oci.artifacts import Artifact
from helixstore.oci.registry import Registry
from helixstore.values import File

__all__ = ["PushReport", "missing", "push_artifact"]


class PushReport(NamedTuple):
    """What a push came to.

    Attributes:
        sha256: of the manifest, 64 hex digits; the model's name in the registry whatever its tag says.
        files: how each file came to be there: "there", "mounted" or "sent", by its SHA-256.
        sent: bytes of files over the network.
    """

    sha256: str
    files: dict[str, str]
    sent: int


def missing(registry: Registry, artifact: Artifact) -> tuple[File, ...]:
    """The files that a push would have to send, each content once; nothing is changed.

    Raises:
        Failed: the registry cannot be asked, or has a damaged one.
    """
    files = {str(file.sha256): file for file in artifact.files}
    return tuple(file for sha256, file in files.items() if not registry.has(sha256, file.bytes))


def push_artifact(
    registry: Registry, artifact: Artifact, path: Callable[[File], str], *, mounts: Sequence[str] = (),
    sessions: MutableMapping[str, str] | None = None, progress: Callable[[File, int], None] | None = None,
) -> PushReport:
    """Push a model under the tag of the registry's reference. Until the last request others see what was there before.

    Args:
        registry: where to.
        artifact: what, as `artifacts.modelpack` or `artifacts.docker` makes it.
        path: where the bytes of a file lie; it may be the blob itself.
        mounts: other repositories of the same registry that may have some of the files.
        sessions: SHA-256 -> address of an upload that is under way. Kept by the caller, and given again, an interrupted
            push goes on with it. The addresses are secrets: they let anybody go on.
        progress: (file, bytes that are there now and were not told before).

    Raises:
        Failed: the registry refuses, or does not answer; what is there stays, and another push goes on from there.
    """
    kept: MutableMapping[str, str] = {} if sessions is None else sessions
    how: dict[str, str] = {}
    sent = 0
    for file in artifact.files:
        sha256 = str(file.sha256)
        if sha256 in how:
            continue
        pushed = registry.push_blob(
            path(file), sha256, file.bytes, mounts=mounts, session=kept.get(sha256, ""),
            remember=lambda address, sha256=sha256: _keep(kept, sha256, address),  # type: ignore[misc]
            progress=(lambda count, file=file: progress(file, count)) if progress else None)  # type: ignore[misc]
        how[sha256], sent = pushed.how, sent + pushed.sent
    registry.push_small(artifact.config, artifact.config_sha256)
    if not _is_there(registry, artifact):
        registry.push_manifest(artifact.manifest, artifact.media_type)
    return PushReport(artifact.sha256, how, sent)


def _is_there(registry: Registry, artifact: Artifact) -> bool:
    """Whether the tag has that manifest already; one that is none of a model's gives way to ours."""
    try:
        return registry.manifest().sha256 == artifact.sha256
    except (NotFound, Failed):
        return False


def _keep(sessions: MutableMapping[str, str], sha256: str, address: str) -> None:
    if address:
        sessions[sha256] = address
    else:
        sessions.pop(sha256, None)
