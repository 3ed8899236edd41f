"""Exact references: what names one thing to fetch, without the catalogue. Text -> typed value, and back.

    hf:org/name[@revision][:file or quantisation]       the Hugging Face hub; `org/name...` alone is the same
    https://huggingface.co/org/name/...                 a link copied from the hub's pages; hf.co too
    ollama:[host/][namespace/]name[:tag]                a registry in Ollama's manner
    oci://host[:port]/name[:tag][@sha256:...]           a registry as the OCI distribution specification says
    https://host/path#sha256=...                        any file whose SHA-256 is known
    /path, ./path, ../path, ~/path, C:\\path, file:...  a file or folder here

Pure: nothing is looked up. Every text comes from a person or from a file that somebody else wrote, so whatever cannot
be meant is refused with a message that says what was wrong and what to type instead; a secret in an address is never
part of a message.

The digest of an address stands in its fragment, as in Python's simple repository API (PEP 503: `#sha256=...`, which
pip and uv check for addresses given on their command lines too): a fragment is never sent to the server, so every
server takes it, and an address without a digest is one that nothing could be checked against. Names of repositories
are as `huggingface_hub.utils.validate_repo_id` allows them; names in Ollama's registry as its documentation says
([host/][namespace/]model[:tag], by default registry.ollama.ai, library and latest); names, tags and digests of the
rest as the OCI distribution specification 1.1 says ("Pulling manifests").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import unquote

from helixstore.errors import UnsafeName, Usage
from helixstore.formats.names import WEIGHT_EXTENSIONS, extension, quantization_in_name
from helixstore.fs.names import check_relative, printable

__all__ = [
    "HubReference", "OciReference", "OllamaReference", "PathReference", "Reference", "UrlReference", "parse_reference",
    "quantization_of",
]

#: Where the hub shows its pages; `hf.co` leads there.
HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
MAX_TEXT = 4096                 # characters; an address that is signed has some hundred
_OLLAMA, _HUB, _OCI = "ollama:", "hf:", "oci://"
_OLLAMA_HOST, _OLLAMA_NAMESPACE, _LATEST = "registry.ollama.ai", "library", "latest"

_REPOSITORY = re.compile(r"(?![-.])[\w.-]{1,96}(?<![-.])/(?![-.])[\w.-]{1,96}(?<![-.])", re.ASCII)
_REVISION = re.compile(r"(?![-./])[\w.+/-]{1,255}(?<![./])", re.ASCII)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]{{2,45}}\])(?::[0-9]{{1,5}})?")
_OCI_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_OLLAMA_PART = re.compile(r"[A-Za-z0-9_][\w.-]{0,79}", re.ASCII)
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


@dataclass(frozen=True, slots=True)
class HubReference:
    """A repository of the Hugging Face hub, or a part of it.

    Attributes:
        repository: `org/name`.
        revision: a commit, branch or tag; None: the hub's default branch.
        file: a path in the repository; None: the whole, or what `quantization` says.
        quantization: "Q4_K_M": those files of the repository that are of it; "" when none is named.
    """

    repository: str
    revision: str | None = None
    file: str | None = None
    quantization: str = ""

    def __str__(self) -> str:
        part = self.file or self.quantization
        return f"{_HUB}{self.repository}{'@' + self.revision if self.revision else ''}{':' + part if part else ''}"


@dataclass(frozen=True, slots=True)
class OllamaReference:
    """A model in a registry in Ollama's manner.

    Attributes:
        name: the model's.
        tag: which of its variants.
        namespace: whose; "library" is the registry's own.
        host: with its port, if it has one.
    """

    name: str
    tag: str = _LATEST
    namespace: str = _OLLAMA_NAMESPACE
    host: str = _OLLAMA_HOST

    def __str__(self) -> str:
        if self.host != _OLLAMA_HOST:
            return f"{_OLLAMA}{self.host}/{self.namespace}/{self.name}:{self.tag}"
        space = "" if self.namespace == _OLLAMA_NAMESPACE else f"{self.namespace}/"
        return f"{_OLLAMA}{space}{self.name}:{self.tag}"


@dataclass(frozen=True, slots=True)
class OciReference:
    """An artifact in an OCI registry.

    Attributes:
        host: with its port, if it has one.
        name: lower case, parts separated by `/`.
        tag: "" where only a digest is named; "latest" where neither is.
        digest: "sha256:..." or "sha512:..."; "" where none is named. It counts more than the tag.
    """

    host: str
    name: str
    tag: str = _LATEST
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{_OCI}{self.host}/{self.name}{tag}{'@' + self.digest if self.digest else ''}"


@dataclass(frozen=True, slots=True)
class UrlReference:
    """A file at an address.

    Attributes:
        url: https, or http on this computer; without fragment, user and password.
        sha256: 64 lower-case hex digits, which what comes must have.
    """

    url: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.url}#sha256={self.sha256}"


@dataclass(frozen=True, slots=True)
class PathReference:
    """A file or folder here.

    Attributes:
        path: as it was given; `~` and relative paths are not resolved.
    """

    path: str

    def __str__(self) -> str:
        return f"file:{self.path}"


Reference = HubReference | OllamaReference | OciReference | UrlReference | PathReference


def parse_reference(text: str) -> Reference | None:
    """What a person or a file names, if it names it exactly.

    Args:
        text: see the module.

    Returns:
        The reference; `str()` of it is its usual spelling, which gives the same reference again. None: it is a plain
        name, such as `llama-3-8b-instruct` or `llama3:8b`, for the catalogue or the store.

    Raises:
        Usage: it is meant as an exact reference, but is none.
    """
    if not text or text != text.strip():
        raise Usage("a reference is empty, or has spaces around it", "type a name, or for example hf:org/name")
    if len(text) > MAX_TEXT:
        raise Usage(f"a reference of {len(text):,} characters is longer than any", "see what was pasted")
    if not text.isprintable():
        raise Usage(f"{_shown(text)} holds a control or invisible character", "type it again")
    lower = text.lower()
    if lower.startswith("file:"):
        return _file_address(text)
    if _is_path(text):
        return _path(text, text)
    if lower.startswith(_HUB):
        return _hub(text[len(_HUB):].removeprefix("//"), text)
    if lower.startswith("huggingface://"):
        return _hub(text[len("huggingface://"):], text)
    if lower.startswith(_OLLAMA):
        return _ollama(text[len(_OLLAMA):].removeprefix("//"), text)
    if lower.startswith(_OCI):
        return _oci(text[len(_OCI):], text)
    if lower.startswith(("http:", "https:")):
        from helixstore.catalogue.links import parse_link

        return parse_link(text)
    if "://" in text:
        raise Usage(f"nobody knows the kind of reference {_shown(text.partition('://')[0])}://",
                    "hf:org/name, ollama:name:tag, oci://host/name:tag, https://...#sha256=..., or a path")
    if lower.startswith(("hf.co/", "huggingface.co/")):
        return _hub(text.partition("/")[2], text)
    if text.partition(":")[0].count("/") > 1:
        raise Usage(f"{_shown(text)} may be a file here or one of the hub's", f"./{_shown(text)}, or hf:{_shown(text)}")
    return _hub(text, text) if "/" in text else None


def quantization_of(text: str) -> str:
    """The quantisation that a text is the name of, upper case: "q4_k_m" -> "Q4_K_M"; "" when it is none's."""
    found = quantization_in_name(f"-{text}")
    return found if found == text.upper() else ""


def hub_reference(repository: str, revision: str | None, part: str, text: str) -> HubReference:
    """A reference to the hub from its pieces, checked.

    Args:
        repository: `org/name`.
        revision: None where none is named.
        part: a file or a quantisation; "" for the whole.
        text: the reference as it was typed, for messages.

    Raises:
        Usage: one of them cannot be.
    """
    if not _REPOSITORY.fullmatch(repository) or "--" in repository or ".." in repository \
            or repository.endswith(".git"):
        raise Usage(f"{_shown(text)} names no repository of the hub: {_shown(repository)}",
                    "a repository is org/name, of letters, digits, `-`, `_` and `.`: hf:org/name[@revision][:file]")
    found = HubReference(repository)
    if revision is not None:
        if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
            raise Usage(f"{_shown(text)} names no revision: {_shown(revision)}",
                        "a revision is a commit, branch or tag: hf:org/name@main")
        found = replace(found, revision=revision)
    if not part:
        return found
    if quantization := quantization_of(part):
        return replace(found, quantization=quantization)
    if "." not in part and "/" not in part:
        raise Usage(f"{_shown(text)}: {_shown(part)} is neither a file nor a quantisation",
                    "hf:org/name:Q4_K_M, or hf:org/name:folder/file.gguf")
    try:
        return replace(found, file=check_relative(part))
    except UnsafeName as error:
        raise Usage(f"{_shown(text)}: {error.message}", "type the file's path as the hub lists it") from error


def _hub(rest: str, text: str) -> HubReference:
    """`org/name[@revision][:part]`; `org/name/file` too, as some programs write it."""
    head, colon, part = rest.partition(":")
    if colon and not part:
        raise Usage(f"{_shown(text)} ends in a colon", "hf:org/name:Q4_K_M, or without the colon")
    name, at, revision = head.partition("@")
    pieces = name.split("/", 2)
    if len(pieces) == 3 and pieces[2] and not part:
        name, part = "/".join(pieces[:2]), pieces[2]
        if "." not in part:
            raise Usage(f"{_shown(text)}: {_shown(part)} is no file", "hf:org/name[@revision][:file or quantisation]")
    return hub_reference(name, revision if at else None, part, text)


def _ollama(rest: str, text: str) -> OllamaReference | HubReference:
    """`[host/][namespace/]name[:tag]`."""
    head, _, last = rest.rpartition("/")
    name, colon, tag = last.partition(":")
    host, slash, namespace = head.partition("/")
    if not slash:
        host, namespace = _OLLAMA_HOST, head or _OLLAMA_NAMESPACE
    fine = _HOST.fullmatch(host) and _port_fits(host) and all(
        _OLLAMA_PART.fullmatch(part) and ".." not in part for part in (namespace, name))
    if not fine or (colon and not _TAG.fullmatch(tag)) or rest.startswith("/"):
        raise Usage(f"{_shown(text)} names no model of such a registry",
                    f"{_OLLAMA}name, {_OLLAMA}name:tag, or {_OLLAMA}host/namespace/name:tag")
    if host.lower() in HUB_HOSTS:                       # how Ollama itself spells a repository of the hub
        return hub_reference(f"{namespace}/{name}", None, "" if tag.lower() == _LATEST else tag, text)
    return OllamaReference(name, tag or _LATEST, namespace, host.lower())


def _oci(rest: str, text: str) -> OciReference:
    """`host[:port]/name[:tag][@digest]`."""
    where, at, digest = rest.partition("@")
    host, _, path = where.partition("/")
    name, colon, tag = path.partition(":")
    if not _HOST.fullmatch(host) or not _port_fits(host):
        raise Usage(f"{_shown(text)} names no registry", "oci://registry.example/name:tag")
    if len(name) > 255 or not _OCI_NAME.fullmatch(name):
        small = name.lower()
        raise Usage(f"{_shown(text)}: {_shown(name)} can be no name in a registry",
                    f"in small letters: {_OCI}{host}/{small}" if len(small) <= 255 and _OCI_NAME.fullmatch(small) else
                    "lower-case letters, digits, `.`, `_` and `-`, parts separated by `/`")
    if colon and not _TAG.fullmatch(tag):
        raise Usage(f"{_shown(text)}: {_shown(tag)} can be no tag", "oci://registry.example/name:tag")
    if at and not _DIGEST.fullmatch(digest):
        raise Usage(f"{_shown(text)}: {_shown(digest)} is no digest", "sha256: and 64 lower-case hex digits")
    return OciReference(host.lower(), name, tag or ("" if digest else _LATEST), digest)


def _is_path(text: str) -> bool:
    """Whether a person means a file or folder here: by how it starts, or by its ending."""
    if text in (".", "..", "~") or text.startswith(("/", "./", "../", "~/", "\\", ".\\", "..\\")) \
            or _DRIVE.match(text):
        return True
    head, colon, _ = text.partition(":")
    if colon and _REPOSITORY.fullmatch(head):
        return False                                    # org/name:file.gguf
    return not _SCHEME.match(text) and "@" not in text and extension(text) in WEIGHT_EXTENSIONS \
        and text.count("/") < 2


def _file_address(text: str) -> PathReference:
    """`file:path` as `str()` writes it, and `file:///path` as browsers do, where a space is `%20`."""
    path = text[5:]
    if not path.startswith("//"):
        return _path(path, text)
    if not path.startswith("///"):
        raise Usage(f"{_shown(text)} names a file on another machine", "the path of the file here")
    path = unquote(path[2:])
    if not path.isprintable():
        raise Usage(f"{_shown(text)} holds a control or invisible character", "type the path")
    return _path(path[1:] if _DRIVE.match(path, 1) else path, text)


def _path(path: str, text: str) -> PathReference:
    if not path or path.startswith("//"):
        raise Usage(f"{_shown(text)} names no file or folder here", "type its path: ./models/name.gguf")
    return PathReference(path)


def _port_fits(host: str) -> bool:
    port = host.rpartition(":")[2] if not host.endswith("]") and ":" in host else ""
    return not port or 0 < int(port) < 65536


def _shown(text: str) -> str:
    """For a message: printable, not long, and without what may be a password."""
    shown = printable(text if len(text) <= 100 else text[:97] + "...")
    return re.sub(r"//[^/@]*@", "//...@", shown)
