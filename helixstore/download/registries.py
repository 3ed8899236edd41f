"""Models in registries: what a tag leads to, as files to fetch, and how this person reaches registries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from helixstore.catalogue.references import OciReference, OllamaReference
from helixstore.download.choosing import whole
from helixstore.download.offered import Offered
from helixstore.errors import Failed, HelixError, NotFound, Passing, Usage
from helixstore.fs.names import printable
from helixstore.hub.remote import RemoteFile
from helixstore.oci.access import Access, Patience
from helixstore.oci.answers import Cut
from helixstore.oci.contents import Contents, read_contents
from helixstore.oci.manifest import Manifest
from helixstore.oci.reference import Reference
from helixstore.oci.registry import Registry
from helixstore.providers.layout import Pulled
from helixstore.session import Machine
from helixstore.values import Source

__all__ = ["BlobAddress", "for_all", "registry_access", "registry_offer", "registry_place", "registry_source"]

Opened = tuple[int, Iterator[bytes]]
_TEXT_BYTES = 1 << 20           # of all that a source keeps (values.Source)
_TAGS = 8                       # that are told where one is missing


@dataclass(frozen=True, slots=True)
class BlobAddress:
    """A blob in a registry (`remote.Address`).

    Attributes:
        registry: the repository that has it.
        sha256: 64 hex digits.
        bytes: of the whole.
        path: the file's, for people.
    """

    registry: Registry
    sha256: str
    bytes: int
    path: str

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.registry.reference}: {printable(self.path)}"

    @property
    def host(self) -> str:
        """See `remote.Address.host`."""
        return self.registry.reference.host

    @contextlib.contextmanager
    def open(self, offset: int, length: int) -> Iterator[Opened]:
        """See `remote.Address.open`."""
        try:
            with self.registry.part(self.sha256, self.bytes, offset, length) as opened:
                yield opened
        except Cut as cut:
            raise Passing(f"{self.name}: {cut.message}", cut.remedy, cut.pause or 0.0) from cut

    def wrong(self) -> None:
        """There is no other place."""


def registry_access(machine: Machine, patience: Patience | None = None) -> Access:
    """How this person reaches registries.

    Args:
        machine: its variables and settings.
        patience: None: the usual.
    """
    return Access.of(machine.environ, frozenset(machine.settings.insecure_registries), patience)


def registry_offer(machine: Machine, wanted: OciReference | OllamaReference) -> Offered:
    """Ask a registry for a model: the manifest, and where a program has a form of its own, its texts.

    Args:
        machine: its settings, logins and layouts.
        wanted: the model.

    Raises:
        Usage: the reference is none of a registry's.
        NotFound: there is no such model.
        Failed: it cannot be had, or it is none that can be taken as it is.
    """
    reference, access = registry_place(wanted), registry_access(machine)
    registry = Registry(reference, access)
    try:
        manifest = registry.model()
    except NotFound as error:
        raise NotFound(error.message, _tags_there(registry) or error.remedy) from error
    last = reference.repository.rpartition("/")[2]
    stem = last if reference.tag in (None, "latest") else f"{last}-{reference.tag}"
    contents = read_contents(manifest, stem)
    pulled = _as_pulled(machine, registry, manifest, contents) if contents.kind == "ollama-layers" else None
    if pulled is not None:
        contents = read_contents(manifest, pulled.stem)
    files = tuple(whole([RemoteFile(file.path, file.bytes, file.sha256, None, BlobAddress(
        registry, file.sha256, file.bytes, file.path)) for file in contents.files]))
    source = registry_source(reference, manifest.sha256)
    return Offered(wanted, str(source.repository), manifest.sha256, files, source, pulled.name if pulled else last,
                   public=not registry.logged_in or for_all(reference.at(manifest.sha256), access), single=True,
                   own=(pulled.source,) if pulled else ())


def _tags_there(registry: Registry) -> str:
    """Which tags there are where the one that was named is missing, the nearest first; "" where that is not told."""
    from difflib import get_close_matches

    wanted = registry.reference.tag or ""
    try:
        tags = registry.tags() if wanted else []
    except HelixError:                                  # no such repository, or a registry that lists none
        return ""
    near = list(dict.fromkeys([*get_close_matches(wanted, tags), *tags]))
    return f"it has: {', '.join(near[:_TAGS])}{', ...' if len(near) > _TAGS else ''}" if near else ""


def registry_source(reference: Reference, digest: str) -> Source:
    """What the store keeps of a model from a registry: `host/name:tag`, and the manifest that the tag led to.

    Without a tag, named by its digest alone, it has no later version.

    Args:
        reference: what was asked for.
        digest: of the manifest, 64 hex digits.
    """
    tag = f":{reference.tag}" if reference.tag else ""
    return Source("registry", repository=f"{reference.host}/{reference.repository}{tag}", revision=digest)


def registry_place(wanted: OciReference | OllamaReference) -> Reference:
    """Where in which registry a model lies.

    Args:
        wanted: the model.

    Raises:
        Usage: its digest is none by which registries give manifests.
    """
    if isinstance(wanted, OllamaReference):
        return Reference(wanted.host, f"{wanted.namespace}/{wanted.name}", wanted.tag)
    algorithm, _, digest = wanted.digest.partition(":")
    if algorithm not in ("", "sha256"):
        raise Usage(f"{wanted} names a digest that is no SHA-256", "name its tag, or the SHA-256 of its manifest")
    return Reference(wanted.host, wanted.name, wanted.tag or None, digest or None)


def _as_pulled(machine: Machine, registry: Registry, manifest: Manifest, contents: Contents) -> Pulled | None:
    """What the program whose form the model is in would have of it; None where no layout knows that form."""
    small = {text.blob.sha256: text.blob for text in contents.texts}
    if contents.config is not None:
        small[contents.config.sha256] = contents.config
    where, total = str(registry.reference), len(manifest.raw) + sum(blob.bytes for blob in small.values())
    if total > _TEXT_BYTES:
        raise Failed(f"the texts of {where} have {total:,} bytes, more than are kept",
                     "pull it with the program that it was made for")
    texts = {sha256: _text(registry.small(blob), where) for sha256, blob in small.items()}
    return _asked(machine, registry.reference, _text(manifest.raw, where), texts)


def _asked(machine: Machine, reference: Reference, manifest: str, texts: Mapping[str, str]) -> Pulled | None:
    for name, layout in machine.layouts.items():
        try:
            found = layout.pulled(reference.host, reference.repository, reference.tag or "latest", manifest, texts)
        except HelixError:
            raise
        except Exception as error:  # noqa: BLE001 - a third party's layout may fail in any way; the rest goes on
            machine.layout_failed(name, error)
            continue
        if found is not None:
            return found
    return None


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Failed(f"a text of {where} is no UTF-8", "ask those who pushed it to push it again") from None


def for_all(reference: Reference, access: Access) -> bool:
    """Whether somebody without a login gets it too.

    Args:
        reference: an artifact; by its digest, since a tag may lead others to another one.
        access: the person's; what says in it who they are is not shown.
    """
    try:
        Registry(reference, access.as_nobody()).manifest()
    except HelixError:
        return False
    return True
