"""Types commands for one person: helixstore is imported once, and each command runs in a child of its own.

Reads lines of JSON from stdin, [arguments, environment, folder, umask], and answers each with [code, out, err]. A child
has never done anything but import, so that it is what a new process would be, without the third of a second for that.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import sys
import tempfile


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
