"""Volumes: other disks that hold blobs of the store, where each is on this host, and which blob lies on which.

    <store>/volumes/<id>.json                   that there is such a volume, for every host
    <store>/hosts/<host>/volumes/<id>.json      where it is on this host; detached or not; whether links may go to it
    <store>/volumes/<id>.blobs                  the digests that were on it when it was last seen, one a line: a hint
    <volume>/volume.json                        {store_id, volume_id}: proof that the disk is there and is the right one
    <volume>/blobs/<2 hex>/<digest>             as in the store itself; beside it staging/, trash/, farms/
    <volume>/references/<2 hex>/<digest>.json   instead of blobs, where a file system has no links: where the file lies

What is on a volume is learnt by listing it, folder by folder as they change; nothing is written down that a second
disk could contradict. A volume whose `volume.json` cannot be read, or is another's, is *away*: nothing on it is used,
and nothing is concluded from its absence. With no volume at all this costs one look for a folder that is not there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from helixstore.errors import Ambiguous, HelixError, NotFound
from helixstore.fs import kernel
from helixstore.fs.listing import listdir
from helixstore.fs.mounts import mount_of, unsettled_ns
from helixstore.store import records
from helixstore.store.host import Host
from helixstore.store.staging import Staging

__all__ = ["MAIN", "Place", "Volume", "Volumes"]

#: the id and name of the store's own folder, where it is named among the volumes
MAIN = "main"
_RACY_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Volume:
    """One disk's part of the store.

    Attributes:
        id: random, made once; "main" for the store's own folder.
        name: for people.
        path: its folder on this host, absolute; "" where it was never attached to this host.
        refers: its file system has no links: it names files where they lie.
        always: symbolic links to it may lie in every program's folder; else only where a dangling one does no harm.
        detached: the person has taken leave of it; it is not used until they add it again.
        away: why it cannot be used now; "" when it is here.
    """

    id: str
    name: str
    path: str
    refers: bool = False
    always: bool = True
    detached: bool = False
    away: str = ""

    def blob(self, digest: str) -> str:
        """Where the blob lies or would lie on it; for one that refers, the note of where the file is."""
        folder, end = ("references", ".json") if self.refers else ("blobs", "")
        return f"{self.path}/{folder}/{records.check_digest(digest)[:2]}/{digest}{end}"


class Place(NamedTuple):
    """One copy of a blob on a volume. `bytes` and `mtime_ns` of a file that is only referred to, else -1."""

    volume: Volume
    path: str
    bytes: int = -1
    mtime_ns: int = -1

    @property
    def holds(self) -> bool:
        """Whether the file is there and, if it is the person's own, as it was when it was hashed."""
        try:
            status = os.stat(self.path)
        except OSError:
            return False
        return self.bytes == -1 or (status.st_size == self.bytes and abs(status.st_mtime_ns - self.mtime_ns) < _RACY_NS)


class Volumes:
    """The volumes of one store as this host sees them. Reads only; `attach` makes and changes them."""

    def __init__(self, root: str, store_id: str, host: Host) -> None:
        self.main = Volume(MAIN, MAIN, root)
        self.registry = f"{root}/volumes"
        self.paths = f"{root}/hosts/{host.id}/volumes"
        self._store_id, self._host = store_id, host
        self._known: tuple[Volume, ...] | None = None
        self._far: dict[str, tuple[Place, ...]] = {}
        self._listed: dict[tuple[Volume, str], tuple[int, dict[str, Place]]] = {}
        self._near: dict[str, Volume | None] = {}
        self._stagings: dict[str, Staging] = {}
        self._seen: dict[str, frozenset[str]] = {}

    # ---- which there are -------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look again which volumes are here, and what lies on them; folders that have not changed are not listed."""
        try:
            names = sorted(listdir(self.registry))
        except FileNotFoundError:
            names = []
        self._known = tuple(self._read(name[:-5]) for name in names if name.endswith(".json"))
        self._near.clear()
        self._seen.clear()
        far: dict[str, list[Place]] = {}
        for volume in self._known:
            for place in () if volume.away else self._blobs_on(volume):
                far.setdefault(place[0], []).append(place[1])
        self._far = {digest: tuple(places) for digest, places in far.items()}

    @property
    def attached(self) -> tuple[Volume, ...]:
        """Every volume that the store has beside its own folder, here or away."""
        if self._known is None:
            self.refresh()
        return self._known or ()

    @property
    def here(self) -> tuple[Volume, ...]:
        """Those that can be used now, the store's own folder first."""
        return (self.main, *(volume for volume in self.attached if not volume.away))

    @property
    def away(self) -> tuple[Volume, ...]:
        """Those that cannot be used now."""
        return tuple(volume for volume in self.attached if volume.away)

    def missing(self, digest: str) -> tuple[Volume, ...]:
        """The volumes that are away and may hold a blob that is nowhere else: those that had it when they were last
        seen, or, where that is not known of any, all of them."""
        away = self.away
        return tuple(volume for volume in away if digest in self.last_seen(volume)) or away

    def last_seen(self, volume: Volume) -> frozenset[str]:
        """The digests that were on a volume when this host or another last used it."""
        if volume.id not in self._seen:
            found: frozenset[str] = frozenset()
            name = f"{self.registry}/{volume.id}.blobs"
            with suppress(OSError, UnicodeDecodeError):
                found = frozenset(records.read_small(name)[0].decode("ascii").split())
            self._seen[volume.id] = found
        return self._seen[volume.id]

    def note(self, staging: str) -> None:
        """Keep what is on the volumes that are here, for when they are not. `staging`: a folder of the store's."""
        for volume in self.here[1:]:
            now = frozenset(digest for digest, places in self.far.items() if any(p.volume == volume for p in places))
            if now != self.last_seen(volume):
                with suppress(PermissionError):         # another person's note: a hint is all it is
                    kernel.replace_file(f"{self.registry}/{volume.id}.blobs", "\n".join(sorted(now)).encode(), 0o644,
                                        durable=False, temporary_folder=staging)
                    self._seen[volume.id] = now

    def find(self, word: str) -> Volume:
        """A volume by its id or the beginning of it, its name, or a path on it; "main" is the store's own folder.

        Raises:
            NotFound: there is none.
            Ambiguous: two have that name.
        """
        every = (self.main, *self.attached)
        place = os.path.realpath(word)
        found = [v for v in every if word == v.id or word == v.name or (v.path and os.path.realpath(v.path) == place)]
        if not found and len(word) > 3:
            found = [volume for volume in every if volume.id.startswith(word)]
        if not found and os.sep in word and (near := self.near(place)) is not None:
            found = [near]
        if not found:
            raise NotFound(f"no volume of this store is called {word}", "helixstore volume list")
        if len(found) > 1:
            raise Ambiguous(f"{word} means {len(found)} volumes: {', '.join(v.id[:8] for v in found)}",
                            "name one by its id: helixstore volume list")
        return found[0]

    def near(self, path: str) -> Volume | None:
        """The volume on the disk that a path lies on; None where there is none, since links do not cross disks."""
        folder = os.path.dirname(path)
        if folder not in self._near:
            here = mount_of(path).id
            self._near[folder] = next((v for v in self.here if mount_of(v.path).id == here), None)
        return self._near[folder]

    def _read(self, name: str) -> Volume:
        """One volume with how it stands here; a record that cannot be read is a volume that is away."""
        try:
            shared, _ = records.read_record(f"{self.registry}/{name}.json")
            refers, title = bool(shared.get("refers")), str(shared.get("name") or name[:8])
        except (HelixError, OSError) as error:
            return Volume(name, name[:8], "", away=f"what is known of it cannot be read: {error}")
        try:
            own, _ = records.read_record(f"{self.paths}/{name}.json")
        except FileNotFoundError:
            return Volume(name, title, "", refers, away="it was never attached to this computer")
        except (HelixError, OSError) as error:
            return Volume(name, title, "", refers, away=f"where it is cannot be read: {error}")
        path, always, detached = str(own.get("path", "")), bool(own.get("always")), bool(own.get("detached"))
        away = "it was detached" if detached else self.check(path, name)
        return Volume(name, title, path, refers, always, detached, away)

    def check(self, path: str, name: str) -> str:
        """Why the folder is not that volume; "" when it is. An empty mount point is not a volume."""
        try:
            record, _ = records.read_record(f"{path}/volume.json")
        except FileNotFoundError:
            return f"{path} is not there" if not os.path.isdir(path) else f"the disk is not mounted at {path}"
        except (HelixError, OSError) as error:
            return f"{path} cannot be read: {error}"
        if record.get("store_id") != self._store_id:
            return f"a volume of another store lies at {path}"
        return "" if record.get("volume_id") == name else f"another volume of this store lies at {path}"

    # ---- what lies on them -----------------------------------------------------------------------------------------

    @property
    def far(self) -> Mapping[str, tuple[Place, ...]]:
        """Digest -> its copies on the volumes that are here, beside one that may lie in the store's own folder."""
        if self._known is None:
            self.refresh()
        return self._far

    def look(self, digest: str) -> tuple[Place, ...]:
        """The copies of one blob, looked for now: another process may have put it there."""
        found = tuple(place for volume in self.attached if not volume.away
                      if (place := self._place(volume, digest)) is not None and place.holds)
        if found:
            self._far[digest] = found
        else:
            self._far.pop(digest, None)
        return found

    def staging(self, volume: Volume) -> Staging:
        """Where files wait on a volume before they get their names there."""
        if volume.path not in self._stagings:
            self._stagings[volume.path] = Staging(volume.path, self._host, lambda: None)
        return self._stagings[volume.path]

    def parking(self, volume: Volume) -> str:
        """Where replaced copies wait for a day on a volume's disk."""
        return f"{volume.path}/farms/{self._host.id}/{self._host.uid}/parked"

    def _blobs_on(self, volume: Volume) -> list[tuple[str, Place]]:
        found: list[tuple[str, Place]] = []
        now, young = time.time_ns(), unsettled_ns(volume.path)
        for number in range(256):
            prefix = f"{number:02x}"
            folder = os.path.dirname(volume.blob(prefix + "0" * 62))
            try:
                changed = os.stat(folder).st_mtime_ns
            except OSError:
                continue
            key = (volume, prefix)                      # as it is now: what is allowed with it may have changed
            known = self._listed.get(key)
            if known is None or known[0] != changed or now - changed < young:
                places = {}
                for name in listdir(folder):
                    digest = name.removesuffix(".json") if volume.refers else name
                    if records.is_digest(digest) and (place := self._place(volume, digest)) is not None:
                        places[digest] = place
                known = self._listed[key] = (changed, places)
            found += known[1].items()
        return found

    def _place(self, volume: Volume, digest: str) -> Place | None:
        note = volume.blob(digest)
        if not volume.refers:
            return Place(volume, note)
        with suppress(HelixError, OSError, KeyError, TypeError, ValueError):
            record, _ = records.read_record(note)
            path = os.path.normpath(os.path.join(volume.path, record["path"]))
            if path.startswith(mount_of(volume.path).point.rstrip("/") + "/"):      # never off the disk
                return Place(volume, path, int(record["bytes"]), int(record["mtime_ns"]))
        return None
