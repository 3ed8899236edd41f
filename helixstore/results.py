"""What the engine answers: plain values that the command line prints and that programs read.

`as_json` turns each into the documented JSON shape (schema 1), which changes only by addition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from helixstore.values import Issue

__all__ = [
    "SCHEMA",
    "Adopted",
    "Check",
    "Difference",
    "Duplicates",
    "Explanation",
    "FileView",
    "ForgetReport",
    "Generation",
    "Holding",
    "HostView",
    "Model",
    "Mount",
    "Mounts",
    "Placement",
    "ProviderDetail",
    "ProviderStatus",
    "ProviderView",
    "Status",
    "StoreFigures",
    "Survey",
    "SyncReport",
    "UsageRow",
    "UsageTable",
    "VariantView",
    "Verdict",
    "VolumeReport",
    "VolumeView",
    "as_json",
]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Placement:
    """How one variant stands with one provider. `paths` absolute; `link` the kind of its weights; `why` the reason for
    that kind or state."""

    state: str
    link: str | None = None
    paths: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FileView:
    """One file of a variant; `bytes` is its size."""

    path: str
    bytes: int
    blake3: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class VariantView:
    """One variant as `list` and `show` give it. `version` is the manifest's digest, `sources` as recorded."""

    id: str
    format: str
    quantization: str
    architecture: str | None
    parameters: int | None
    bytes: int
    version: str
    purpose: str
    context_length: int | None
    sources: tuple[Mapping[str, str], ...]
    files: tuple[FileView, ...]
    providers: Mapping[str, Placement]
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A name with its variants."""

    name: str
    variants: tuple[VariantView, ...]


@dataclass(frozen=True, slots=True)
class ProviderView:
    """One provider: whether it is on, where its roots are and how they are known."""

    name: str
    title: str
    on: bool
    installed: bool
    roots: tuple[Mapping[str, Any], ...]
    formats: tuple[str, ...]
    refresh: str
    launch: tuple[str, ...]
    checked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProviderDetail(ProviderView):
    """One provider in full. Each of its roots also says its `state`, and `links`: kind -> how many weights have it.

    Attributes:
        linked: variants that it sees now.
        allowed: the kinds of link that the person allows there, in order; None: as the layout says.
    """

    linked: int = 0
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder that a container must see under the same path, read only, and why."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Mounts:
    """What a container needs of one provider. `options`: the mounts as docker and podman take them."""

    name: str
    mounts: tuple[Mount, ...]
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """One line of `status`. `reason`: why a program that is on gets nothing. `running` and `endpoint` are None until
    helixstore can ask (a later version)."""

    name: str
    on: bool
    root: str
    state: str
    linked: int
    running: bool | None = None
    endpoint: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """Bytes: of all blobs; of duplicates that really lay on disk and were freed; of copies that linking avoided; that
    downloads did not fetch, since the store had them from somewhere else.

    And how many people use the store, on how many hosts: those that are forgotten or whose lease is over do not count.
    """

    path: str
    blobs: int
    bytes: int
    saved_bytes: int
    copies_avoided_bytes: int
    not_fetched_bytes: int = 0
    people: int = 1
    hosts: int = 1


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` says. `only_in_store`: models that no program shows and no path of the person's holds.
    `volumes`: the store's disks, if there are several. `waiting`: models that a group's store gets only when they are
    named, by path. `unfinished_bytes`: that have come of this person's downloads that were cut short."""

    store: StoreFigures
    providers: tuple[ProviderStatus, ...]
    issues: tuple[Issue, ...]
    only_in_store: tuple[str, ...] = ()
    volumes: tuple[VolumeView, ...] = ()
    waiting: tuple[str, ...] = ()
    unfinished_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Adopted:
    """A file that was taken into the store where it lies. `freed` bytes: 0 unless it was a second copy."""

    path: str
    model: str
    variant: str
    bytes: int
    freed: int
    how: str


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync (or apply, add, share, ...) did, or with `dry_run` would do. `actions` are the plan's own.

    `failed`: there was something to do, and nothing of it could be done.
    """

    adopted: tuple[Adopted, ...] = ()
    linked: tuple[Mapping[str, Any], ...] = ()
    removed: tuple[Mapping[str, Any], ...] = ()
    converted: tuple[Mapping[str, Any], ...] = ()
    unchanged: int = 0
    issues: tuple[Issue, ...] = ()
    saved_bytes: int = 0
    actions: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    dry_run: bool = False
    operation: int | None = None
    failed: bool = False

    @property
    def nothing(self) -> bool:
        """Nothing was to be done."""
        return not self.actions

    def then(self, later: SyncReport) -> SyncReport:
        """This one and what was done after it, as one report; issues and notes are the later one's."""
        return replace(later, adopted=self.adopted + later.adopted, linked=self.linked + later.linked,
                       removed=self.removed + later.removed, actions=self.actions + later.actions,
                       saved_bytes=self.saved_bytes + later.saved_bytes,
                       operation=self.operation if later.operation is None else later.operation,
                       failed=later.failed and not self.actions)


@dataclass(frozen=True, slots=True)
class Generation:
    """What the programs showed after an operation: its number, when it was (ISO 8601, UTC), what was typed, what it
    did, and whether nothing has been done since."""

    n: int
    time: str
    command: str
    summary: str
    current: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """One variant that one program shows otherwise: `change` is "shown", "gone" or "changed"."""

    provider: str
    model: str
    variant: str
    change: str


@dataclass(frozen=True, slots=True)
class Holding:
    """What one program holds, for the report before there is a store. Bytes on disk, each inode once."""

    provider: str
    title: str
    root: str
    models: int
    bytes: int
    disk: str


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Likely duplicates: bytes that are the same for sure ("at least"), and that could be ("up to")."""

    at_least: int
    up_to: int
    groups: int


@dataclass(frozen=True, slots=True)
class Survey:
    """The bare command's report: nothing was written, nothing was hashed in full.

    `unread`: folders of programs whose models this version does not take in; their size is known, their models are not.
    """

    holdings: tuple[Holding, ...]
    duplicates: Duplicates
    issues: tuple[Issue, ...]
    seconds: float
    complete: bool
    next_command: str
    unread: tuple[Holding, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a provider can run a variant: "yes", "after conversion" (to `convert_to`), or "no" with the reason."""

    provider: str
    model: str
    variant: str
    answer: str
    reason: str = ""
    convert_to: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one path or model is, and why it is as it is: lines for people, facts for programs."""

    subject: str
    lines: tuple[str, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One row of `du`, or its total. Sizes in bytes.

    Attributes:
        label: the model, program, person or month; "" of the total.
        models: how many.
        bytes: all that the row uses, each blob once.
        freed_if_removed: what removing these models would free: nobody else claims it, and no file of the person's
            keeps it.
        saved_bytes: duplicates that lay on disk and were freed.
        copies_avoided_bytes: what the links would take as copies.
        only_bytes: what nothing outside the row uses.
        share_bytes: each blob divided by the rows that use it; adds up to the total.
        owned_bytes: by user: the store's files that the file system counts to them; else None.
        uid: by user: their number.
        hosts: by user: the machines on which they use the store.
    """

    label: str
    models: int
    bytes: int
    freed_if_removed: int
    saved_bytes: int
    copies_avoided_bytes: int
    only_bytes: int = 0
    share_bytes: int = 0
    owned_bytes: int | None = None
    uid: int | None = None
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageTable:
    """What `du` says: by what it counts, the rows, the largest first, and the total in which each blob counts once.
    `unfinished_bytes`: that have come of this person's downloads that were cut short; in no row."""

    by: str
    usage: tuple[UsageRow, ...]
    total: UsageRow
    unfinished_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """One finding of `doctor`: "ok", "warning" or "problem", what was tried, and the command that mends it."""

    name: str
    state: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class HostView:
    """One person on one computer that uses the store.

    Attributes:
        id: of the host; `host forget` takes it.
        name: what the computer calls itself; "" where it never said.
        uid, user: the person; their name where it is known.
        here: this computer and person.
        seen: when they were last here, in seconds since 1970 on the store's clock, to within an hour; None: not known.
        models, bytes: what they claim.
        ephemeral: a container or CI run, whose claims end with its lease.
        lease_ends: when that is, in seconds since 1970; None without a lease.
        forgotten: when they were forgotten; None when they were not. What they have claimed since counts.
    """

    id: str
    name: str
    uid: int
    user: str
    here: bool
    seen: float | None
    models: int
    bytes: int
    ephemeral: bool
    lease_ends: float | None
    forgotten: float | None


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """What it means to forget a host, or a person's part of one.

    Attributes:
        hosts: whose claims end.
        models: what nobody else claims, by the names that they gave it.
        frees_bytes: the size of it; gc lets go of it in its own time.
        ended: the claims have ended; else it was a dry run, or somebody said no.
    """

    hosts: tuple[HostView, ...]
    models: tuple[str, ...]
    frees_bytes: int
    ended: bool


@dataclass(frozen=True, slots=True)
class VolumeView:
    """One disk that holds a part of the store; the first of a list is the store's own folder.

    Attributes:
        id: random, or "main".
        name: for people; `volume` commands take it.
        path: its folder; "" where it was never attached to this computer.
        state: "here", "away" or "detached".
        reason: why it is not here.
        links: "always", or "careful": symbolic links to it only where a dangling one does no harm.
        refers: its file system has no links, so that it refers to files where they lie.
        models: how many have a file on it.
        blobs, bytes: what is on it, or was when it was last seen.
        free_bytes: on its disk; None when it is not here.
    """

    id: str
    name: str
    path: str
    state: str
    reason: str
    links: str
    refers: bool
    models: int
    blobs: int
    bytes: int
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class VolumeReport:
    """What a `volume` command did, or with `dry_run` would do. `copied` bytes went to the volume, `freed` bytes are
    free on other disks; `sync`: what was linked anew."""

    volume: VolumeView
    models: tuple[str, ...] = ()
    copied_bytes: int = 0
    freed_bytes: int = 0
    sync: SyncReport = SyncReport()
    notes: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()
    dry_run: bool = False


def as_json(value: Any) -> Any:
    """`value` as JSON-ready data: dataclasses as objects, enums as their values, paths as text.

    Names that are not UTF-8 keep their bytes as surrogate escapes, which `json.dumps` writes as `\\udcXX`.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: as_json(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, (StrEnum, Path)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(v) for v in value]
    return value
