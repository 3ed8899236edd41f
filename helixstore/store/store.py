"""One store: a folder of plain files that is the truth about which models there are."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from helixstore.errors import NotFound, StoreError, StoreTooNew, advice
from helixstore.fs import folders, kernel
from helixstore.fs.listing import listdir
from helixstore.store import records
from helixstore.store.blobs import Blobs
from helixstore.store.host import Host
from helixstore.store.hosts import Hosts
from helixstore.store.keeps import Keeps
from helixstore.store.manifests import Manifests
from helixstore.store.quarantine import Quarantine
from helixstore.store.refs import Refs
from helixstore.store.roots import Roots
from helixstore.store.saved import Saved
from helixstore.store.sharing import Sharing, closed, give
from helixstore.store.staging import Staging
from helixstore.store.volumes import Volumes

__all__ = ["FORMAT", "Store"]

#: of the store as a whole; a change that an older version would spoil gets a feature's name instead, where it can
FORMAT = 1
#: features that this version understands, by how far one that does not may go
_KNOWN: dict[str, frozenset[str]] = {"ro_compat": frozenset(), "incompat": frozenset()}
_FANNED = ("blobs", "meta", "manifests")                # each with all 256 folders
_PLAIN = ("refs", "hosts", "forgotten", "condemned", "trash", "quarantine", "staging")
#: what the first who needs it makes in a store of their own, and what `init` makes for a group
_LATER = ("volumes", "farms")
#: what may lie in a folder that becomes a store: what a new disk has, and what an interrupted `create` left
_HARMLESS = frozenset({"lost+found", ".DS_Store", "README", *_FANNED, *_PLAIN, *_LATER})

_README = """\
These are models: please do not delete or change anything here by hand.

Several programs on this machine (Ollama, LM Studio, llama.cpp, vLLM, ...) read their models from this folder, through
links that helixstore made. Each file under blobs/ is one file of a model, named by its BLAKE3 digest; b3sum tells
whether it is intact. Which model consists of which files is in manifests/, and what it is called in refs/: both are
JSON, for jq.

    helixstore list             what there is
    helixstore du               what it costs, and what it saves
    helixstore remove MODEL     to free space, then: helixstore gc
    helixstore leave            to turn every link back into an ordinary file; this folder can be deleted afterwards

Without helixstore: `cp` of a file under blobs/ gives the file of the model. Back up everything but staging/ and trash/.
"""


class Store:
    """An open store. Holds no lock and no descriptor; safe from threads; may be used after fork.

    Attributes:
        path: absolute.
        id: random, made once.
        host: who writes.
        read_only: nothing may be changed; `read_only_reason` says why.
        blobs, manifests, refs, keeps, roots, hosts, saved, quarantine: its parts.
        volumes: the other disks that it lies on.
        sharing: one person's, or a group's; makes its folders.
    """

    def __init__(self, path: Path, host: Host, description: Mapping[str, Any], read_only_reason: str = "") -> None:
        self.path = path
        self.host = host
        self.id: str = description["store_id"]
        self.read_only_reason = read_only_reason
        root = str(path)
        self.staging = Staging(root, host, self._may_write)
        self.quarantine = Quarantine(root, self.working)
        self.sharing = _sharing(root, description)
        self.volumes = Volumes(root, self.id, host)
        self.blobs = Blobs(root, host, self.working, self.quarantine, self.volumes, self.sharing)
        self.manifests = Manifests(root, self.working)
        self.refs = Refs(root, host, self.working, self.sharing)
        self.hosts = Hosts(root, host, self.working, self.sharing)
        self.keeps = Keeps(root, host, self.working, self.sharing)
        self.roots = Roots(root, host, self.working, self.sharing, self._over)
        self.saved = Saved(root, host, self.working, self.sharing)

    @classmethod
    def create(cls, path: Path, host: Host, group: str = "") -> Store:
        """Make a store in an empty or missing folder, or open the one that is there.

        Args:
            path: its folder.
            host: who makes it.
            group: the name of the group that fills it together; "" for a store that is one person's.

        Raises:
            StoreError: the folder holds something else, or cannot be made, or may not be given to that group.
            StoreTooNew: there is one, of a later version.
        """
        path = Path(os.path.abspath(path))
        try:
            if group and not path.exists():
                for parent in [one for one in reversed(path.parents) if not one.exists()]:
                    folders.make_folder(str(parent), 0o755)     # a person's umask must not keep the others out
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
            names = set(listdir(path))
            if "store.json" not in names:
                if foreign := sorted(names - _HARMLESS):
                    raise StoreError(f"{path} is not empty: it holds {foreign[0]!r}", "choose an empty folder", path)
                _make(str(path), host, group)
        except OSError as error:
            raise StoreError(f"no store can be made in {path}: {error.strerror or error}",
                             advice(error, "choose another folder"), path) from error
        store = cls.open(path, host)
        if not store.read_only:
            store.register()
        return store

    @classmethod
    def open(cls, path: Path, host: Host) -> Store:
        """Open a store; reads one small file and writes nothing.

        Raises:
            NotFound: there is no store.
            StoreTooNew: it has what this version does not understand; the message names it.
            StoreError: its description cannot be read.
        """
        path = Path(os.path.abspath(path))
        try:
            description, _ = records.read_record(str(path / "store.json"))
        except FileNotFoundError:
            raise NotFound(f"there is no store in {path}", "if there was one: mount its disk, or say where it is now "
                           f"(--store DIR); to make a new one: helixstore init --store {path}", path) from None
        except OSError as error:
            if isinstance(error.__cause__, PermissionError):
                raise closed(str(path)) from error
            raise StoreError(str(error), "restore store.json from a backup", path) from error
        if not isinstance(description.get("store_id"), str) or not isinstance(description.get("format"), int):
            raise StoreError(f"{path}/store.json is damaged", "restore it from a backup", path)
        if description["format"] > FORMAT:
            raise StoreTooNew(f"the store in {path} has format {description['format']}, this version knows {FORMAT}",
                              "upgrade helixstore", path)
        features = description.get("features", {})
        if unknown := _unknown(features, "incompat"):
            raise StoreTooNew(f"the store in {path} uses what this version does not know: {unknown}",
                              "upgrade helixstore", path)
        reason = ""
        if unknown := _unknown(features, "ro_compat"):
            reason = f"it uses what this version does not know: {unknown}"
        elif not os.access(path / "staging", os.W_OK | os.X_OK):
            reason = "there is no permission to write in it"
        return cls(path, host, description, reason)

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether there is a store in a folder, also one that is not for this person: opening it says who is let in."""
        try:
            os.stat(folder / "store.json")
        except PermissionError:
            return True
        except OSError:
            return False
        return True

    @property
    def read_only(self) -> bool:
        """Whether nothing may be changed."""
        return bool(self.read_only_reason)

    def working(self) -> AbstractContextManager[str]:
        """A staging folder while the block runs; hold it over a whole operation. See `Staging.working`."""
        if not self.read_only:
            self.hosts.renew()
        return self.staging.working()

    def register(self) -> None:
        """Make this person's and host's folders in the store; done again, it does nothing."""
        person = f"{self.host.id}/{self.host.uid}"
        with self.working() as staging:
            farms = [f"farms/{person}"] if self.sharing.shared else []
            for folder in (f"hosts/{person}/keeps", f"hosts/{person}/roots", *farms, f"refs/{person}"):
                below = f"{self.path}/{folder.partition('/')[0]}"
                self.sharing.own(f"{self.path}/{folder}", below)
            self.hosts.introduce(staging)

    @property
    def registered(self) -> bool:
        """Whether `register` was done."""
        return os.path.isdir(f"{self.path}/refs/{self.host.id}/{self.host.uid}")

    def now_ns(self) -> int:
        """`clock_ns`, or this host's own clock where nothing may be written."""
        return time.time_ns() if self.read_only else self.clock_ns()

    def clock_ns(self) -> int:
        """Now by the store's own clock, which may be a server's: the mtime of a file just made there."""
        with self.working() as staging:
            name = os.path.join(staging, f"clock-{secrets.token_hex(6)}")
            descriptor = kernel.create(name)
            try:
                return os.fstat(descriptor).st_mtime_ns
            finally:
                os.close(descriptor)
                kernel.unlink(name)

    def _over(self, host: str, uid: int, since_ns: int) -> bool:
        """Whether what somebody claimed then counts no more."""
        return self.hosts.expiry(self.now_ns).over(host, uid, since_ns)

    def _may_write(self) -> None:
        if self.read_only_reason:
            raise StoreError(f"the store in {self.path} is read only here: {self.read_only_reason}",
                             "upgrade helixstore, or ask the owner of the store", self.path)


def _unknown(features: Any, kind: str) -> str:
    """Names of the features that this version does not understand, with the version that brought them."""
    given = features.get(kind) if isinstance(features, dict) else None
    if given is None:
        return ""
    if not isinstance(given, (dict, list)):
        return f"features.{kind}"
    names = sorted(str(name) for name in given if name not in _KNOWN[kind])
    since = given if isinstance(given, dict) else {}
    return ", ".join(f"{name} (helixstore {since[name]} or later)" if since.get(name) else name for name in names)


def _sharing(root: str, description: Mapping[str, Any]) -> Sharing:
    told = description.get("shared")
    return Sharing(root, isinstance(told, dict), str(told.get("group", "")) if isinstance(told, dict) else "")


def _make(root: str, host: Host, group: str) -> None:
    """Every folder, the README, and last the description, without which it is no store yet."""
    sharing = Sharing(root, bool(group), group)
    if group:
        give(root, group)
    for kind in (*_FANNED, *_PLAIN, *(_LATER if group else ())):
        sharing.common(f"{root}/{kind}")
    for kind in _FANNED:
        for number in range(256):
            sharing.common(f"{root}/{kind}/{number:02x}")
    for kind in _FANNED:
        kernel.sync_folder(f"{root}/{kind}")
    description: dict[str, Any] = {"schema": records.SCHEMA, "store_id": secrets.token_hex(16), "format": FORMAT,
                                   "features": {"compat": {}, "ro_compat": {}, "incompat": {}}}
    if group:
        description["shared"] = {"group": group}
    with Staging(root, host, lambda: None).working() as staging:
        records.publish_all(staging, [(f"{root}/README", _README.encode())], 0o644)
        records.publish_all(staging, [(f"{root}/store.json", records.canonical(description) + b"\n")])
