"""The words of helixstore as plain, frozen values. They know no disk and no provider; every layer speaks in them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

__all__ = [
    "LIBRARY", "Family", "File", "Format", "Header", "Issue", "Key", "LinkKind", "Purpose", "Role", "Source", "State",
    "Variant",
]

#: The name under which helixstore's own folder of all models stands among the providers; no program's.
LIBRARY = "library"


class Format(StrEnum):
    """How the bytes of a variant are to be read."""

    GGUF = "gguf"
    HF = "hf"                                   # safetensors with a Hugging Face config.json, weights not quantised
    GPTQ = "gptq"
    AWQ = "awq"
    COMPRESSED_TENSORS = "compressed-tensors"
    BITSANDBYTES = "bitsandbytes"
    FP8 = "fp8"
    EXL2 = "exl2"
    EXL3 = "exl3"
    MLX = "mlx"
    QUANTIZED = "quantized"                     # a quant_method in config.json that is none of the above
    SAFETENSORS = "safetensors"                 # safetensors without a configuration: an adapter, a part of something
    PYTORCH = "pytorch"                         # pickles: named, never opened, not shared unless asked

    @property
    def family(self) -> Family:
        """Which kind of files it comes in."""
        if self is Format.GGUF:
            return Family.GGUF
        return Family.PICKLE if self is Format.PYTORCH else Family.SAFETENSORS


class Family(StrEnum):
    """The container of the weights."""

    GGUF = "gguf"
    SAFETENSORS = "safetensors"
    PICKLE = "pickle"


class Role(StrEnum):
    """What one file is for."""

    WEIGHTS = "weights"
    PROJECTOR = "projector"
    CONFIG = "config"                           # config.json, generation_config.json, quantize_config.json, ...
    TOKENIZER = "tokenizer"
    TEMPLATE = "template"                       # chat_template.jinja and .json
    INDEX = "index"                             # model.safetensors.index.json
    CODE = "code"                               # *.py: never projected under a name that we invented
    PICKLE = "pickle"
    OTHER = "other"                             # README, licence


class Purpose(StrEnum):
    """What one variant can do."""

    MODEL = "model"
    EMBEDDING = "embedding"
    ADAPTER = "adapter"
    PROJECTOR = "projector"
    DRAFT = "draft"
    VOCABULARY = "vocabulary"


class LinkKind(StrEnum):
    """How a name in a provider's folder leads to the bytes of a blob."""

    HARD = "hard"
    SYMBOLIC = "symlink"
    STAND_IN = "stand-in"                       # a symlink, but never to the blob itself: a delete may follow it
    REFLINK = "reflink"
    COPY = "copy"
    REFERENCE = "reference"                     # the sidecar names the path; nothing is linked


class State(StrEnum):
    """How a variant stands with one provider. `incompatible` is a state, not an issue."""

    LINKED = "linked"
    PENDING = "pending"
    CONVERTIBLE = "convertible"
    INCOMPATIBLE = "incompatible"
    HIDDEN = "hidden"
    CONFLICT = "conflict"
    MODIFIED = "modified"
    AWAY = "away"
    INCOMPLETE = "incomplete"
    QUARANTINED = "quarantined"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class File:
    """One file of a variant.

    Attributes:
        path: POSIX, relative to the model's own folder, checked by `fs.names`; the name that programs see.
        bytes: size in bytes.
        blake3: 64 lower-case hex digits; the name of the blob.
        role: what it is for.
        sha256: 64 hex digits once learnt, else None. The Ollama and LFS name of the same bytes.
        gitsha1: 40 hex digits once learnt (small files), else None. The hub's name of a file that is not LFS.
        xet: 64 hex digits once learnt, else None. The name under which the hub's client shares a large file.
    """

    path: str
    bytes: int
    blake3: str
    role: Role
    sha256: str | None = None
    gitsha1: str | None = None
    xet: str | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of the weights, or the configuration beside them, says. None: it does not say.

    Attributes:
        architecture: `general.architecture` of a GGUF, `model_type` of a config.json.
        parameters: elements of all tensors, counted; of quantised safetensors as unpacked.
        context_length: tokens.
        chat_template: one is in the header or lies beside it.
        file_type: the number in a GGUF's `general.file_type`.
        tensors: how many.
        byte_order: "little" or "big".
        tokenizer: `tokenizer.ggml.model` and `.pre` joined by "/", or the tokenizer class.
        shards: how many files the header or index asks for; 1 when whole.
        name: `general.name`, a hint for people, never an identity.
        embedded_projector: the weights carry a vision or audio tower in the same file.
        classes: `architectures` of a config.json.
        vocabulary: entries in the vocabulary.
        tensor_types: how many tensors of each type, the most frequent first: (("Q4_K", 120), ("F32", 40)).
    """

    architecture: str | None = None
    parameters: int | None = None
    context_length: int | None = None
    chat_template: bool = False
    file_type: int | None = None
    tensors: int = 0
    byte_order: str = "little"
    tokenizer: str | None = None
    shards: int = 1
    name: str | None = None
    embedded_projector: bool = False
    classes: tuple[str, ...] = ()
    vocabulary: int | None = None
    embedding_length: int | None = None
    blocks: int | None = None
    tensor_types: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Where content came from; one content may have several.

    Attributes:
        kind: "hub", "registry", "url", "program" or "file" ("conversion" and others come with later formats: unknown
            kinds are kept).
        repository: `org/name` for the hub, `host/name:tag` for a registry; the address, without what follows a `?`.
        revision: 40 hex digits, the commit; for a registry 64, the manifest that the tag led to; for an address the
            SHA-256 of the file.
        program: the provider in whose folder it lay.
        name: what that program calls it, or the file's name; unique among all that lies in that program's folders.
        sidecars: what that program has written about the model beside the weights, (path relative to its root, text):
            Ollama's manifest with template and parameters, Jan's `model.yml`. Kept, so that what the person set there
            survives, and comes back when the model does. Sorted by path; at most 1 MiB of text.
    """

    kind: str
    repository: str | None = None
    revision: str | None = None
    program: str | None = None
    name: str | None = None
    sidecars: tuple[tuple[str, str], ...] = ()

    @property
    def origin(self) -> tuple[str, str | None, str | None, str | None]:
        """What tells it from every other source: two with one origin are one, at different times."""
        return self.kind, self.program, self.repository, self.name

    def described(self) -> dict[str, str]:
        """For people and programs: what is known of it, without the sidecars."""
        pairs = {"kind": self.kind, "repository": self.repository, "revision": self.revision,
                 "program": self.program, "name": self.name}
        return {key: value for key, value in pairs.items() if value is not None}


class Key(NamedTuple):
    """One variant of one model, by name. Ownership and hidden are keyed by (root, Key), never by digest."""

    model: str
    variant: str

    def __str__(self) -> str:
        return f"{self.model} ({self.variant})"


@dataclass(frozen=True, slots=True)
class Variant:
    """One loadable thing under its name, as layouts see it: everything about it but where its bytes lie.

    Attributes:
        key: model name and variant id (`format:quantization`, with `@<8 hex>` for a second one of the same id).
        manifest: digest of its manifest.
        format: how the bytes are to be read.
        quantization: "Q4_K_M", "BF16", "int4-g128", ...; "" when unknown.
        purpose: what it can do.
        header: what its header says.
        files: sorted by path.
        sources: where it came from, first the one that gave the name.
        pinned: stays at this version.
    """

    key: Key
    manifest: str
    format: Format
    quantization: str
    purpose: Purpose
    header: Header
    files: tuple[File, ...]
    sources: tuple[Source, ...] = ()
    pinned: bool = False

    @property
    def bytes(self) -> int:
        """Size of all files together, in bytes."""
        return sum(file.bytes for file in self.files)

    @property
    def weights(self) -> tuple[File, ...]:
        """The files that hold the model itself, shards in order; no projector."""
        return tuple(file for file in self.files if file.role is Role.WEIGHTS)

    @property
    def projectors(self) -> tuple[File, ...]:
        """The multimodal projectors beside it."""
        return tuple(file for file in self.files if file.role is Role.PROJECTOR)

    @property
    def hub(self) -> Source | None:
        """The repository and commit that it came from, if it came from the hub."""
        return next((s for s in self.sources if s.kind == "hub" and s.repository and s.revision), None)

    @property
    def registry(self) -> Source | None:
        """The registry's tag and manifest that it came from, if it came from a registry; the latest."""
        return next((s for s in reversed(self.sources) if s.kind == "registry" and s.repository and s.revision), None)


@dataclass(frozen=True, slots=True)
class Issue:
    """Something a person should know: what, where, and the command that mends it.

    Attributes:
        kind: "conflict", "unreadable", "incomplete", "quarantined", "away", "unsafe", ...
        path: the file or folder, absolute, or a model's name.
        message: one sentence without a full stop.
        remedy: what to do; may be empty.
    """

    kind: str
    path: str
    message: str
    remedy: str = ""
