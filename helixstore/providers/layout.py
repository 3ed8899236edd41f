"""The layout interface (entry-point group `helixstore.layouts.v1`): all that helixstore asks about one provider.

A layout is pure. It never writes to the disk, and it reads only through the `Reader` that it is given. It says where
the provider looks (`roots`), what it can load (`accepts`), which files it must find (`project`), and what already lies
there (`discover`). The engine compares that with the disk, and links, copies and removes; a layout cannot.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from helixstore.errors import UnsafeName
from helixstore.fs.names import check_relative, folded, unfinished
from helixstore.values import Format, Key, LinkKind, Source, Variant

if TYPE_CHECKING:
    from helixstore.formats import Inspection

__all__ = [
    "LINKS", "Body", "Copy", "Entry", "Env", "Facts", "Found", "Inner", "Layout", "Merge", "Pulled", "Reader",
    "Refusal", "Root", "Seen", "Text", "Weight", "sanitize", "unique_names",
]

#: The order for weights, unless a layout or the person says otherwise: one disk copy and one page cache come first.
LINKS: tuple[LinkKind, ...] = (LinkKind.HARD, LinkKind.SYMBOLIC, LinkKind.REFLINK)


@dataclass(frozen=True, slots=True)
class Seen:
    """One entry of a folder as a `Reader` lists it. Sizes in bytes, of the file that the name leads to.

    `kind` is "file", "folder", "link" (dangling or a cycle), or "other" (device, socket, pipe). `linked`: it is a link.
    """

    name: str
    path: Path
    kind: str
    bytes: int
    linked: bool


class Reader(Protocol):
    """The only eyes of a layout. Nothing raises: what cannot be read is recorded as an issue and left out."""

    def exists(self, path: Path) -> bool:
        """Whether the path leads to something readable."""
        ...

    def entries(self, folder: Path) -> list[Seen]:
        """What lies in the folder, sorted by name; [] when it is missing or unreadable."""
        ...

    def link(self, path: Path) -> str | None:
        """The text of the symbolic link at `path`, one hop; None when it is none."""
        ...

    def text(self, path: Path, limit: int = 1 << 20) -> str | None:
        """The file as UTF-8 text; None when missing, unreadable, or longer than `limit` bytes."""
        ...

    def models(
        self, folder: Path, depth: int = 0, again: bool = False, told: Collection[str] = ()
    ) -> list[Inspection]:
        """Every model in the folder and `depth` levels of folders below it (-1: all of them, links to folders apart).

        Shards are joined, a projector goes with the model it belongs to, a folder with a configuration is one model,
        names of unfinished downloads are left out, and what is cut or broken is recorded as an issue.

        Models that are known already, by their files alone, may be left out, unless the layout asks for them `again`:
        because something beside the files, such as a program's settings, says more about them. Of the paths that it has
        `told` of itself, as issues with a better remedy, nothing is recorded.
        """
        ...

    def model(self, path: Path) -> Inspection | None:
        """What one file is by its content alone, whatever it is called: a blob of a program's own store.

        None when there is none, or it is no model. What is cut or broken is recorded as an issue, and None too.
        """
        ...

    def settled(self, path: Path) -> bool:
        """Whether nothing new can be learnt of a file: helixstore made or adopted it, and it is as it was then.

        A model of such files alone need not be reported again. (`models` leaves it out by itself.)
        """
        ...

    def issue(self, kind: str, path: Path, message: str, remedy: str = "") -> None:
        """Record something that a person should know, and that is wrong."""
        ...

    def note(self, path: Path, message: str) -> None:
        """Record something that is right as it is, and why it stays where it is: a model that only this program reads.

        `message`: one clause without a full stop.
        """
        ...


@dataclass(frozen=True, slots=True)
class Env:
    """What a layout may know of the machine when it looks for roots.

    Attributes:
        home: the person's home folder, absolute.
        environ: environment variables.
        platform: "linux", "darwin" or "win32".
        farms: `<volume>/farms/<host>/<uid>`, absolute; a folder that helixstore owns for a provider lies in it.
        reader: for settings files and pointers.
        setting: the folder the person named for this provider (`providers.<p>.root`), absolute, or None.
    """

    home: Path
    environ: Mapping[str, str]
    platform: str
    farms: Path
    reader: Reader
    setting: Path | None = None

    def variable(self, *names: str) -> Path | None:
        """The first of these environment variables that is set and not empty, as a path with `~` expanded."""
        for name in names:
            if value := self.environ.get(name, "").strip():
                return self.expand(value)
        return None

    def expand(self, value: str) -> Path:
        """`value` as an absolute path, `~` being `home` and relative ones counted from it."""
        if value == "~" or value.startswith(("~/", "~" + os.sep)):
            return self.home / value[2:]
        return self.home / value

    @property
    def data(self) -> Path:
        """XDG_DATA_HOME, else `~/.local/share`."""
        return self.variable("XDG_DATA_HOME") or self.home / ".local" / "share"

    @property
    def config(self) -> Path:
        """XDG_CONFIG_HOME, else `~/.config`."""
        return self.variable("XDG_CONFIG_HOME") or self.home / ".config"

    @property
    def cache(self) -> Path:
        """XDG_CACHE_HOME, else `~/.cache`."""
        return self.variable("XDG_CACHE_HOME") or self.home / ".cache"


@dataclass(frozen=True, slots=True)
class Root:
    """One folder that a provider reads.

    Attributes:
        path: absolute. Two providers that name the same path share the root: their entries are joined.
        origin: where the path is known from, for people: "OLLAMA_MODELS", "settings.json of LM Studio", "default".
        owned: the folder is helixstore's own, under `Env.farms`; else it is the program's.
        label: tells several roots of one provider apart ("", "mmproj", "hub"); unique within the provider.
        present: what must exist for the program to count as installed; empty: the root itself.
        forbid: why nothing may be projected here (a system service of another user, ...), or "".
        cache: the program's own cache of content, named by its hash. What lies there already is as good as ours and
            stays; a folder that is gone is no loss; entries need no witness, since nothing there shows a model.
    """

    path: Path
    origin: str
    owned: bool = False
    label: str = ""
    present: tuple[Path, ...] = ()
    forbid: str = ""
    cache: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What a layout may know of the machine when it decides.

    Attributes:
        platform: "linux", "darwin" or "win32".
        machine: "x86_64", "arm64", ...
        namespace: the `local_namespace` for names that are not on any hub.
        version: the program's version, if known.
        gpu: "cuda", "rocm", "metal" or "none", when it is asked whether a model can run on this very computer; "": not
            looked at, as when models are only shown, to a program that may run on another one.
    """

    platform: str
    machine: str
    namespace: str
    version: str | None = None
    gpu: str = ""

    @property
    def apple_silicon(self) -> bool:
        """A Mac whose GPU shares the memory, which MLX needs."""
        return self.platform == "darwin" and self.machine in ("arm64", "aarch64")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a provider cannot load a variant.

    Attributes:
        reason: one clause, for people: "split GGUF cannot be served from Ollama's blobs".
        wants: formats into which a conversion would help; empty when none would.
    """

    reason: str
    wants: tuple[Format, ...] = ()


#: `merge(base, theirs, ours)`: base is what we wrote last (None: never), theirs what lies there now (None: nothing),
#: ours what we would write. Returns the bytes to write, or None when it cannot be merged (a conflict).
Merge = Callable[[bytes | None, bytes | None, bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class Weight:
    """Weights: a link to a blob, by the first kind in `kinds` that works there."""

    blob: str
    bytes: int
    kinds: tuple[LinkKind, ...] = LINKS


@dataclass(frozen=True, slots=True)
class Copy:
    """A small file that people or programs edit: a reflink or copy of a blob, never its inode."""

    blob: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Text:
    """A sidecar, always a regular file. `merge` None: any foreign change is a conflict."""

    data: bytes
    merge: Merge | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Inner:
    """A relative symbolic link to another entry of the same root, such as the hub cache's snapshot entries."""

    target: str


Body = Weight | Copy | Text | Inner


@dataclass(frozen=True, slots=True)
class Entry:
    """One name that must exist in a root.

    Attributes:
        path: POSIX, relative to the root. All folders on the way are real ones.
        body: what it is.
        key: the variant it belongs to; None when it covers the whole root (a preset file).
        witness: this entry's absence, and only this one's, means that the person deleted the model there.
        order: entries are made in ascending order and removed in descending order: links 0, sidecars 1, lists 2.
    """

    path: str
    body: Body
    key: Key | None
    witness: bool = False
    order: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A model that already lies in a root, as `discover` reports it.

    Attributes:
        inspection: what its files are, with their absolute paths.
        source: repository and revision, or program and name.
        name: the model name that follows from it (format.md, "Names"), not yet made unique.
        files: paths relative to the model -> absolute paths, where the program's own names differ from those in
            `inspection` (hash-named blobs); empty when they do not.
        claims: paths relative to the model -> the alias (SHA-256 or git-SHA-1, hex) that the program's own names claim
            for the content. Intake hashes the files, and keeps a `hub` source only if every claim holds and every file
            has one; otherwise the source becomes `program` with the same name. A claim is never taken for an alias.
        kin: repositories of the hub that are the same model in other forms, as the catalogue has it: what came from
            there is the model that this joins.
    """

    inspection: Inspection
    source: Source
    name: str
    files: Mapping[str, Path] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)
    kin: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a program would have of a model of a registry, had it pulled it itself.

    Attributes:
        source: its name there, with all that it writes beside the weights.
        name: the model name that follows from it.
        stem: how the name of the weights' file begins.
    """

    source: Source
    name: str
    stem: str


class Layout(ABC):
    """One provider. Stateless; the same instance serves every call."""

    #: the provider's name on the command line and in JSON
    name: ClassVar[str]
    #: the program's own name, for people
    title: ClassVar[str]
    #: versions of the program whose source or behaviour this layout was checked against
    checked: ClassVar[tuple[str, ...]]
    #: formats that the program can load, the best first; details are `accepts`'s
    formats: ClassVar[tuple[Format, ...]]
    #: what makes a running program see a change, for people; "" when nothing is needed
    refresh: ClassVar[str] = ""
    #: aliases of blobs that `project` needs: "sha256", "gitsha1", "xet"; they are computed before it is called, but
    #: "xet" stays None for small files and where no hard link from the store to the root can be
    aliases: ClassVar[frozenset[str]] = frozenset()
    #: whether the program's list bears a link that leads nowhere; where it does not, no link goes to a disk that may
    #: be taken away
    bears_dangling: ClassVar[bool] = False
    #: the program must be told its folder at start: the argument list, with {root} standing for the root's path
    launch: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def roots(self, env: Env) -> Sequence[Root]:
        """Where the program looks, the place for new projections first. Reads only through `env.reader`."""

    @abstractmethod
    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """None when the program can load it, else why not. Never looks at the disk."""

    @abstractmethod
    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """What must lie in `root` so that the program sees these variants, all of which it accepts.

        All at once, because names must be unique in a flat folder and some sidecars cover the whole root. The same
        input gives the same entries, in any order; adding a variant must not rename another's entries unless their
        names collide.
        """

    def alike(self, variant: Variant) -> Collection[str] | None:
        """Words, of which a variant has one in common with every other that `project` may heed in its entries.

        Mostly the names that it would like to have, in a form in which all that could collide are equal; too many words
        do no harm. Where a new model is like few others, `project` is asked about these alone, and what it wants enters
        what was known. None, the default: any other may matter, so that `project` is always asked about all.
        """
        return None

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """The models that lie in `root`, whoever put them there. By default nothing is looked for.

        Not asked of a root that is, to the last name, as helixstore left it.
        """
        yield from ()

    def in_use(self, path: Path, reader: Reader) -> bool | None:
        """Whether the program itself now relies on a file that we put into its cache (`Root.cache`).

        While it does, the file is left to the program when we want it no more; `leave` takes it away when it does
        not. None, the default: no cache, the file is a part of a model.
        """
        return None

    def published(self, name: str, sha256: str) -> str:
        """Where the program itself gets a file of the model that it calls `name`, and anybody may read it by ranges; ""
        where that is nowhere, or is not known.

        Asked only to bring damaged bytes back, when nothing on this computer has them; what comes is proven.

        Args:
            name: as `Source.name`.
            sha256: of the file, hex.

        Returns:
            An address, https but on this computer.
        """
        return ""

    def pulled(self, host: str, repository: str, tag: str, manifest: str, texts: Mapping[str, str]) -> Pulled | None:
        """What the program would have of a model in the form of its own registry, had it pulled it itself; None, the
        default: it has no such form.

        Args:
            host, repository, tag: where the model is.
            manifest: as it is there.
            texts: SHA-256 of each small blob that it names -> its content.

        Raises:
            HelixError: nobody else can use the model; the message says why.
        """
        return None

    def drifted(self, root: Root, reader: Reader) -> str:
        """Why `root` cannot be what the versions in `checked` keep their models in, one clause; "" while it can.

        For a sign that is certain and found by listing a few folders: another structure, another program's folder.
        While it is there nothing is taken in, made or removed in the root. By default no sign is known.
        """
        return ""

    def left_of(self, path: str, text: bytes, gone: Callable[[str], bool]) -> bytes | None:
        """What is left of a sidecar of ours in which somebody else has written too, now that it is not wanted any more.

        Args:
            path: relative to the root.
            text: what lies there.
            gone: whether a path, absolute or relative to the root, was of our making and goes away with it.

        Returns:
            The text without what is ours; b"" when it told of nothing else, so that it goes too. None, by default, when
            it is the person's now and stays as it is.
        """
        return None

    def needed(self, root: Path, reader: Reader) -> Mapping[str, Collection[str]]:
        """Which files of the root other files there name: path -> the paths of those that do, all relative.

        Of what we made, nothing is taken away that a file needs which stays: the person's own, made from ours. By
        default each model stands by itself.
        """
        return {}

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """Delete the model's files as the program's own delete does; used by tests only. By default: not known."""
        raise LookupError(f"{self.title} has no delete of its own")


def sanitize(name: str, allowed: str = "-_.", replacement: str = "-", limit: int = 80) -> str:
    """`name` as the beginning of a file name, or as a folder's, that the program and every system take; never empty.

    Args:
        name: any text.
        allowed: the characters, besides ASCII letters and digits, that the program's rules permit.
        replacement: one permitted character.
        limit: length in characters.

    It begins and ends with neither a dot nor a hyphen, and is no device of Windows's and no half of a download. The
    result alone is not unique: use `unique_names` where several names share a folder.
    """
    kept = "".join(c if (c.isascii() and c.isalnum()) or c in allowed else replacement for c in name)
    kept = kept[:limit].strip(".- ") or "model"
    try:
        check_relative(kept)
    except UnsafeName:
        return f"model-{kept}"
    return f"model-{kept}" if unfinished(f"{kept}.gguf") else kept


def unique_names(
    wanted: Mapping[Key, str], digests: Mapping[Key, str], limit: int = 250, fixed: Mapping[Key, str] | None = None
) -> dict[Key, str]:
    """File or folder names that differ even where case is folded; a name that is alone stays as wanted.

    Args:
        wanted: the name each variant would like, already free of characters that the program forbids.
        digests: hex, one per variant: the first eight digits tell colliding names apart, so that the name does not
            depend on which others are there in which order.
        limit: length in characters.
        fixed: names that stay as they are, since the model lies there under them; they win over `wanted`.
    """
    asked = {**wanted, **(fixed or {})}
    taken: dict[str, list[Key]] = {}
    for key, name in asked.items():
        taken.setdefault(folded(name), []).append(key)
    return {
        key: name if len(taken[folded(name)]) == 1 else f"{name[: limit - 9]}-{digests[key][:8]}"
        for key, name in asked.items()
    } | dict(fixed or {})
