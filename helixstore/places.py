"""Where things lie for this person on this host: configuration, state, index, default store, and the host's identity.

Everything follows from an environment mapping, a platform name and a home folder, so that a test or a container sees
its own. platformdirs is not asked, because it reads the environment of the process; the rules are the same
[XDG Base Directory Specification 0.8; platformdirs `unix.py`, `macos.py`, `windows.py`], which a test checks.

    <config>/helixstore/config.toml         the person's settings, over the site's
    <state>/helixstore/<store id>/          ledgers, operations, intent
    <state>/helixstore/hosts/<key>.json     this host's random id; <key> is a hash of the machine id
    <index>/helixstore/<store id>/          LMDB, on a local file system
    <data>/helixstore/store/                the store, unless another is configured

Finding a place writes nothing. Only `host()` does, once, to remember the identity.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from helixstore.errors import ConfigError, IndexUnusable, advice
from helixstore.store.host import Host

__all__ = ["Places"]

_NAME = "helixstore"
_NO = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True)
class Places:
    """The folders of one person on one host, all absolute; none need exist.

    Attributes:
        home: the person's home folder.
        environ: environment variables.
        platform: "linux", "darwin" or "win32", as `sys.platform`.
        config: folder of the person's configuration; `layouts/` in it holds single-file layouts.
        state: folder of what cannot be derived: intent, ledgers, operations, the host's identity.
        data: folder under which the default store lies.
        cache: folder for what can be derived again.
        site_config_files: the site's settings; a later one overrides an earlier one.
    """

    home: Path
    environ: Mapping[str, str]
    platform: str
    config: Path
    state: Path
    data: Path
    cache: Path
    site_config_files: tuple[Path, ...]

    @classmethod
    def of(
        cls, environ: Mapping[str, str] | None = None, platform: str | None = None, home: Path | None = None
    ) -> Places:
        """The places that follow from an environment.

        Args:
            environ: environment variables; the process's own by default.
            platform: "linux", "darwin" or "win32"; the one it runs on by default.
            home: absolute; by default HOME (USERPROFILE on Windows), else what the system says.

        Raises:
            ConfigError: there is no home folder.
        """
        environ = dict(os.environ if environ is None else environ)
        platform = platform or sys.platform
        home = home or _home(environ, platform)
        if platform == "win32":
            local = _absolute(environ, home, "LOCALAPPDATA") or home / "AppData" / "Local"
            programs = _absolute(environ, home, "PROGRAMDATA") or Path("C:/ProgramData")
            base = local / _NAME
            return cls(home, environ, platform, base, base / "state", base, base / "Cache",
                       (programs / _NAME / "config.toml",))
        if platform == "darwin":
            support = home / "Library" / "Application Support"
            defaults = (support, support, support, home / "Library" / "Caches")
            site = Path("/Library/Application Support")
        else:
            defaults = (home / ".config", home / ".local" / "state", home / ".local" / "share", home / ".cache")
            site = Path("/etc")
        names = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")
        config, state, data, cache = (
            (_absolute(environ, home, name) or default) / _NAME for name, default in zip(names, defaults, strict=True)
        )
        # the first folder of XDG_CONFIG_DIRS counts most; desktops set it to /etc/xdg, so ours is read all the same
        folders = [Path(part) for part in environ.get("XDG_CONFIG_DIRS", "").split(":") if part.startswith("/")]
        files = tuple(folder / _NAME / "config.toml" for folder in (site, *reversed(folders)))
        return cls(home, environ, platform, config, state, data, cache, files)

    @property
    def config_file(self) -> Path:
        """The person's settings."""
        return self.config / "config.toml"

    @property
    def models_file(self) -> Path:
        """The person's own entries of the catalogue of models."""
        return self.config / "models.toml"

    @property
    def site_config_file(self) -> Path:
        """The site's settings, where they are to be written: the file that counts most of those that are there, else
        the one that this environment names, else the system's. /etc/xdg is named by desktops, and not by everybody's
        environment."""
        there = [file for file in self.site_config_files if file.exists()]
        named = [file for file in self.site_config_files[1:] if not file.is_relative_to("/etc/xdg")]
        return (there or named or self.site_config_files[:1])[-1]

    @property
    def layouts(self) -> Path:
        """Folder of the layouts that the person dropped in as single files."""
        return self.config / "layouts"

    @property
    def default_store(self) -> Path:
        """The store's folder when nothing names another."""
        return self.data / "store"

    def state_for(self, store_id: str) -> Path:
        """The folder of this person's ledgers, operations and intent for one store."""
        return self.state / store_id

    def farms(self, volume: Path, host: Host) -> Path:
        """The folder, on one volume of the store, of the folders that helixstore owns for providers."""
        return volume / "farms" / host.id / str(host.uid)

    def index_for(self, store_id: str) -> Path:
        """The folder of the index of one store: HELIXSTORE_INDEX, else the cache if local, else /var/tmp.

        A folder that HELIXSTORE_INDEX names is taken even if it is on a network: opening the index there says why
        that cannot be. One that another person already uses is shared by keeping apart by number.

        Raises:
            IndexUnusable: the cache is on a network file system and /var/tmp cannot be used either.
        """
        if value := self.environ.get("HELIXSTORE_INDEX", "").strip():
            named = Path(os.path.abspath(self.home / value[2:] if value.startswith("~/") else value))
            return self._own(named / _NAME, named / f"{_NAME}-{self.uid}") / store_id
        from helixstore.fs.mounts import mount_of

        mount = mount_of(self.cache)
        if not mount.network:
            return self.cache / store_id
        fallback = Path(f"/var/tmp/{_NAME}-{self.uid}")     # noqa: S108 # format.md; ours alone, checked below
        reason = f"the cache folder {self.cache} is on a network file system ({mount.kind or 'share'})"
        if self.platform == "win32" or mount_of(fallback).network:
            raise IndexUnusable(f"{reason}, where LMDB must not be", _INDEX_REMEDY, self.cache)
        if os.path.lexists(fallback):
            status = os.lstat(fallback)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != self.uid or status.st_mode & 0o077:
                raise IndexUnusable(f"{reason}, and {fallback} is not a private folder of yours", _INDEX_REMEDY,
                                    fallback)
        return fallback / _NAME / store_id

    def _own(self, wanted: Path, apart: Path) -> Path:
        """`wanted`, unless it is another person's."""
        if self.platform == "win32":
            return wanted
        try:
            return wanted if os.stat(wanted).st_uid == self.uid else apart
        except FileNotFoundError:
            return wanted

    @cached_property
    def uid(self) -> int:
        """The person's number; on Windows, which has none, derived from the account's name."""
        if hasattr(os, "getuid") and self.platform != "win32":
            return os.getuid()
        account = "\\".join(self.environ.get(name, "") for name in ("USERDOMAIN", "USERNAME"))
        return int.from_bytes(hashlib.sha256(account.casefold().encode()).digest()[:4], "big") >> 1

    @property
    def ephemeral(self) -> bool:
        """HELIXSTORE_EPHEMERAL, else whether CI is set."""
        word = self.environ.get("HELIXSTORE_EPHEMERAL")
        return (self.environ.get("CI", "") if word is None else word).strip().casefold() not in _NO

    def host(self, remember: bool = True) -> Host:
        """This host as stores know it.

        Args:
            remember: make the identity when there is none yet and write it down; False gives a host without id then,
                for reports that must write nothing.

        Raises:
            ConfigError: the identity cannot be read or written.
        """
        folder = self.state / "hosts"
        file = folder / f"{hashlib.sha256(_machine_id(self.platform)).hexdigest()[:16]}.json"
        name = _read_identity(file)
        if not name and remember:
            name = _write_identity(folder, file)
        return Host(name, self.uid, _boot_id(self.platform), self.ephemeral, _machine_key(self.platform))


_INDEX_REMEDY = "set HELIXSTORE_INDEX to a folder on a local disk"


def _home(environ: Mapping[str, str], platform: str) -> Path:
    """The person's home folder, absolute."""
    if named := environ.get("USERPROFILE" if platform == "win32" else "HOME", "").strip():
        return Path(os.path.abspath(named))
    try:
        return Path.home()
    except RuntimeError as error:
        raise ConfigError("there is no home folder", "set HOME") from error


def _absolute(environ: Mapping[str, str], home: Path, name: str) -> Path | None:
    """A variable that names a folder; relative ones are invalid by the XDG rules and count as not set."""
    value = environ.get(name, "").strip()
    if value == "~" or value.startswith("~/"):
        return home / value[2:]
    return Path(value) if value and os.path.isabs(value) else None


def _read_identity(file: Path) -> str:
    """The host's id in the file; "" when there is no file."""
    try:
        name = json.loads(file.read_bytes())["host"]
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"this host's identity in {file} cannot be read: {error}",
                          "restore the file; if it is lost, delete it, and `helixstore host forget` the old host",
                          file) from error
    if not isinstance(name, str) or not name.isalnum():
        raise ConfigError(f"this host's identity in {file} is not an id", "restore the file", file)
    return name


def _write_identity(folder: Path, file: Path) -> str:
    """Make the identity; of two that try at once, the first one's stands."""
    import secrets

    from helixstore.fs import kernel

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kernel.write_new(file, json.dumps({"schema": 1, "host": secrets.token_hex(8)}).encode() + b"\n", 0o600)
    except FileExistsError:
        pass                                        # another process was first: its id is read below
    except OSError as error:
        raise ConfigError(f"this host's identity cannot be written to {file}: {error.strerror or error}",
                          advice(error, "set XDG_STATE_HOME to a folder of yours"), file) from error
    return _read_identity(file)


def _machine_id(platform: str) -> bytes:
    """What tells this machine from others that share the home folder; its name where the system has no id."""
    if platform == "darwin":
        return _output("/usr/sbin/sysctl", "-n", "kern.uuid") or os.uname().nodename.encode()
    if sys.platform == "win32":
        import winreg

        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography") as key:
            return str(winreg.QueryValueEx(key, "MachineGuid")[0]).encode()
    for name in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            with open(name, "rb") as file:
                found = file.read().strip()
        except OSError:
            continue                                # the next place, and at last the name
        if len(found) == 32:                        # "uninitialized" in images [machine-id(5)]
            return found
    return os.uname().nodename.encode()


def _machine_key(platform: str) -> str:
    """Sixteen hex digits that are the same for everybody on this machine; copies of one image differ by their name."""
    import socket

    return hashlib.sha256(b"%s\0%s" % (_machine_id(platform), socket.gethostname().encode())).hexdigest()[:16]


def _boot_id(platform: str) -> str:
    """Twelve hex digits that differ after each start of the machine [proc(5), sysctl kern.bootsessionuuid]."""
    if platform == "darwin":
        found = _output("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")
    elif sys.platform == "win32":
        import time

        found = str(round((time.time() - time.monotonic()) / 60)).encode()      # the minute of the start
    else:
        try:
            with open("/proc/sys/kernel/random/boot_id", "rb") as file:
                found = file.read().strip()
        except OSError:
            return ""
    return hashlib.sha256(found).hexdigest()[:12] if found else ""


def _output(*command: str) -> bytes:
    """What a system tool prints, or nothing."""
    import subprocess

    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=5).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return b""
