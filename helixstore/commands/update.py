"""`update`: whether the repositories that models came from have later revisions, and what changed in them.

A later commit mostly changes a README. So what counts is the digests of the files that a variant has: where they are
the same in the later commit, there is nothing to do. Only files that are others are downloaded; the name moves to the
new version then, and the programs show it. The version before stays as `history` says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from helixstore.download.choosing import packages
from helixstore.download.getting import getting, held
from helixstore.download.results import Update, UpdateReport
from helixstore.errors import HelixError
from helixstore.hub.remote import RemoteFile
from helixstore.hub.repository import Repository, repository_at
from helixstore.results import SyncReport
from helixstore.session import Session
from helixstore.sync.change import change
from helixstore.sync.wanted import Change, Progress
from helixstore.values import Format, Source, Variant

__all__ = ["update"]


@dataclass(frozen=True, slots=True)
class _Later:
    """What a variant would become: the files of its package in the later commit."""

    variant: Variant
    source: Source
    repository: Repository
    files: tuple[RemoteFile, ...]
    changed: tuple[str, ...]


def update(session: Session, model: str = "", *, check: bool = False,
           progress: Progress | None = None) -> UpdateReport:
    """Bring models that came from the hub to its latest revision.

    Args:
        session: whose models.
        model: only these variants; "": all.
        check: only say what there is.
        progress: as of a download.

    Raises:
        NotFound, Ambiguous: no model is called that.
    """
    variants = session.index.find(model) if model else session.index.variants()
    asked: dict[str, Repository | HelixError] = {}
    found: list[Update] = []
    syncs: list[SyncReport] = []
    for variant in variants:
        source = variant.hub
        if source is None or source.repository is None:
            continue
        here = Update(variant.key.model, variant.key.variant, source.repository, source.revision or "", "", "current")
        repository = _asked(session, source.repository, asked)
        if isinstance(repository, HelixError):
            found.append(replace(here, state="failed", why=repository.message, remedy=repository.remedy))
            continue
        here = replace(here, latest=repository.commit)
        later = None if repository.commit == source.revision else _later(variant, source, repository)
        if later is None:
            found.append(here)
        elif not later.files:
            found.append(replace(here, state="gone", why="the later revision has no such file",
                                 remedy=f"see what it has: helixstore models download hf:{repository.name} --dry-run"))
        else:
            here = replace(here, changed=later.changed,
                           fetch_bytes=held(session, later.files, progress).missing(later.files))
            if variant.pinned or check:
                found.append(replace(here, state="pinned" if variant.pinned else "new"))
            else:
                found.append(_updated(session, here, later, syncs, progress))
    return UpdateReport(tuple(found), tuple(syncs), dry_run=check)


def _asked(session: Session, name: str, asked: dict[str, Repository | HelixError]) -> Repository | HelixError:
    """What the hub says of a repository, or why it says nothing; each is asked about once."""
    if name not in asked:
        try:
            asked[name] = repository_at(name, None, session.environ.get("HF_ENDPOINT") or None)
        except HelixError as error:
            asked[name] = error
    return asked[name]


def _later(variant: Variant, source: Source, repository: Repository) -> _Later | None:
    """The variant's package in a later commit; without files where that has none; None where nothing changed."""
    have = {file.path: (file.sha256, file.gitsha1) for file in variant.files}
    listed = {file.path: file for file in repository.files}
    changed = [path for path, known in have.items() if path not in listed or listed[path].digest not in known]
    weights = [file.path for file in variant.weights]
    package = next((one for one in packages(repository.files)
                    if {file.path for file in one.weights} == set(weights)
                    or (variant.format is not Format.GGUF and one.family is variant.format.family)), None)
    files = package.files if package is not None else ()
    new = [file.path for file in files if file.path not in have and file.path.lower() != "readme.md"]
    if not changed and (variant.format is Format.GGUF or not new):
        return None
    return _Later(variant, source, repository, files, tuple(sorted({*changed, *new})))


def _updated(session: Session, here: Update, later: _Later, syncs: list[SyncReport],
             progress: Progress | None) -> Update:
    """Download what changed, and let the name lead there."""
    source = replace(later.source, revision=later.repository.commit, name=later.repository.name)
    try:
        with getting(session, later.files, (source,), here.model, progress) as (models, issues, fetched):
            shown = change(session, Change("update", scan=False, brought=models), progress=progress)
    except HelixError as error:
        return replace(here, state="failed", why=error.message, remedy=error.remedy)
    syncs.append(replace(shown, issues=(*issues, *shown.issues)))
    return replace(here, state="updated", fetch_bytes=fetched)
