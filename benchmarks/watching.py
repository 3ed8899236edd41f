"""How soon `watch` shows a new model everywhere, and what it costs while nothing happens. Prints one JSON object.

    watching.py HOME [--idle SECONDS] [--runs N]

HOME has a store and programs already. A model is put into one program's folder as a browser would, under a temporary
name and then renamed; time runs from there until it lies in every folder where the model before it did.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from models import gguf

FOLDER = ".lmstudio/models/bench"
DIGEST = re.compile("[0-9a-f]{40}")             # of something else than the weights: not the same for the next model


def names_of(number: int, data: bytes) -> tuple[str, ...]:
    """What the model's files are called after, in whatever program."""
    return f"watched-{number:03d}", hashlib.sha256(data).hexdigest()


def put(home: Path, number: int) -> tuple[tuple[str, ...], float]:
    """A new model; its names, and when it was whole."""
    data = gguf(1_000_000 + number)
    folder = home / FOLDER / f"watched-{number:03d}-GGUF"
    folder.mkdir(parents=True)
    part = folder / f"watched-{number:03d}-Q4_K_M.gguf.part"
    part.write_bytes(data)
    part.rename(part.with_suffix(""))
    return names_of(number, data), time.perf_counter()


def places(env: dict[str, str], names: tuple[str, ...]) -> list[str]:
    """Where programs see the model, of those paths that can be told of the next one too."""
    done = subprocess.run([sys.executable, "-m", "helixstore", "list", "--json"], env=env, capture_output=True,
                          check=True)
    found = [path for model in json.loads(done.stdout)["models"] for variant in model["variants"]
             for provider in variant["providers"].values() for path in provider["paths"] if names[0] in model["name"]]
    return sorted({path for path in found if any(name in path for name in names)
                   and not DIGEST.search(path.replace(names[1], ""))})


def until(paths: list[str], deadline: float) -> float:
    """When the last of these paths is there."""
    left = set(paths)
    while left:
        left = {path for path in left if not os.path.lexists(path)}
        if time.perf_counter() > deadline:
            raise SystemExit(f"still missing: {sorted(left)[:3]}")
        time.sleep(0.0005)
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--idle", type=float, default=60)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    home: Path = options.home
    env = {**os.environ, "HOME": str(home)}
    process = subprocess.Popen([sys.executable, "-m", "helixstore", "watch", "--json"], env=env, text=True,
                               stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        began = time.perf_counter()
        while json.loads(process.stdout.readline())["event"] != "started":
            continue
        start = time.perf_counter() - began
        known, _ = put(home, 0)
        while not json.loads(process.stdout.readline()).get("adopted"):
            continue
        where = places(env, known)
        times = []
        for number in range(1, options.runs + 1):
            time.sleep(1)                       # one at a time, as models come
            names, whole = put(home, number)
            expected = where
            for old, new in zip(known, names, strict=True):
                expected = [path.replace(old, new) for path in expected]
            times.append(until(expected, whole + 30) - whole)
        time.sleep(3)
        before = cpu(process.pid)
        time.sleep(options.idle)
        used = cpu(process.pid) - before
        memory = resident(process.pid)
    finally:
        process.terminate()
        process.stdout.read()
        process.wait()
    print(json.dumps({"start": start, "median": statistics.median(times), "worst": max(times), "places": len(where),
                      "idle_cpu": used, "idle": options.idle, "resident": memory}))


def cpu(pid: int) -> float:
    """Seconds of processor time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / (1 << 20)


if __name__ == "__main__":
    main()
