"""What two processes see of each other's work in one folder: `lead` on one side, `follow` on the other, in step."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from helixstore.errors import HelixError
from helixstore.fs import kernel, locks
from helixstore.fs.probe import explain_refusal
from helixstore.trial.meeting import Meeting
from helixstore.trial.report import Trial

__all__ = ["follow", "lead", "who"]

_NAMES = 30                          # that are fought for in each way
_SEEN = 90.0                         # seconds after which a change counts as never seen
_EVENT = 3.0                         # seconds
_BYTES = 1 << 20
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


def who() -> dict[str, Any]:
    """What tells one host from another, for people and for the question whether they are two."""
    boot = ""
    with contextlib.suppress(OSError), open("/etc/machine-id", encoding="ascii") as file:
        boot = file.read().strip()
    return {"host": socket.gethostname(), "machine": boot, "pid": os.getpid()}


def lead(meeting: Meeting) -> Iterator[Trial]:
    """One side's part: does what the other is to see, and judges."""
    yield from _lead_locks(meeting)
    yield from _lead_races(meeting)
    yield from _lead_seen(meeting)
    yield from _lead_events(meeting)
    yield from _lead_unlinked(meeting)
    meeting.say(end=True)


def follow(meeting: Meeting) -> None:
    """The other side's part, until the first has said that it is over."""
    _follow_locks(meeting)
    _follow_races(meeting)
    _follow_seen(meeting)
    _follow_events(meeting)
    _follow_unlinked(meeting)
    meeting.hear()


# ---- locks -----------------------------------------------------------------------------------------------------------


def _lead_locks(meeting: Meeting) -> Iterator[Trial]:
    for name, records in (("flock", False), ("record_locks", True)):
        descriptor = kernel.create(os.path.join(meeting.folder, name))
        try:
            got: bool | None = None
            why = ""
            try:
                got = locks.try_lock(descriptor, records)
            except OSError as error:
                why = explain_refusal(error)
            meeting.say(lock=name)
            answer = meeting.hear()
        finally:
            os.close(descriptor)
        if got is None or answer["refused"]:
            yield Trial(name, False, f"there are none: {why or answer['refused']}")
        else:
            yield Trial(name, not answer["got"], "both got it" if answer["got"] else "")


def _follow_locks(meeting: Meeting) -> None:
    for records in (False, True):
        path = os.path.join(meeting.folder, meeting.hear()["lock"])
        descriptor = os.open(path, os.O_RDWR | _NOFOLLOW)
        try:
            meeting.say(got=locks.try_lock(descriptor, records), refused="")
        except OSError as error:
            meeting.say(got=False, refused=explain_refusal(error))
        finally:
            os.close(descriptor)


# ---- races -----------------------------------------------------------------------------------------------------------


def _make_file(path: str, own: str) -> bool:
    try:
        os.close(kernel.create(path))
    except FileExistsError:
        return False
    except PermissionError:                             # so SFTP says that a name is taken
        if not os.path.lexists(path):
            raise
        return False
    return True


def _make_folder(path: str, own: str) -> bool:
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    return True


def _publish(path: str, own: str) -> bool:
    temporary = f"{path}.{own}"
    kernel.write_new(temporary, own.encode(), durable=False)
    if kernel.publish(temporary, path):
        return True
    kernel.unlink(temporary)
    return False


#: way -> whether this side made that name; what helixstore makes is published
_RACES: dict[str, Callable[[str, str], bool]] = {
    "create_race": _make_file, "folder_race": _make_folder, "publish_race": _publish,
}


def _race(meeting: Meeting, way: str, own: str) -> list[int]:
    """The names that this side made first; the other side comes from the other end, so that they meet."""
    order = range(_NAMES) if own == "a" else reversed(range(_NAMES))
    return [number for number in order if _RACES[way](os.path.join(meeting.folder, f"{way}.{number}"), own)]


def _lead_races(meeting: Meeting) -> Iterator[Trial]:
    for way in _RACES:
        meeting.say(race=way)
        mine: list[int] = []
        why = ""
        try:
            mine = _race(meeting, way, "a")
        except OSError as error:
            why = explain_refusal(error)
        answer = meeting.hear()
        why = why or answer["why"]
        twice, never = set(mine) & set(answer["won"]), set(range(_NAMES)) - set(mine) - set(answer["won"])
        yield Trial(way, not (twice or never or why), why or (
            f"{len(twice)} of {_NAMES} names were given to both" if twice else
            f"{len(never)} of {_NAMES} names were given to nobody" if never else ""))


def _follow_races(meeting: Meeting) -> None:
    for _ in _RACES:
        way = meeting.hear()["race"]
        try:
            meeting.say(won=_race(meeting, way, "b"), why="")
        except OSError as error:
            meeting.say(won=[], why=explain_refusal(error))


# ---- how late a change is seen ---------------------------------------------------------------------------------------


def _looks(folder: str) -> dict[str, Callable[[], bool]]:
    """Way -> whether the change is seen by it. Asked once before the change, so that the absence may be remembered."""
    name, grows, listed = (os.path.join(folder, name) for name in ("name", "grows", "listed"))
    return {
        "seen_name": lambda: os.path.lexists(name),
        "seen_listing": lambda: bool(os.listdir(listed)),
        "seen_size": lambda: os.stat(grows).st_size > 0,
    }


def _lead_seen(meeting: Meeting) -> Iterator[Trial]:
    os.mkdir(os.path.join(meeting.folder, "listed"))
    os.close(kernel.create(os.path.join(meeting.folder, "grows")))
    changes: dict[str, Callable[[], None]] = {
        "seen_name": lambda: kernel.write_new(os.path.join(meeting.folder, "name"), b"x", durable=False),
        "seen_listing": lambda: kernel.write_new(os.path.join(meeting.folder, "listed", "new"), b"x", durable=False),
        "seen_size": lambda: _grow(os.path.join(meeting.folder, "grows")),
    }
    for way, change in changes.items():
        meeting.say(look=way)
        meeting.hear()
        began = time.monotonic()
        change()
        seen = meeting.hear()["seen"]
        took = time.monotonic() - began
        yield Trial(way, bool(seen), f"within {took:.1f} s" if seen else f"not within {_SEEN:.0f} s",
                    round(took, 2) if seen else None)


def _grow(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | _NOFOLLOW)
    try:
        os.write(descriptor, b"x")
    finally:
        os.close(descriptor)


def _follow_seen(meeting: Meeting) -> None:
    looks = _looks(meeting.folder)
    for _ in looks:
        look = looks[meeting.hear()["look"]]
        look()
        meeting.say(ready=True)
        end = time.monotonic() + _SEEN
        while not (seen := look()) and time.monotonic() < end:
            time.sleep(0.05)
        meeting.say(seen=seen)


# ---- events ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _watching(folder: str) -> Iterator[threading.Event]:
    """An event that is set once a file appears in the folder, if the system tells."""
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    seen = threading.Event()

    class Handler(FileSystemEventHandler):
        def on_created(self, event: FileSystemEvent) -> None:
            seen.set()

    observer = Observer()
    observer.schedule(Handler(), folder)
    observer.start()
    try:
        yield seen
    finally:
        observer.stop()
        observer.join()


def _lead_events(meeting: Meeting) -> Iterator[Trial]:
    folder = os.path.join(meeting.folder, "watched")
    os.mkdir(folder)
    try:
        with _watching(folder) as seen:
            kernel.write_new(os.path.join(folder, "own"), b"x", durable=False)
            own = seen.wait(_EVENT)
    except OSError as error:
        yield Trial("own_events", False, explain_refusal(error))
    else:
        yield Trial("own_events", own)
    meeting.say(watch=folder)
    meeting.hear()
    kernel.write_new(os.path.join(folder, "others"), b"x", durable=False)
    meeting.say(made=True)
    seen_there = meeting.hear()
    yield Trial("others_events", bool(seen_there["event"]), seen_there["why"])


def _follow_events(meeting: Meeting) -> None:
    folder = os.path.join(meeting.folder, os.path.basename(meeting.hear()["watch"]))
    try:
        with _watching(folder) as seen:
            meeting.say(ready=True)
            meeting.hear()
            found = seen.wait(_EVENT)
    except OSError as error:
        meeting.say(ready=True)
        meeting.hear()
        meeting.say(event=False, why=explain_refusal(error))
    else:
        meeting.say(event=found, why="" if found else "changes of another process are not told: look for them")


# ---- a file that another removes ------------------------------------------------------------------------------------


def _lead_unlinked(meeting: Meeting) -> Iterator[Trial]:
    path = os.path.join(meeting.folder, "removed")
    kernel.write_new(path, b"x" * _BYTES, durable=False)
    meeting.say(open="removed")
    meeting.hear()
    kernel.unlink(path)
    meeting.say(removed=True)
    answer = meeting.hear()
    yield Trial("unlink_by_other", bool(answer["read"]), answer["why"])


def _follow_unlinked(meeting: Meeting) -> None:
    path = os.path.join(meeting.folder, meeting.hear()["open"])
    with open(path, "rb", buffering=0) as file:
        meeting.say(opened=True)
        meeting.hear()
        try:
            meeting.say(read=os.pread(file.fileno(), 1, _BYTES - 1) == b"x", why="")
        except (OSError, HelixError) as error:
            meeting.say(read=False, why="a file that the other removes cannot be read on: "
                                        f"{getattr(error, 'strerror', error)}")
