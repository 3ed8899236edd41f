"""What names a model in a registry: `oci://host/repository:tag`, `...@sha256:<digest>`.

The grammar of names and tags is the distribution specification's ("Pulling manifests"), except that Ollama and the hub
keep capitals in names.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from helixstore.errors import Usage
from helixstore.fs.names import printable

__all__ = ["Reference", "is_loopback", "is_tag", "noted_reference", "read_reference"]

_SCHEME = "oci://"
_HOST = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::\d{1,5})?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_LOOSE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """One artifact in a registry.

    Attributes:
        host: with its port where one is given.
        repository: the name in the registry.
        tag: None where only a digest is given.
        digest: 64 hex digits of the manifest; it wins over the tag.
    """

    host: str
    repository: str
    tag: str | None = "latest"
    digest: str | None = None

    @property
    def wanted(self) -> str:
        """What is asked of the registry."""
        return f"sha256:{self.digest}" if self.digest else self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.repository}{tag}" + (f"@sha256:{self.digest}" if self.digest else "")

    def at(self, digest: str) -> Reference:
        """The same artifact, by the digest of its manifest."""
        return replace(self, digest=digest)


def read_reference(text: str) -> Reference:
    """The reference that a person typed.

    Args:
        text: `oci://host[:port]/repository[:tag][@sha256:...]`; `oci://` may be left out.

    Raises:
        Usage: it is none.
    """
    rest, host, repository, tag, digest = _taken_apart(text, text.removeprefix(_SCHEME))
    if not rest or not _HOST.fullmatch(host) or not ("." in host or ":" in host or host == "localhost"):
        raise _wrong(text, "it does not begin with the registry's host", "oci://registry.example/team/model:tag")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > _LONGEST:
        lower = f"{_SCHEME}{host}/{repository.lower()}:{tag or 'latest'}"
        fits = _REPOSITORY.fullmatch(repository.lower())
        raise _wrong(text, "a repository's name has only lower-case letters, digits and single separators (. _ - /)",
                     lower if fits else "oci://registry.example/team/model:tag")
    return Reference(host, repository, tag or (None if digest else "latest"), digest)


def noted_reference(text: str) -> Reference | None:
    """What a source names: `host/repository[:tag]`, with capitals where a registry of Ollama's manner has them; None
    where that makes no sense, as what another person has written may not."""
    host, _, path = text.partition("/")
    repository, colon, tag = path.partition(":")
    sound = _HOST.fullmatch(host) and _LOOSE.fullmatch(repository) and (not colon or _TAG.fullmatch(tag))
    return Reference(host, repository, tag or None) if sound else None


def is_tag(text: object) -> bool:
    """Whether it can be a tag."""
    return isinstance(text, str) and _TAG.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this computer."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) and not host.endswith("]") else host
    name = name.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _taken_apart(text: str, bare: str) -> tuple[str, str, str, str | None, str | None]:
    """The part after the host, the host, the repository, tag and digest."""
    bare, at, digest = bare.partition("@")
    found = _DIGEST.fullmatch(digest)
    if at and found is None:
        raise _wrong(text, "what follows the @ is no SHA-256 digest",
                     "oci://registry.example/team/model@sha256:<64 hex>")
    host, _, rest = bare.partition("/")
    repository, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(text, "what follows the colon is no tag", "oci://registry.example/team/model:tag")
    return rest, host, repository, tag or None, found[1] if found else None


def _wrong(text: str, why: str, right: str) -> Usage:
    return Usage(f"{printable(text[:300])!r} names no model in a registry: {why}", f"write it as {right}")
