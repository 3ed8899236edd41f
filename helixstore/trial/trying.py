"""One whole trial of a mount: the folder for it, the second process, and the taking away of everything."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from helixstore.errors import Failed, HelixError, NotFound
from helixstore.fs.mounts import mount_of
from helixstore.trial.alone import alone
from helixstore.trial.meeting import Meeting
from helixstore.trial.report import MountReport, Trial
from helixstore.trial.together import follow, lead, who
from helixstore.trial.verdicts import verdicts

__all__ = ["try_mount"]

_PREFIX = ".helixstore-trial-"
_MEETING = ".helixstore-meeting"
_STALE = 3600                        # seconds by the mount's own clock: whoever made it is gone
_ARRIVAL = 900.0                     # seconds to wait for the other host
_SECONDS = 2.0                       # by which clocks may differ


def try_mount(
    path: str | os.PathLike[str], *, with_other_host: bool = False, note: Callable[[str], None] = lambda text: None,
) -> MountReport:
    """Try what the file system under a folder can do, and say what that means for a store, programs, index and watch.

    Everything happens in a hidden folder in it, which is removed again; one that a killed trial left is removed by
    the next, an hour later.

    Args:
        path: an existing folder that may be written to.
        with_other_host: wait for the same command on another host that has the folder mounted too, and try what the
            two see of each other; else two processes of this host do.
        note: called with what a person must know meanwhile.

    Raises:
        NotFound: there is no such folder.
        Failed: it cannot be written to, or the other host does not come.
    """
    folder = os.path.realpath(path)
    if not os.path.isdir(folder):
        raise NotFound(f"{folder} is not a folder", "name a folder on the mount", folder)
    mount = mount_of(folder)
    found: list[Trial] = []
    other = ""
    try:
        _sweep(folder)
        with _own_folder(os.path.join(folder, _PREFIX + secrets.token_hex(6))) as own:
            found += alone(own)
        if with_other_host:
            other, more = _with_other_host(folder, _ahead(found), note)
            found += more
        else:
            with _own_folder(os.path.join(folder, _PREFIX + secrets.token_hex(6))) as common, _child(common) as meeting:
                found += lead(meeting)
    except OSError as error:
        raise Failed(f"{folder} cannot be tried: {error.strerror or error}", "choose a folder that you may write in",
                     folder) from error
    return MountReport(folder, mount.point, mount.kind, mount.source, mount.network, other, tuple(found),
                       verdicts(mount, found))


@contextlib.contextmanager
def _own_folder(path: str) -> Iterator[str]:
    """A new folder, gone at the end. What another host has open may stay for a moment as `.nfs...`."""
    os.mkdir(path, 0o700)
    try:
        yield path
    finally:
        _remove(path)


def _remove(path: str) -> None:
    for _ in range(20):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return
        time.sleep(0.1)


def _sweep(folder: str) -> None:
    """Remove what killed trials left, told by the times that this mount itself gives."""
    left = [name for name in os.listdir(folder) if name.startswith(_PREFIX) or name == _MEETING]
    if left:
        with _own_folder(os.path.join(folder, _PREFIX + secrets.token_hex(6))) as now:
            clock = os.stat(now).st_mtime
        for name in left:
            with contextlib.suppress(FileNotFoundError):
                if clock - os.stat(os.path.join(folder, name)).st_mtime > _STALE:
                    _remove(os.path.join(folder, name))


@contextlib.contextmanager
def _child(folder: str) -> Iterator[Meeting]:
    """A second process of this host, at the other side."""
    child = subprocess.Popen([sys.executable, "-m", "helixstore.trial.second", folder],     # noqa: S603
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield Meeting(folder, "a", lambda: child.poll() is None or child.returncode == 0)
    finally:
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
        child.communicate()


def _ahead(found: list[Trial]) -> float:
    """Seconds by which the mount's clock is ahead of this host's."""
    return next((trial.figure or 0.0 for trial in found if trial.name == "same_clock"), 0.0)


def _with_other_host(folder: str, ahead: float, note: Callable[[str], None]) -> tuple[str, list[Trial]]:
    """Meet the other host in a folder whose name both know: whoever makes it leads. The other's name, and the trials.

    `ahead`: seconds by which the mount's clock is ahead of ours.
    """
    common = os.path.join(folder, _MEETING)
    try:
        os.mkdir(common, 0o777)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
        return _join(common, ahead)
    with contextlib.suppress(OSError):
        os.chmod(common, 0o777)                         # noqa: S103 # to the server we may be another number there
    try:
        note("Waiting for the other host. Run on it, with its name for this folder:")
        note("    helixstore doctor --mount DIR --with-other-host")
        meeting = Meeting(common, "a")
        meeting.say(**who())
        them = meeting.hear(_ARRIVAL)
        _two_hosts(them["machine"])
        apart = ahead - float(them["ahead"])
        agree = Trial("clocks_agree", abs(apart) < _SECONDS, "" if abs(apart) < _SECONDS else
                      f"the other host's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} ours",
                      round(apart, 1))
        return str(them["host"]), [agree, *lead(meeting)]
    finally:
        _remove(common)


def _join(common: str, ahead: float) -> tuple[str, list[Trial]]:
    """The second host's part: it sees the first one's clock and name, and leaves the judging to that one."""
    meeting = Meeting(common, "b")
    them = meeting.hear()
    meeting.say(**who(), ahead=ahead)
    _two_hosts(them["machine"])
    with contextlib.suppress(HelixError, OSError):      # the first one judges, and tells what went wrong
        follow(meeting)
    return str(them["host"]), [Trial("led_by_other", None, f"{them['host']} tells what the two saw of each other")]


def _two_hosts(machine: str) -> None:
    if machine and machine == who()["machine"]:
        raise Failed("both commands ran on this host", "run one of them on the other host, in the same shared folder")

