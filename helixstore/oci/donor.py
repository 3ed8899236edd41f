"""A blob in a registry as something that damaged bytes are mended from: ranges of it, with the person's login."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from helixstore.errors import Failed, NotFound
from helixstore.oci.access import Access
from helixstore.oci.reference import Reference
from helixstore.oci.registry import Registry

__all__ = ["RegistryFile", "registry_file"]

_BLOB = re.compile(r"/v2/(.+)/blobs/sha256:([0-9a-f]{64})")


class RegistryFile:
    """A blob, read by ranges; never believed, only tried.

    Args:
        registry: the repository that has it.
        sha256: 64 hex digits.
        name: as people read it.
    """

    remote = True

    def __init__(self, registry: Registry, sha256: str, name: str) -> None:
        self._registry, self._sha256, self.name = registry, sha256, name

    def ask(self, size: int, sha256: str | None) -> None:
        """Whether the registry has it, in that size.

        Args:
            size: in bytes.
            sha256: the digest that is wanted, or None where it is not known.

        Raises:
            NotFound, Failed: it has not, or cannot be asked.
        """
        if sha256 is not None and sha256 != self._sha256:
            raise Failed(f"its SHA-256 is {self._sha256[:12]} there instead of {sha256[:12]}")
        there = self._registry.size(self._sha256)
        if there is None:
            raise NotFound(f"{self._registry.reference} does not have it (404)")
        if there not in (0, size):
            raise Failed(f"it has {there:,} bytes there instead of {size:,}")

    def read(self, offset: int, length: int) -> bytes:
        """That range, and not a byte more over the network.

        Args:
            offset, length: in bytes.

        Raises:
            NotFound, Failed: it cannot be had.
        """
        return self._registry.range(self._sha256, offset, length)


def registry_file(address: str, name: str, access: Access) -> RegistryFile | None:
    """The blob at an address of a registry; None where the address is none of a registry's.

    Args:
        address: `https://host/v2/repository/blobs/sha256:<digest>`.
        name: as people read it.
        access: how registries are reached.
    """
    parts = urlsplit(address)
    found = _BLOB.fullmatch(parts.path)
    if found is None or not parts.netloc or "@" in parts.netloc or parts.query:
        return None
    return RegistryFile(Registry(Reference(parts.netloc, found[1]), access), found[2], name)
