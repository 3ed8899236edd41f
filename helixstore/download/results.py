"""What downloads and updates answer: plain values that the command line prints and that programs read."""

from __future__ import annotations

from dataclasses import dataclass

from helixstore.results import SyncReport
from helixstore.values import Issue

__all__ = ["DownloadReport", "Downloaded", "RemoteState", "Update", "UpdateReport", "Version"]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a variant, for this person.

    Attributes:
        model, variant: its name.
        manifest: what tells it from all others.
        revision: the hub's commit, or the digest of a registry's manifest; "" where it came from neither.
        bytes: of all its files; -1 where that is not known any more.
        since: when the name came to lead to it, ISO 8601 in UTC by the store's clock.
        current: the name leads to it now.
        here: all its files are in the store, so that going back to it downloads nothing.
    """

    model: str
    variant: str
    manifest: str
    revision: str
    bytes: int
    since: str
    current: bool
    here: bool


@dataclass(frozen=True, slots=True)
class Update:
    """How a variant stands with the repository that it came from.

    Attributes:
        model, variant: its name.
        repository: on the hub, or `host/name:tag` of a registry.
        revision, latest: of what is here and of what is there now, as of a `Version`; "" where nobody says.
        state: "current", "new" (there is a later one), "updated", "pinned" (there is a later one, which the pin keeps
            away), "gone" (the later one has no such file), or "failed".
        changed: files that are others in the later one.
        fetch_bytes: that are to come, or came, over the network.
        why: of "failed" and "gone".
        remedy: what to do then.
    """

    model: str
    variant: str
    repository: str
    revision: str
    latest: str
    state: str
    changed: tuple[str, ...] = ()
    fetch_bytes: int = 0
    why: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What an update found and did. `syncs`: what became of each updated model in the programs."""

    updates: tuple[Update, ...]
    syncs: tuple[SyncReport, ...] = ()
    dry_run: bool = False

    @property
    def issues(self) -> tuple[Issue, ...]:
        """What could not be done."""
        failed = [Issue("failed", one.model, f"{one.model} ({one.variant}): {one.why}", one.remedy)
                  for one in self.updates if one.state == "failed"]
        return (*failed, *(issue for sync in self.syncs for issue in sync.issues))


@dataclass(frozen=True, slots=True)
class RemoteState:
    """One file of a download: its path in the repository, its size, and how much of it was here before. Bytes."""

    path: str
    bytes: int
    here_bytes: int


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A variant that a download brought, or found here. `path`: absolute, as `helixstore path` says it; None where the
    library does not show it."""

    model: str
    variant: str
    path: str | None


@dataclass(frozen=True, slots=True)
class DownloadReport:
    """What a download did, or with `dry_run` would do.

    Attributes:
        repository, revision: where it comes from, and the commit.
        name: that the model is to have; content that is here under another one keeps that (`variants`).
        files: all that belong to it; in `here_bytes` what did not have to come.
        free_bytes: on the store's disk, before; None where the system does not say.
        fetched_bytes: that came over the network.
        mirrored_bytes: of these, from this site's mirror.
        not_fetched_bytes: that the store had from somewhere else, so that the network was spared them; `status` adds
            them up. What an earlier download of the same brought is none of them.
        sync: what became of it in the programs; None with `dry_run`.
        why: this form and no other, for people; "" where nothing was chosen.
        others: the forms that there are beside it, as `--quantize` takes them: "gguf:Q8_0".
        variants: what it is in the store now; none with `dry_run`.
    """

    repository: str
    revision: str
    name: str
    files: tuple[RemoteState, ...]
    free_bytes: int | None
    fetched_bytes: int = 0
    mirrored_bytes: int = 0
    not_fetched_bytes: int = 0
    sync: SyncReport | None = None
    why: str = ""
    others: tuple[str, ...] = ()
    variants: tuple[Downloaded, ...] = ()
    dry_run: bool = False
