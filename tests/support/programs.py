"""Start the real programs, each from its own environment under `.venvs/`, and talk to them over loopback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "Ended", "ask", "free_port", "interpreter", "python", "serving", "site_packages"]

ROOT = Path(__file__).resolve().parents[2]


class Ended(AssertionError):
    """A server ended before it answered. `status` is its exit status, negative for a signal."""

    def __init__(self, command: object, status: int, log: str) -> None:
        super().__init__(f"{command!r} ended with {status}\n{log}")
        self.status = status


def interpreter(name: str) -> Path:
    """The Python of a program's environment; its absence is a failure, since these tests were asked for."""
    path = ROOT / ".venvs" / name / "bin" / "python"
    assert path.exists(), f"the environment .venvs/{name} is missing: run `make test-programs`"
    return path


def site_packages(name: str) -> Path:
    """Where the environment keeps its packages."""
    return next((interpreter(name).parent.parent / "lib").glob("python3*/site-packages"))


def python(name: str, script: str, *arguments: str | Path, environ: Mapping[str, str], timeout: float = 150) -> Any:
    """Run `script` in a program's environment; it prints one JSON document on its last line, which is returned.

    Args:
        name: the environment.
        script: Python source.
        arguments: its `sys.argv[1:]`.
        environ: all that it sees.
        timeout: seconds.
    """
    command = [str(interpreter(name)), "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=dict(environ), cwd=environ["HOME"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{name}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return json.loads(done.stdout.strip().splitlines()[-1])


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(command: Sequence[object], health: str, environ: Mapping[str, str], log: Path,
            timeout: float = 60) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers `health` with 200, stopped with all its children at the end.

    Args:
        command: the program and its arguments.
        health: the whole address to ask.
        environ: all that it sees; it starts in its HOME.
        log: where its output goes; shown when it does not come up.
        timeout: seconds until it must answer.
    """
    with log.open("wb") as output:
        process = subprocess.Popen([str(word) for word in command], env=dict(environ), cwd=environ["HOME"],
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            _await(process, health, log, timeout)
            yield process
        finally:
            _stop(process)


def ask(address: str, document: object = None, method: str | None = None, timeout: float = 90) -> Any:
    """One request; the JSON document that comes back, or its text when it is not JSON; an error status raises."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            text = response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{address}: {error.code} {error.read().decode(errors='replace')}") from None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _await(process: subprocess.Popen[bytes], health: str, log: Path, timeout: float) -> None:
    """Wait until `health` answers 200; the process's end and the time limit are failures."""
    for _ in range(int(timeout * 20)):
        with contextlib.suppress(OSError), urllib.request.urlopen(health, timeout=5) as response:
            if response.status == 200:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(timeout=0.05)
            raise Ended(process.args, status, _tail(log))
    raise AssertionError(f"{process.args!r} does not answer {health} after {timeout} s\n{_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the server, which stops its own children; whatever is left of its session is killed."""
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=15)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]
