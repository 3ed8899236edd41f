"""The Xet hash of a file: the name under which the Hugging Face hub and its client know large files.

Computed by the hub's own `hf_xet`, which comes with huggingface_hub, from the file alone: no network, constant memory.
It runs in a process of its own: inside ours it would start threads that no fork survives, answer Ctrl-C itself, and
leave a log in the hub's folders. Starting it takes 60 ms, once for any number of files.

Measured with hf_xet 1.8.0 on one core: 0.8 s for 1 GiB in the page cache, which is its own speed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from types import TracebackType

__all__ = ["XetHasher", "xet_available"]

_HASH = re.compile(r"(?!0{64})[0-9a-f]{64}")
_CHILD = """
import json, sys
import hf_xet
for line in sys.stdin:
    try:
        answer = hf_xet.hash_files([json.loads(line)])[0].hash
    except OSError:
        answer = None
    print(json.dumps(answer), flush=True)
"""


def xet_available() -> bool:
    """Whether `hf_xet` is installed; on some machines the hub's client goes without it."""
    return importlib.util.find_spec("hf_xet") is not None


class XetHasher:
    """Xet hashes, file by file; the process that computes them starts with the first and ends with the block."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> XetHasher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start the process ahead of the first file: it is ready when that comes."""
        if self._process is None and xet_available():
            self._process = _start()

    def abort(self) -> None:
        """End the process at once, also while another call waits for it; that one's answer is None. For signals."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End the process; the next file starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def hash(self, path: str) -> str | None:
        """The Xet hash of a file in lower-case hex; None when it is empty, or could not be read.

        Args:
            path: absolute.
        """
        process = self._process = self._process or _start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(path) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline() or "null")
        except BrokenPipeError:                     # hf_xet cannot be loaded, or has ended the process
            self.close()
            return None
        return answer if isinstance(answer, str) and _HASH.fullmatch(answer) else None


def _start() -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-c", _CHILD]      # -P: nothing is imported from the current folder
    environ = {**os.environ, "HF_XET_LOG_DEST": os.devnull}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL,  # noqa: S603
                            text=True, env=environ)
