"""Real people on this machine: accounts with a group of their own, one group that they share, and the command line run
as each of them with the umask of each. Needs root, which CI is."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import secrets
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.sandbox import environment

__all__ = ["People", "User", "blob_of", "founded", "modes", "people", "traces"]


@dataclass
class User:
    """One person: their account, home, umask, and what they type."""

    name: str
    uid: int
    gid: int
    home: Path
    groups: tuple[int, ...]
    umask: int
    interpreter: Path
    environ: dict[str, str] = field(default_factory=dict)
    _typist: subprocess.Popen[str] | None = None

    def run(self, *command: str, umask: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run any program as this person."""
        return subprocess.run(command, user=self.uid, group=self.gid, extra_groups=self.groups,
                              umask=self.umask if umask is None else umask, env=self.environ, cwd=self.home,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)

    def helix(self, *arguments: str, expect: tuple[int, ...] = (0,)) -> str:
        """Run `helixstore` as this person; any exit status outside `expect` fails the test."""
        code, out, err = self.types(*arguments)
        assert code in expect, f"{self.name}: {arguments}: {code}\n{out}\n{err}"
        return out

    def types(self, *arguments: str) -> tuple[int, str, str]:
        """Run `helixstore` as this person, in a new process of theirs: exit code, stdout, stderr."""
        if self._typist is None:
            self._typist = subprocess.Popen(
                [str(self.interpreter), str(Path(__file__).with_name("typist.py"))], user=self.uid, group=self.gid,
                extra_groups=self.groups, env=self.environ, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True)
        assert self._typist.stdin is not None
        assert self._typist.stdout is not None
        print(json.dumps([arguments, self.environ, str(self.home), self.umask]), file=self._typist.stdin, flush=True)
        code, out, err = json.loads(self._typist.stdout.readline())
        return code, out, err

    def leaves(self) -> None:
        """Nothing of this person's runs any more."""
        if self._typist is not None:
            self._typist.communicate("")
            self._typist = None

    def document(self, *arguments: str, expect: tuple[int, ...] = (0,)) -> dict[str, Any]:
        """Run `helixstore ... --json`."""
        found: dict[str, Any] = json.loads(self.helix(*arguments, "--json", expect=expect))
        return found

    def fails(self, *arguments: str) -> str:
        """Run `helixstore`, which must refuse in words; what it says."""
        code, out, err = self.types(*arguments)
        assert code in (1, 2), f"{self.name}: {arguments}: {code}\n{out}"
        assert "Traceback" not in err, err
        assert "fault of helixstore" not in err, err
        return err

    def python(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a few lines of Python as this person: real calls, no helixstore."""
        return self.run(str(self.interpreter), "-c", f"import os, sys\n{code}", *arguments)

    def put(self, path: str, data: bytes, mode: int = 0o644) -> Path:
        """A file of this person's, old enough for its hash to be kept."""
        file = self.home / path
        for folder in (self.home, *reversed([p for p in file.parents if p.is_relative_to(self.home)])):
            folder.mkdir(exist_ok=True)
            os.chown(folder, self.uid, self.gid)
        file.write_bytes(data)
        self.own(file, mode)
        return file

    def own(self, file: Path, mode: int = 0o644) -> None:
        """Make a file this person's, and a year old."""
        if not file.is_symlink():
            file.chmod(mode)
        os.chown(file, self.uid, self.gid, follow_symlinks=False)
        os.utime(file, (1_700_000_000, 1_700_000_000), follow_symlinks=False)

    def own_all(self, folder: Path) -> None:
        """Make everything below a folder of the home this person's."""
        for path in [folder, *folder.rglob("*"), *(p for p in folder.parents if p.is_relative_to(self.home))]:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def reads(self, path: Path | str) -> bytes | None:
        """The bytes that this person reads there; None when they may not, or it is not there."""
        done = subprocess.run(["cat", str(path)], user=self.uid, group=self.gid, extra_groups=self.groups,
                              capture_output=True, check=False, cwd="/")
        return done.stdout if done.returncode == 0 else None


@dataclass
class People:
    """The machine: a folder that all of them reach, the group, and its members."""

    folder: Path
    group: str
    gid: int
    members: dict[str, User]
    stranger: User
    service: User

    def __getattr__(self, name: str) -> User:
        try:
            return self.__dict__["members"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def store(self) -> Path:
        """Where the tests make the store."""
        return self.folder / "models"


@contextlib.contextmanager
def _reachable(folder: Path, name: str) -> Iterator[Path]:
    """A Python with everything of this environment that ordinary people can run: where the one of the tests lies in
    root's home, the same one through a bind mount."""
    with contextlib.suppress(PermissionError):
        entry = pwd.getpwnam(name)
        if subprocess.run([sys.executable, "-c", "import helixstore"], user=entry.pw_uid, group=entry.pw_gid,
                          extra_groups=[], check=False, capture_output=True, cwd="/").returncode == 0:
            yield Path(sys.executable)
            return
    base, venv = folder / "python", folder / "venv"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for path in (base, venv / "bin", venv / "lib" / version):
        path.mkdir(parents=True)
    (venv / "bin/python").symlink_to(base / "bin" / version)
    (venv / "lib" / version / "site-packages").symlink_to(sysconfig.get_path("purelib"))
    (venv / "pyvenv.cfg").write_text(f"home = {base / 'bin'}\ninclude-system-site-packages = false\n")
    subprocess.run(["mount", "--bind", sys.base_prefix, str(base)], check=True)
    try:
        yield venv / "bin/python"
    finally:
        subprocess.run(["umount", "--lazy", str(base)], check=True)
        base.rmdir()                                    # or rmtree would go into it


def _useradd(name: str, home: Path, *groups: str) -> None:
    subprocess.run(["useradd", "--create-home", "--home-dir", str(home), "--user-group", "--shell", "/bin/sh",
                    *(["--groups", ",".join(groups)] if groups else []), name], check=True, capture_output=True)


def _user(name: str, home: Path, umask: int, folder: Path, interpreter: Path) -> User:
    entry = pwd.getpwnam(name)
    home.chmod(0o755 if umask != 0o077 else 0o711)
    environ = environment(home) | {"USER": name, "LOGNAME": name, "XDG_CONFIG_DIRS": str(folder / "etc")}
    environ.pop("TMPDIR", None)
    if interpreter != Path(sys.executable):
        environ["LD_LIBRARY_PATH"] = str(folder / "python/lib")         # its own, not the system's older one
    return User(name, entry.pw_uid, entry.pw_gid, home, tuple(os.getgrouplist(name, entry.pw_gid)), umask,
                interpreter, environ)


@contextlib.contextmanager
def people(umasks: Mapping[str, int]) -> Iterator[People]:
    """Accounts for the time of the block: a member of the group for each umask, a stranger, and a service's user."""
    place = Path("/srv") if Path("/srv").is_dir() else Path("/")
    folder = Path(tempfile.mkdtemp(prefix="helixstore-people-", dir=place))
    # in memory where that can be had, so that flushing costs nothing
    memory = subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder)], check=False,
                            capture_output=True).returncode == 0
    folder.chmod(0o755)
    tag = f"hx{secrets.token_hex(3)}"
    group = f"{tag}models"
    names = {who: f"{tag}{who}" for who in (*umasks, "stranger", "service")}
    subprocess.run(["groupadd", group], check=True, capture_output=True)
    try:
        for who, name in names.items():
            _useradd(name, folder / who, *([group] if who in umasks else []))
        with _reachable(folder, names["stranger"]) as interpreter:
            made = {who: _user(name, folder / who, umasks.get(who, 0o022), folder, interpreter)
                    for who, name in names.items()}
            try:
                yield People(folder, group, grp.getgrnam(group).gr_gid, {who: made[who] for who in umasks},
                             made["stranger"], made["service"])
            finally:
                for one in made.values():
                    one.leaves()
    finally:
        for name in names.values():
            subprocess.run(["userdel", "--force", name], check=False, capture_output=True)
        subprocess.run(["groupdel", "--force", group], check=False, capture_output=True)
        if memory:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def modes(root: Path) -> dict[str, int]:
    """Every folder below, with its mode: relative path -> bits."""
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            found[str(path.relative_to(root))] = stat.S_IMODE(status.st_mode)
    return found


def founded(lab: People, steward: User, *more: str) -> None:
    """The store, made by one of them in a folder that is theirs, and known to all by the site's settings."""
    for folder in (lab.store, lab.folder / "etc"):
        folder.mkdir()
        os.chown(folder, steward.uid, steward.gid)
    steward.helix("init", "--store", str(lab.store), "--group", lab.group, "--site", *more)


def blob_of(lab: People, data: bytes) -> Path:
    """Where the store has a file of these bytes."""
    from blake3 import blake3

    digest = blake3(data).hexdigest()
    return lab.store / "blobs" / digest[:2] / digest


def traces(lab: People, *words: str) -> list[str]:
    """Every file and folder of the store whose name or bytes hold one of these words, links' targets too."""
    found = []
    for path in lab.store.rglob("*"):
        data = os.fsencode(path)
        data += os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found += [f"{path}: {word}" for word in words if word.encode() in data]
    return found
