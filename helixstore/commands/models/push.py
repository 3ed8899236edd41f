"""`push`: models to a registry, blob by blob as they lie in the store, so that other machines pull them.

Where to: the reference that the person gives, or the site's mirror. A tag is one variant. Where none is given, a single
variant is `latest`, and each of several goes under its quantisation.

Nothing is sent that is not proven: what has changed since it was hashed is read again, and what is damaged is refused.
Addresses of interrupted uploads are secrets; they are kept in the person's state folder, for them alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helixstore.catalogue.references import OciReference, parse_reference
from helixstore.download.mirror import mirror_place, published_name, tag_of
from helixstore.download.registries import registry_access, registry_place
from helixstore.errors import Ambiguous, Corrupt, Failed, NotFound, Usage
from helixstore.fs import kernel, locks
from helixstore.oci.artifacts import Artifact, docker, modelpack
from helixstore.oci.pushing import missing, push_artifact
from helixstore.oci.reference import Reference, noted_reference
from helixstore.oci.registry import Registry
from helixstore.session import Session
from helixstore.sync.progress import Progress, counting
from helixstore.sync.suspects import usable
from helixstore.values import File, Variant

__all__ = ["PushReport", "Pushed", "PushedFile", "push"]

_FORMS: dict[str, Callable[[Variant], Artifact]] = {"all": modelpack, "docker": docker}


@dataclass(frozen=True, slots=True)
class PushedFile:
    """One file of a push. `how`: "there" already, "mounted" from beside, "sent", or with a dry run "missing"."""

    path: str
    bytes: int
    sha256: str
    how: str


@dataclass(frozen=True, slots=True)
class Pushed:
    """One variant of a push.

    Attributes:
        model, variant: its name here.
        reference: what others pull: `oci://host/name:tag`.
        digest: of its manifest there, 64 hex digits; its name whatever the tag says later.
        files: how each came there.
        sent_bytes: of files, over the network.
    """

    model: str
    variant: str
    reference: str
    digest: str
    files: tuple[PushedFile, ...]
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PushReport:
    """What was pushed, or with `dry_run` would be."""

    pushed: tuple[Pushed, ...]
    dry_run: bool = False


def push(session: Session, model: str, target: str = "", *, form: str = "all", dry_run: bool = False,
         progress: Progress | None = None) -> PushReport:
    """Push models to a registry.

    Args:
        session: whose store and logins.
        model: any name; NAME:QUANT for one variant.
        target: `oci://host/name[:tag]`; "": the mirror of the settings, under the name that the model has on the hub.
        form: "all" for ModelPack, "docker" for Docker Model Runner's own form.
        dry_run: ask the registry what it lacks, and send nothing.
        progress: ("upload", reference, bytes there, bytes in all).

    Raises:
        Usage: the target cannot be, or there is none.
        Ambiguous: several variants are meant, and one tag is given.
        NotFound: there is no such model, or a file of it is missing.
        Corrupt: a file of it is damaged.
        Failed: the registry refuses; what is there stays, and the same command goes on.
    """
    if form not in _FORMS:
        raise Usage(f"nobody knows the form {form}", f"one of: {' '.join(_FORMS)}")
    found = []
    for variant, place in _places(session, session.index.find(model), target):
        artifact = _FORMS[form](_proven(session, variant, progress))
        registry = Registry(place, registry_access(session))
        done = _asked(registry, artifact) if dry_run else _sent(session, variant, registry, artifact, progress)
        found.append(replace(done, model=variant.key.model, variant=variant.key.variant))
    return PushReport(tuple(found), dry_run)


def _places(session: Session, variants: Sequence[Variant], target: str) -> Iterator[tuple[Variant, Reference]]:
    """Where each variant goes."""
    if not target:
        for variant in variants:
            place = mirror_place(session, published_name(variant), _tag(session, variant))
            if place is None:
                raise Usage("there is no registry to push to", "helixstore push MODEL oci://registry.example/name:tag; "
                            "or set the mirror: helixstore config set mirror oci://nas:5000/models")
            yield variant, place
        return
    wanted = parse_reference(target) if target.lower().startswith("oci://") else None
    if not isinstance(wanted, OciReference):
        raise Usage("what is named is no place in a registry", "helixstore push MODEL oci://registry.example/name:tag")
    reference = registry_place(wanted)
    if reference.digest:
        raise Usage(f"{target} names a digest, which only follows from what is pushed", "give it a tag")
    tagged = ":" in target.rpartition("/")[2]
    if tagged and len(variants) > 1:
        listed = ", ".join(str(variant.key) for variant in variants)
        raise Ambiguous(f"one tag is one variant, and {variants[0].key.model} has {len(variants)}: {listed}",
                        f"name one, NAME:QUANT; or leave the tag out, and each goes under its own: "
                        f"oci://{reference.host}/{reference.repository}")
    for variant in variants:
        yield variant, reference if len(variants) == 1 else replace(reference, tag=_tag(session, variant))


def _tag(session: Session, variant: Variant) -> str:
    """Its quantisation, else its format: "q4_k_m", "hf"; both where the model has that quantisation in two formats."""
    format, _, quantization = variant.key.variant.partition(":")
    alike = [one for one in session.index.find(variant.key.model)
             if quantization and one.key.variant.partition(":")[2] == quantization]
    return tag_of(f"{format}-{quantization}" if len(alike) > 1 else quantization or format)


def _proven(session: Session, variant: Variant, progress: Progress | None) -> Variant:
    """The variant, every file of it here, as its name says, and with its SHA-256."""
    return replace(variant, files=tuple(_proven_file(session, variant, file, progress) for file in variant.files))


def _proven_file(session: Session, variant: Variant, file: File, progress: Progress | None) -> File:
    blobs, index, path = session.store.blobs, session.index, session.store.blobs.path(file.blake3)
    if not blobs.exists(file.blake3):
        raise NotFound(f"{file.path} of {variant.key} is not in the store", "helixstore verify --repair", path)
    if not usable(session, file.blake3, progress):
        raise Corrupt(f"{file.path} of {variant.key} is damaged, and is not pushed", "helixstore verify --repair", path)
    if file.sha256 is not None and index.digest_at(path, kernel.fingerprint(path)) == file.blake3:
        return file
    hashes, mark = blobs.check(file.blake3, sha256=True, progress=counting(progress, "hash", path, file.bytes))
    blobs.learn(file.blake3, sha256=hashes.sha256)
    index.learn(file.blake3, sha256=hashes.sha256)
    index.remember([(path, mark, hashes)])
    return replace(file, sha256=hashes.sha256)


def _asked(registry: Registry, artifact: Artifact) -> Pushed:
    """What a push would send."""
    lacking = {file.sha256 for file in missing(registry, artifact)}
    return _pushed(registry, artifact, {str(file.sha256): "missing" if file.sha256 in lacking else "there"
                                        for file in artifact.files}, 0)


def _sent(session: Session, variant: Variant, registry: Registry, artifact: Artifact,
          progress: Progress | None) -> Pushed:
    reference, folder = registry.reference, session.places.state_for(session.store.id) / "pushes"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    kept = folder / hashlib.sha256(f"{reference.host}/{reference.repository}".encode()).hexdigest()[:32]
    step = counting(progress, "upload", str(reference),
                    sum({file.sha256: file.bytes for file in artifact.files}.values()))
    with locks.lock_file(f"{kept}.lock"):               # two that go on with one upload would disturb each other
        told = push_artifact(registry, artifact, lambda file: session.store.blobs.path(file.blake3),
                             mounts=_beside(variant, reference), sessions=_Sessions(kept),
                             progress=lambda _, count: step(count))
    return _pushed(registry, artifact, told.files, told.sent)


def _beside(variant: Variant, reference: Reference) -> list[str]:
    """Other repositories of that registry that the model came from."""
    places = [noted_reference(str(source.repository)) for source in variant.sources if source.kind == "registry"]
    return [place.repository for place in places if place is not None and place.host == reference.host]


def _pushed(registry: Registry, artifact: Artifact, how: dict[str, str], sent: int) -> Pushed:
    files = tuple(PushedFile(file.path, file.bytes, str(file.sha256), how[str(file.sha256)])
                  for file in artifact.files)
    return Pushed("", "", f"oci://{registry.reference}", artifact.sha256, files, sent)


class _Sessions(MutableMapping[str, str]):
    """Uploads under way to one repository: SHA-256 -> address. Every change is written; what cannot be read is none.

    Args:
        path: of the file, which only its owner reads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            said = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            said = {}
        self._known = {str(key): str(value) for key, value in said.items()} if isinstance(said, dict) else {}

    def __getitem__(self, key: str) -> str:
        return self._known[key]

    def __setitem__(self, key: str, value: str) -> None:
        self._known[key] = value
        self._write()

    def __delitem__(self, key: str) -> None:
        del self._known[key]
        self._write()

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def _write(self) -> None:
        try:
            kernel.replace_file(self._path, json.dumps(self._known).encode(), 0o600, durable=False)
        except OSError as error:
            raise Failed(f"{self._path} cannot be written: {error.strerror}", "see who may write there (ls -l)",
                         self._path) from error
