"""Making a volume on a disk, saying where it is on this host, taking leave of it, and giving it up."""

from __future__ import annotations

import os
import secrets
import sys
from contextlib import suppress
from dataclasses import replace

from helixstore.errors import Failed, HelixError, StoreError, advice
from helixstore.fs import kernel
from helixstore.fs.listing import listdir, walk
from helixstore.fs.mounts import Mount, mount_of
from helixstore.fs.probe import probe
from helixstore.store import records
from helixstore.store.store import Store
from helixstore.store.volumes import MAIN, Volume
from helixstore.values import LinkKind

__all__ = ["attach", "detach", "folder_for", "forget", "prospect", "removable"]

_FOLDERS = ("staging", "trash", "farms")
_HARMLESS = frozenset({"lost+found", ".Trash-0", "System Volume Information", ".DS_Store"})
#: where desktops mount what is plugged in
_PLUGGED = ("/media/", "/run/media/", "/Volumes/")

_README = """\
These are models: please do not delete or change anything here by hand.

This folder is a part of a helixstore store that lies on another disk: store.json of that store has the id that
volume.json here names. Files under blobs/ are files of models, named by their BLAKE3 digest; programs read them through
links. Files under references/ only say where on this disk a file of a model lies.

    helixstore volume list             what lies here
    helixstore volume move MODEL main  to take a model off this disk
    helixstore volume detach DIR       before it is unplugged for long
    helixstore volume remove DIR       to give it up
"""


def folder_for(path: str) -> str:
    """The folder that a volume gets when the person names `path`, a disk or a folder on it: `path` itself if it is a
    volume, missing, or an empty folder that is not the top of a disk; else a folder in it."""
    path = os.path.abspath(path)
    if os.path.exists(f"{path}/volume.json"):
        return path
    inside = os.path.join(path, "helixstore")
    if os.path.exists(f"{inside}/volume.json") or os.path.ismount(path):
        return inside
    return inside if os.path.isdir(path) and set(listdir(path)) - _HARMLESS else path


def removable(mount: Mount) -> bool:
    """Whether the disk may be taken away while this computer runs: a share, or what the kernel calls removable."""
    if mount.network or mount.point.startswith(_PLUGGED):
        return True
    if not sys.platform.startswith("linux") or not mount.source.startswith("/dev/"):
        return False
    try:
        number = os.stat(mount.source).st_rdev
    except OSError:
        return False
    device = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if "/usb" in device:
        return True
    for folder in (device, os.path.dirname(device)):            # of a partition, its disk says it
        with suppress(OSError, ValueError), open(f"{folder}/removable", "rb") as file:
            return int(file.read()) == 1
    return False


def prospect(store: Store, path: str, name: str | None = None, always: bool | None = None) -> Volume:
    """What `attach` would make or take up, found out without writing: but for a look at what links the disk allows.

    Raises:
        StoreError: a volume cannot lie there; the message says why.
    """
    folder = folder_for(path)
    mount = mount_of(folder)
    if mount.id == mount_of(store.path).id:
        raise StoreError(f"{folder} is on the disk of the store itself", "name a folder on another disk", folder)
    known = _there(store, folder)
    for other in store.volumes.here[1:]:
        if other.id != known and mount_of(other.path).id == mount.id:
            raise StoreError(f"{other.path} is a volume on that disk already", f"helixstore volume add {other.path}",
                             folder)
    before = next((v for v in store.volumes.attached if v.id == known), None) if known else None
    careful = removable(mount) if before is None else not before.always
    refers = before.refers if before is not None else not _links(folder)
    title = name or (before.name if before is not None else _title(folder, mount))
    return Volume(known, title, folder, refers, not careful if always is None else always)


def attach(store: Store, volume: Volume) -> Volume:
    """Make the volume that `prospect` described, or take up one that is there; done again, it does nothing more.

    The disk's own proof is written last on the disk and first of all on the store's side, so that a crash leaves
    either nothing that counts, or a volume that the next `volume add` takes up.

    Raises:
        StoreError: it cannot be made there.
    """
    made = replace(volume, id=volume.id or secrets.token_hex(16))
    try:
        os.makedirs(os.path.dirname(made.path), exist_ok=True)
        for folder in ("", *_FOLDERS, os.path.basename(os.path.dirname(os.path.dirname(made.blob("0" * 64))))):
            _common(store, f"{made.path}/{folder}".rstrip("/"))
        for number in range(256):
            _common(store, os.path.dirname(made.blob(f"{number:02x}" + "0" * 62)))
        with store.working(), store.volumes.staging(made).working() as staging:
            records.publish_all(staging, [(f"{made.path}/README", _README.encode())], 0o644)
            records.publish_all(staging, [(f"{made.path}/volume.json", records.canonical(
                {"schema": records.SCHEMA, "store_id": store.id, "volume_id": made.id}) + b"\n")])
    except OSError as error:
        if isinstance(error, HelixError):
            raise
        raise StoreError(f"no volume can be made in {made.path}: {error.strerror or error}",
                         advice(error, "choose another folder"), made.path) from error
    with store.working() as staging:
        store.sharing.common(store.volumes.registry)
        records.publish_all(staging, [(f"{store.volumes.registry}/{made.id}.json", records.canonical(
            {"schema": records.SCHEMA, "name": made.name, "refers": made.refers}))])
    _write(store, made)
    store.volumes.refresh()
    return store.volumes.find(made.id)


def _common(store: Store, path: str) -> None:
    """A folder of a volume, which whoever fills the store fills too; its own folder may be another's, and right."""
    store.sharing.common(path)
    if store.sharing.shared and not os.access(path, os.W_OK | os.X_OK):
        raise StoreError(f"{path} cannot be written to by you", "ask its owner to run: helixstore volume add", path)


def detach(store: Store, volume: Volume) -> None:
    """Do not use the volume from now on, until it is added again; what lies on it is away."""
    _write(store, replace(volume, detached=True))
    store.volumes.refresh()


def forget(store: Store, volume: Volume) -> None:
    """Give the volume up: it is no part of the store any more, on any host. Its folders go where they are empty.

    Raises:
        Failed: something lies in its `blobs` or `references` still.
    """
    if volume.id == MAIN:
        raise Failed("the store's own folder cannot be removed", "helixstore leave", volume.path)
    if not volume.away:
        for folder in ("blobs", "references"):
            for place, _, names in walk(f"{volume.path}/{folder}"):
                if names:
                    raise Failed(f"{place} is not empty", f"helixstore volume move MODEL {MAIN}", place)
    for path in (f"{store.volumes.registry}/{volume.id}.json", f"{store.volumes.paths}/{volume.id}.json"):
        try:
            kernel.unlink(path)
        except FileNotFoundError:
            continue
        except PermissionError as error:
            raise Failed(f"{volume.name} was added by user {os.lstat(path).st_uid}",
                         "they, or the owner of the store, can give it up; to use it no more yourself: "
                         f"helixstore volume detach {volume.name}", path) from error
    kernel.sync_folder(store.volumes.registry)
    if not volume.away:
        _empty(volume.path)
    store.volumes.refresh()


def _empty(folder: str) -> None:
    """What helixstore made in the volume's folder, and the folder itself if nothing else lies there."""
    for name in ("volume.json", "README"):
        with suppress(FileNotFoundError):
            kernel.unlink(f"{folder}/{name}")
    for part in ("farms", "staging", "blobs", "references", "trash"):
        for place, _, _ in walk(f"{folder}/{part}", topdown=False, lenient=True):
            with suppress(OSError):                     # something lies there that is not ours
                os.rmdir(place)
    with suppress(OSError):
        os.rmdir(folder)


def _there(store: Store, folder: str) -> str:
    """The id of the volume that lies in a folder; "" when there is none.

    Raises:
        StoreError: it is another store's, or what lies there is no volume.
    """
    try:
        record, _ = records.read_record(f"{folder}/volume.json")
    except FileNotFoundError:
        if os.path.isdir(folder) and (foreign := sorted(set(listdir(folder)) - _HARMLESS - {*_FOLDERS, "blobs",
                                                                                              "references", "README"})):
            raise StoreError(f"{folder} is not empty: it holds {foreign[0]!r}", "choose an empty folder",
                             folder) from None
        return ""
    except OSError as error:
        raise StoreError(f"{folder}/volume.json cannot be read: {error}", "restore it from a backup", folder) from error
    if record.get("store_id") != store.id:
        raise StoreError(f"a volume of another store lies in {folder}",
                         "use it with that store, or choose another folder", folder)
    name = record.get("volume_id")
    if not isinstance(name, str) or not name.isalnum():
        raise StoreError(f"{folder}/volume.json is damaged", "restore it from a backup", folder)
    return name


def _write(store: Store, volume: Volume) -> None:
    """Where the volume is on this host, and what is allowed with it."""
    store.sharing.own(store.volumes.paths, f"{store.path}/hosts")
    record = {"schema": records.SCHEMA, "path": volume.path, "always": volume.always, "detached": volume.detached}
    with store.working() as staging:
        kernel.replace_file(f"{store.volumes.paths}/{volume.id}.json", records.canonical(record), 0o644,
                            temporary_folder=staging)


def _links(folder: str) -> bool:
    """Whether files of that disk can have several names; found out by trying in the nearest folder that exists."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    try:
        return LinkKind.HARD in probe(folder, folder).works
    except OSError as error:
        raise StoreError(f"{folder} cannot be written to: {error.strerror or error}", "make it writable for you",
                         folder) from error


def _title(folder: str, mount: Mount) -> str:
    """What people call the disk: the last word of where it is mounted, else of the folder."""
    return os.path.basename(mount.point.rstrip("/")) or os.path.basename(folder) or "disk"
