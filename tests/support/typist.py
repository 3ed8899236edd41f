"""Types commands for one person: helixstore is imported once, and each command runs in a child of its own.

    done = typed("list", "--json", environ=person.environ)

Reads lines of JSON from stdin, [arguments, environment, folder, umask], and answers each with [code, out, err]. A child
has never done anything but import, so that it is what a new process would be, without the third of a second for that.
What depends on how a process begins (a terminal, a signal, variables that Python itself reads) is for `python -m`.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping

_typists: dict[int, subprocess.Popen[str]] = {}


def typed(*words: str, environ: Mapping[str, str], folder: str | os.PathLike[str] | None = None,
          check: bool = False) -> subprocess.CompletedProcess[str]:
    """`helixstore WORDS` by this process's own typist, with nobody at a terminal.

    Args:
        words: the arguments.
        environ: all variables that the command sees.
        folder: where it runs; None: here.
        check: it must end with 0.
    """
    if os.getpid() not in _typists:
        _typists[os.getpid()] = subprocess.Popen(
            [sys.executable, "-P", __file__], env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}, cwd="/", text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(_end, os.getpid())
    typist = _typists[os.getpid()]
    assert typist.stdin is not None
    assert typist.stdout is not None
    umask = os.umask(0o077)
    os.umask(umask)
    typist.stdin.write(json.dumps([words, dict(environ), os.fspath(folder or os.getcwd()), umask]) + "\n")
    typist.stdin.flush()
    done = subprocess.CompletedProcess(["helixstore", *words], *json.loads(typist.stdout.readline()))
    if check:
        done.check_returncode()
    return done


def _end(process: int) -> None:
    if os.getpid() == process:
        _typists.pop(process).communicate()


def _type(arguments: list[str], environ: dict[str, str], folder: str, umask: int) -> tuple[int, str, str]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.environ.clear()
            os.environ.update(environ)
            os.chdir(folder)
            os.umask(umask)
            sys.argv = ["helixstore", *arguments]
            code = 70
            try:
                from helixstore.cli import main

                code = main() or 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return os.waitstatus_to_exitcode(status), texts[0], texts[1]


def main() -> None:
    """Until stdin ends."""
    for name in ("helixstore", "helixstore.layouts", "helixstore.layouts.parts"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__") and ".testing" not in module.name:
                with contextlib.suppress(ImportError):          # the command that needs it says so
                    importlib.import_module(module.name)
    for name in ("lmdb", "blake3", "tomlkit", "filelock", "yaml"):
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(_type(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
