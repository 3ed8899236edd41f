"""`watch --install`: a unit of the person's systemd, or an agent of launchd, that runs the watch from login on.

A service does not see what a shell's start-up files set, so the variables that decide where the folders are go into it:
those that the settings, and the layouts when they look for their folders, really ask for.
"""

from __future__ import annotations

import plistlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from helixstore.errors import Failed, Usage
from helixstore.fs import kernel

if TYPE_CHECKING:
    from helixstore.session import Session

__all__ = ["Service", "install", "uninstall"]

#: What every service has of its own, or must not be fixed for it.
_NOT_KEPT = frozenset({"PATH", "HOME", "USER", "LOGNAME", "PWD", "SHELL", "TERM", "CI", "NOTIFY_SOCKET"})
_SYSTEMCTL = ("systemctl", "--user")


@dataclass(frozen=True, slots=True)
class Service:
    """What was done.

    Attributes:
        path: the file of the service.
        changed: it was written, or removed; False: it was so already.
        running: the system took it up, or let go of it.
        command: what the person types where that could not be done from here; "" when it was.
    """

    path: Path
    changed: bool
    running: bool
    command: str


def install(session: Session, *, dry_run: bool = False) -> Service:
    """Write the service's file and start it.

    Raises:
        Usage: this system has neither systemd nor launchd.
        Failed: the file cannot be written.
    """
    path, text = _path(session), _text(session)
    changed = not path.exists() or path.read_bytes() != text
    if dry_run:
        return Service(path, changed, False, "")
    if changed:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            kernel.replace_file(path, text, 0o644)
        except OSError as error:
            raise Failed(f"{path} cannot be written: {error.strerror or error}", "", path) from error
    return _run(session, _starting(session, path), Service(path, changed, False, ""))


def uninstall(session: Session, *, dry_run: bool = False) -> Service:
    """Stop the service and remove its file.

    Raises:
        Usage: this system has neither systemd nor launchd.
        Failed: the file cannot be removed.
    """
    path = _path(session)
    there = path.exists()
    if dry_run or not there:
        return Service(path, there, False, "")
    stopped = _run(session, _stopping(session, path), Service(path, True, False, ""))
    try:
        kernel.unlink(path)
    except OSError as error:
        raise Failed(f"{path} cannot be removed: {error.strerror or error}", "", path) from error
    return stopped


def _path(session: Session) -> Path:
    places = session.places
    if places.platform == "darwin":
        return places.home / "Library" / "LaunchAgents" / f"{_label(session)}.plist"
    if places.platform.startswith("linux"):
        return places.config.parent / "systemd" / "user" / f"{_label(session)}.service"
    raise Usage(f"there is no service for {places.platform}", "run `helixstore watch` when you log in")


def _label(session: Session) -> str:
    """The configured store's has a plain name; one for another store says which."""
    apart = f"-{session.store.id[:8]}" if session.folder is not None else ""
    name = f"helixstore-watch{apart}"
    return f"io.github.{name}" if session.places.platform == "darwin" else name


def _command(session: Session) -> list[str]:
    store = ["--store", str(session.folder)] if session.folder is not None else []
    return [sys.executable, "-m", "helixstore", "watch", *store]


class _Asked(Mapping[str, str]):
    """An environment that notes which of its variables were asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


def _variables(session: Session) -> dict[str, str]:
    """The variables that decide where things are."""
    from helixstore.providers.reader import DiskReader
    from helixstore.session import Machine

    asked = _Asked(session.environ)
    machine = Machine(asked)
    machine.__dict__.update(places=session.places, settings=session.settings, layouts=dict(session.layouts))
    for _ in machine.roots(DiskReader(machine.places.home), session.farms):
        continue
    named = {name for name in session.environ if name.startswith(("HELIXSTORE_", "XDG_"))} - {"XDG_RUNTIME_DIR"}
    return {name: session.environ[name] for name in sorted((asked.asked & session.environ.keys()) | named)
            if name not in _NOT_KEPT and not name.startswith("XDG_SESSION")}


def _text(session: Session) -> bytes:
    if session.places.platform == "darwin":
        log = session.places.home / "Library" / "Logs" / f"{_label(session)}.log"
        return plistlib.dumps({
            "Label": _label(session), "ProgramArguments": _command(session), "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False}, "ProcessType": "Background", "LowPriorityIO": True, "Nice": 10,
            "EnvironmentVariables": _variables(session), "StandardOutPath": str(log), "StandardErrorPath": str(log)})
    lines = [
        "# Written by `helixstore watch --install`; `helixstore watch --uninstall` removes it.",
        "[Unit]", "Description=helixstore: every model in every program as soon as it is whole", "",
        "[Service]", "Type=notify", f"ExecStart={' '.join(map(_quoted, _command(session)))}",
        *(f"Environment={_quoted(f'{name}={value}', command=False)}" for name, value in _variables(session).items()),
        "Restart=on-failure", "RestartSec=30", "TimeoutStartSec=infinity", "TimeoutStopSec=30",
        "Nice=10", "IOSchedulingClass=best-effort", "IOSchedulingPriority=7", "CPUWeight=20", "IOWeight=20", "",
        "[Install]", "WantedBy=default.target", ""]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _quoted(text: str, command: bool = True) -> str:
    """A word of a unit file [systemd.syntax(7), systemd.service(5) "Command lines"]."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n").replace("\t", "\\t")
    return f'"{text.replace("$", "$$") if command else text}"'


def _starting(session: Session, path: Path) -> list[list[str]]:
    if session.places.platform == "darwin":
        domain = f"gui/{session.places.uid}"
        return [["launchctl", "bootout", f"{domain}/{_label(session)}"], ["launchctl", "bootstrap", domain, str(path)]]
    return [[*_SYSTEMCTL, "daemon-reload"], [*_SYSTEMCTL, "enable", path.name], [*_SYSTEMCTL, "restart", path.name]]


def _stopping(session: Session, path: Path) -> list[list[str]]:
    if session.places.platform == "darwin":
        return [["launchctl", "bootout", f"gui/{session.places.uid}/{_label(session)}"]]
    return [[*_SYSTEMCTL, "disable", "--now", path.name]]


def _run(session: Session, commands: Sequence[Sequence[str]], service: Service) -> Service:
    """Have the system take it up; only the last command must succeed, the first ones make way for it."""
    status = 1
    for command in commands:
        try:
            status = subprocess.run(command, env=dict(session.environ), stdin=subprocess.DEVNULL,  # noqa: S603
                                    capture_output=True, timeout=30, check=False).returncode
        except (OSError, subprocess.SubprocessError):
            status = 1
    if status == 0:
        return replace(service, running=True)
    wanted = [list(commands[-1])] if session.places.platform == "darwin" or len(commands) == 1 else [
        [*_SYSTEMCTL, "enable", "--now", service.path.name]]
    return replace(service, command=" && ".join(" ".join(words) for words in wanted))
