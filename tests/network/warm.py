"""Runs command lines of helixstore one after the other, each in a process of its own that has imported everything
already, which is most of what a command costs.

Reads lines of JSON: {"arguments", "environ", "out", "error"}, the last two files, or with "code" (lines of Python)
instead of "arguments"; answers each with its exit status.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from importlib import import_module

_MODULES = (
    "engine", "session", "trial", "index", *(f"commands.{name}" for name in (
        "back", "doctor", "explain", "init", "intents", "queries", "usage", "verify")),
    "farm.farm", "farm.handlers", "store.gc", "store.verify", "sync.change", "cli.app", "cli.ask", "cli.share",
    "cli.setup", "cli.upkeep", "cli.findings", "cli.report", "cli.progress", "cli.trial", "cli.providers",
    "providers.registry", "formats",
)


def one(request: dict[str, object]) -> int:
    """A command in a child; its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        for number, name in ((1, "out"), (2, "error")):
            os.dup2(os.open(str(request[name]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin = open(0)                             # noqa: SIM115 # the child's own, until it ends
        os.environ.clear()
        os.environ.update(request["environ"])           # type: ignore[call-overload]
        if "code" in request:
            exec(str(request["code"]), {"__name__": "__main__"})
        else:
            sys.argv = ["helixstore", *request["arguments"]]    # type: ignore[misc]
            import_module("helixstore.cli").main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    for name in _MODULES:
        import_module(f"helixstore.{name}")
    gc.freeze()
    for line in sys.stdin:
        print(one(json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
