"""The command line in processes that can be told at which system call to die or to fail.

As a program, a server that has everything imported and forks for each command line that it is sent, with shim.c loaded
before libc. `Armed` starts one and talks to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["CLASSES", "COUNT", "FAIL", "KILL", "TEAR", "Armed", "Fault", "Ran", "compiled"]

COUNT, KILL, TEAR, FAIL = range(4)
#: as shim.c counts them
CLASSES = (errno.EACCES, errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMLINK, errno.EXDEV, errno.EINTR)
_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls a process: at its `at`-th call of a kind.

    Attributes:
        how: KILL before the call, TEAR a write in two and kill, or FAIL.
        at: from 1; of all calls that change something, or for FAIL of those that can fail with `error`.
        error: errno.
        where: only calls count in whose name and path, as in "link /home/x", this stands.
        power: the whole machine dies with it.
        keeps: every such call from there on fails too, as on a disk that is full.
    """

    how: int
    at: int
    error: int = 0
    keeps: bool = False
    power: bool = False
    where: str = ""

    def __str__(self) -> str:
        if self.power:
            return f"power lost at change {self.at}"
        if self.how != FAIL:
            return f"{'killed' if self.how == KILL else 'torn'} at change {self.at}"
        return f"{errno.errorcode[self.error]} {'from' if self.keeps else 'at'} call {self.at}"


@dataclass(frozen=True, slots=True)
class Ran:
    """What one command line did.

    Attributes:
        code: exit status, or minus a signal.
        changes: calls that change something.
        calls: errno -> calls that can fail so.
        hit: name and path of the first call that was made to fail.
        log: what it changed, in order, when that was asked for.
    """

    code: int
    out: str
    err: str
    changes: int
    calls: Mapping[int, int]
    hit: str
    log: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


def compiled(folder: Path) -> Path:
    """shim.c as a library."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    library = folder / "shim.so"
    subprocess.run([compiler, "-O1", "-fPIC", "-shared", "-o", library, Path(__file__).with_name("shim.c"), "-ldl"],
                   check=True)
    return library


class Armed:
    """A server.

    Args:
        library: of `compiled`.
        quick: nothing is flushed to the disk, which matters to no process that is only killed.
    """

    def __init__(self, library: Path, *, quick: bool = True) -> None:
        environ = {"LD_PRELOAD": str(library), "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
                   "PYTHONDONTWRITEBYTECODE": "1", "FAULTS_LIBRARY": str(library)}
        environ |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        if quick:
            environ["FAULTS_QUICK"] = "1"
        self._server = subprocess.Popen([sys.executable, __file__], env=environ, cwd="/", stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def run(self, argv: Sequence[str], environ: Mapping[str, str], cwd: Path, *, inside: Sequence[Path] = (),
            fault: Fault | None = None, log: bool = False) -> Ran:
        """Run a command line to its end.

        Args:
            argv: without the program's name.
            environ: all that it sees.
            cwd: where it runs.
            inside: the folders whose calls count; none for a run that nothing befalls and nobody counts.
            fault: what befalls it.
            log: say what it changed.
        """
        asked = {"argv": list(argv), "environ": dict(environ), "cwd": str(cwd), "log": log, "arm": None}
        if inside:
            fault = fault or Fault(COUNT, 0)
            asked["arm"] = [":".join(map(str, inside)), fault.where, fault.how, fault.at, fault.error, int(fault.keeps)]
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        counts = answer["counts"] or [0] * (1 + len(CLASSES))
        return Ran(answer["code"], answer["out"], answer["err"], counts[0],
                   dict(zip(CLASSES, counts[1:], strict=True)), answer["hit"], answer["log"])

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


# ---- in the server ---------------------------------------------------------------------------------------------------


def serve() -> None:
    """Until the input ends."""
    import helixstore

    for module in pkgutil.walk_packages(helixstore.__path__, "helixstore."):    # no child imports anything
        if "__main__" not in module.name:
            import_module(module.name)
    for name in ("yaml", "filelock", "email.utils", "difflib"):
        with contextlib.suppress(ImportError):
            import_module(name)
    shim = ctypes.CDLL(os.environ.pop("FAULTS_LIBRARY"))
    numbers = ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int
    shim.faults_arm.argtypes = (ctypes.c_char_p, ctypes.c_char_p, *numbers)
    shim.faults_hit.restype = ctypes.c_char_p
    os.environ.pop("LD_PRELOAD")
    for line in sys.stdin:
        answer = _answer(shim, json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _answer(shim: ctypes.CDLL, asked: Mapping[str, Any]) -> dict[str, Any]:
    files = [os.memfd_create(name) for name in ("out", "err", "counts", "log")]
    child = os.fork()
    if not child:
        _child(shim, asked, *files)
    _, status = os.waitpid(child, 0)
    out, err, counts, log = (_content(file) for file in files)
    told = json.loads(counts) if counts else {"counts": None, "hit": ""}
    return {"code": os.waitstatus_to_exitcode(status), "out": out, "err": err, "log": log, **told}


def _content(file: int) -> str:
    with open(file, "rb") as opened:
        opened.seek(0)
        return opened.read().decode(errors="replace")


def _child(shim: ctypes.CDLL, asked: Mapping[str, Any], out: int, err: int, counts: int, log: int) -> None:
    code = 70
    try:
        signal.alarm(_SECONDS)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.environ.clear()
        os.environ.update(asked["environ"])
        os.chdir(asked["cwd"])
        sys.argv = ["helixstore", *asked["argv"]]
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")      # noqa: SIM115
        if asked["arm"]:
            inside, where, *rest = asked["arm"]
            shim.faults_arm(inside.encode(), where.encode(), *rest, log if asked["log"] else -1)
        try:
            from helixstore.cli.app import run

            run()
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        found = (ctypes.c_long * (1 + len(CLASSES)))()
        shim.faults_counts(found)
        os.write(counts, json.dumps({"counts": list(found), "hit": shim.faults_hit().decode()}).encode())
    except BaseException:
        import traceback

        os.write(err, traceback.format_exc().encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
