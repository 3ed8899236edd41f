"""What names a model in a registry, once it is known to be one. What a person types: `catalogue.references`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

__all__ = ["Reference", "is_loopback", "is_tag", "noted_reference"]

_HOST = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::\d{1,5})?")
_LOOSE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


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
