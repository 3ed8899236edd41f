"""Names that come from outside: which may become a path, which are half a download, and how to show them.

Every check is made under both POSIX and Windows rules, on every platform: a store written here is read elsewhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable

from helixstore.errors import UnsafeName

__all__ = ["MARKERS", "check_relative", "clash", "folded", "printable", "unfinished"]

_SEGMENT_BYTES = 255                            # NAME_MAX of all common file systems
_PATH_BYTES = 1024                              # leaves room for the root in front of it (PATH_MAX is 4096, macOS 1024)
_RESERVED = frozenset(                          # device names on Windows, with any extension
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{device}{number}" for device in ("com", "lpt") for number in "0123456789¹²³"]
)
_FORBIDDEN = frozenset('\\:<>"|?*')
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

#: Half a download, or a file that its system keeps only until it is closed (correctness.md section 8 has the sources).
_UNFINISHED = re.compile(
    r"""
      .*\.(?:incomplete|lock|metadata|downloadinprogress|partial|crdownload|part|download|opdownload|aria2|tmp|temp
           |!qb|!ut|bc!|filepart|lftp-pget-status)
    | .*-partial(?:-\d+)?               # Ollama: sha256-...-partial, -partial-0
    | incomplete-.*                     # GPT4All
    | \..+\.[A-Za-z0-9]{6}              # rsync: .name.XXXXXX
    | \.nfs.* | \.fuse_hidden.* | \.~lock.* | ~.*
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
#: Beside `name`, one of these says that `name` itself is not finished: aria2 preallocates, llama.cpp resumes, axel and
#: lftp keep their state in `.st` and `.lftp-pget-status`, and qBittorrent calls the file itself `.!qB` until whole.
MARKERS = (".aria2", ".downloadInProgress", ".part", ".partial", ".incomplete", ".st", ".lftp-pget-status", ".!qB")


def check_relative(name: str) -> str:
    """`name` itself, if it can be joined to a folder on every system and stays inside.

    Args:
        name: a POSIX relative path from a listing, a manifest or another program's file.

    Raises:
        UnsafeName: it is absolute, climbs (`..`), has a drive, stream, backslash, control or direction character, a
            Windows device name, a trailing dot or space, is not UTF-8, or is too long.
    """
    if not name:
        raise UnsafeName("a file name is empty")
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise _unsafe(name, "is not UTF-8") from None
    if len(encoded) > _PATH_BYTES:
        raise _unsafe(name, f"is longer than {_PATH_BYTES} bytes")
    if not name.isascii() and not _BIDI.isdisjoint(name):
        raise _unsafe(name, "holds a character that changes the direction of text")
    if not _FORBIDDEN.isdisjoint(name):
        raise _unsafe(name, "holds a character that Windows forbids or reads as a separator")
    if any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name):
        raise _unsafe(name, "holds a control character")
    for segment in name.split("/"):
        _check_segment(name, segment)
    return name


def _check_segment(name: str, segment: str) -> None:
    if segment in ("", ".", ".."):
        raise _unsafe(name, "is absolute, climbs out of its folder, or has an empty part")
    if segment[-1] in ". ":
        raise _unsafe(name, "has a part that ends in a dot or space")
    if len(segment.encode()) > _SEGMENT_BYTES:
        raise _unsafe(name, f"has a part longer than {_SEGMENT_BYTES} bytes")
    if segment.partition(".")[0].rstrip(" ").casefold() in _RESERVED:
        raise _unsafe(name, "has a part that is a device name on Windows")


def _unsafe(name: str, why: str) -> UnsafeName:
    shown = printable(name if len(name) <= 100 else name[:97] + "...")
    return UnsafeName(f"the name {shown!r} {why}", "rename the file, then try again", name)


def folded(name: str) -> str:
    """The form in which two names are compared: equal when a system without case or with other normal forms may
    take one for the other."""
    return name.casefold() if name.isascii() else unicodedata.normalize("NFC", unicodedata.normalize(
        "NFC", name).casefold())


def clash(names: Iterable[str]) -> tuple[str, str] | None:
    """Two of these relative paths that cannot lie in one folder on every system: they are one where case is not told
    apart, or one is a file where the other has a folder. None where there are none.
    """
    taken: dict[str, str] = {}
    for name in names:
        key = folded(name)
        if key in taken:
            return taken[key], name
        taken[key] = name
    for key, name in taken.items():
        parts = key.split("/")
        for count in range(1, len(parts)):
            if other := taken.get("/".join(parts[:count])):
                return other, name
    return None


def unfinished(name: str, siblings: Container[str] = ()) -> bool:
    """Whether a file is half a download, a lock or a remnant that will vanish by itself.

    Args:
        name: the last part of the path.
        siblings: the other names in the folder, if known: a control file beside it counts too.
    """
    return _UNFINISHED.fullmatch(name) is not None or any(name + marker in siblings for marker in MARKERS)


def printable(text: str) -> str:
    """`text` with control, direction, surrogate and other invisible characters as escapes, for terminals and logs."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
