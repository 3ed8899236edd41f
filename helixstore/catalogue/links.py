"""Addresses as references: links to pages and files of the hub, and files anywhere whose digest is known."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote, urlsplit

from helixstore.catalogue.references import HUB_HOSTS, Reference, UrlReference, hub_reference, parse_reference
from helixstore.errors import Usage
from helixstore.fs.names import printable

__all__ = ["parse_link"]

#: Where Ollama's registry shows its pages.
_LIBRARY = frozenset({"ollama.com", "www.ollama.com", "registry.ollama.ai"})
#: Of the hub's pages, the ones that are about other things than models.
_NOT_MODELS = frozenset({"api", "blog", "buckets", "collections", "datasets", "docs", "join", "kernels", "learn",
                         "login", "models", "organizations", "papers", "posts", "settings", "spaces", "tasks"})
_PAGES = frozenset({"tree", "blob", "resolve", "raw", "blame", "commits", "commit"})
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_SHA256 = re.compile(r"sha256[=:]([0-9a-fA-F]{64})")


def parse_link(text: str) -> Reference:
    """What an address names.

    Args:
        text: starts with `http:` or `https:`; printable.

    Returns:
        What a page of the hub or of Ollama's registry is about, else a reference to the file.

    Raises:
        Usage: it is no address, holds a password, is not encrypted, or has no digest to check what comes against.
    """
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise Usage("an address in it cannot be read", "https://host/path#sha256=...") from None
    if parts.username is not None or parts.password is not None:
        raise Usage(f"an address on {printable(host)} holds a user name or password, which would be kept in records",
                    "leave it out, and give the token the way that server's own client reads it")
    if not host or "\\" in text or " " in text:
        raise Usage("an address names no server", "https://host/path#sha256=...")
    if parts.scheme.lower() == "http" and host not in _HERE:
        raise Usage(f"an address on {printable(host)} is not encrypted", "the same address with https://")
    if host in HUB_HOSTS and port is None:
        return _page(parts)
    if host in _LIBRARY and port is None and parts.path.count("/") == 2 and not parts.fragment:
        found = parse_reference("ollama:" + parts.path[1:])
        if found is not None:
            return found
    return _file(parts, host, port)


def _page(parts: SplitResult) -> Reference:
    """A page of the hub: `/org/name`, `/org/name/tree/revision[/folder]`, `/org/name/resolve/revision/file`."""
    pieces = parts.path.strip("/").split("/")
    shown = f"https://huggingface.co/{printable(parts.path.strip('/')[:80])}"
    if len(pieces) < 2 or pieces[0] in _NOT_MODELS:
        raise Usage(f"{shown} is no page of a model", "https://huggingface.co/org/name, or hf:org/name")
    if _SHA256.fullmatch(parts.fragment):
        raise Usage(f"{shown} has a digest, but the hub tells the digest of each file itself",
                    "leave out what follows the #")
    repository = "/".join(unquote(piece) for piece in pieces[:2])
    if len(pieces) == 2:
        return hub_reference(repository, None, "", shown)
    if pieces[2] == "discussions":
        return hub_reference(repository, None, "", shown)
    if pieces[2] not in _PAGES or len(pieces) < 4:
        raise Usage(f"{shown} is no page of files", f"hf:{repository}")
    revision, rest = unquote(pieces[3]), [unquote(piece) for piece in pieces[4:]]
    is_file = pieces[2] in ("blob", "resolve", "raw", "blame")
    if is_file and not rest:
        raise Usage(f"{shown} names no file", f"hf:{repository}@{revision}")
    if not is_file and rest:
        raise Usage(f"{shown} is a folder inside a repository", f"hf:{repository}, or one file: hf:{repository}:FILE")
    return hub_reference(repository, revision, "/".join(rest), shown)


def _file(parts: SplitResult, host: str, port: int | None) -> UrlReference:
    """A file anywhere."""
    name = f"[{host}]" if ":" in host else host
    shown = f"{parts.scheme.lower()}://{printable(name)}{printable(parts.path[:80])}"
    if not parts.path.strip("/"):
        raise Usage(f"{shown} names no file", "https://host/path/file.gguf#sha256=...")
    if not parts.fragment:
        raise Usage(f"{shown} has no digest, so nothing could tell whether what comes is right",
                    "add its SHA-256: https://host/path/file.gguf#sha256=...")
    found = _SHA256.fullmatch(parts.fragment)
    if found is None:
        raise Usage(f"{shown}: what follows the # is no SHA-256", "#sha256= and 64 hex digits")
    where = f"{name}:{port}" if port is not None else name
    query = f"?{parts.query}" if parts.query else ""
    return UrlReference(f"{parts.scheme.lower()}://{where}{parts.path}{query}", found[1].lower())
