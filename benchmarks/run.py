"""Speed and memory, side by side with peers on the same machine in the same run: `make bench`.

Each row pairs a command of ours with a peer and prints the median of the pairwise ratios, with the floor that the
project sets itself. Nothing here fails: a table is for reading, a slow machine is no defect.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models import large, many

PYTHON = sys.executable
GIB = 1 << 30


@dataclass(frozen=True)
class Row:
    """One line of the table. Seconds; `peak` in MiB of the largest process, 0 when it is not asked for."""

    what: str
    ours: float
    peer: str
    theirs: float | None
    ratio: str
    floor: str
    peak: float = 0.0


def timed(command: Sequence[str], env: dict[str, str]) -> tuple[float, float]:
    """Wall seconds and peak resident MiB of one run.

    Raises:
        SystemExit: the command failed; a time of a failure means nothing.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{error.decode()}")
    return time.perf_counter() - begun, usage.ru_maxrss / 1024


def pairs(
    ours: Sequence[str], theirs: Sequence[str], env: dict[str, str], runs: int
) -> tuple[float, float, float, float]:
    """Median seconds of both, median of the pairwise ratios, and our peak MiB; A and B in turn after a warm-up."""
    timed(theirs, env)
    a, b, peak = [], [], 0.0
    for _ in range(runs):
        seconds, memory = timed(ours, env)
        peak = max(peak, memory)
        a.append(seconds)
        b.append(timed(theirs, env)[0])
    return statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in zip(a, b, strict=True)), peak


def adding(scratch: Path, env: dict[str, str], gib: float) -> Row:
    """Adding a page-cached file to a store (hash, link, flush), once Python runs, against the whole of b3sum."""
    if not shutil.which("b3sum"):
        raise SystemExit("b3sum is missing: install the package b3sum to compare with it")
    file, store = scratch / "big.bin", scratch / "add-store"
    block = os.urandom(1 << 20)
    with file.open("wb") as out:
        for number in range(int(gib * 1024)):
            out.write(number.to_bytes(8, "little") + block[8:])
    os.sync()
    ours, theirs, peaks = [], [], []
    for run in range(6):
        peer, _ = timed(["b3sum", str(file)], env)
        seconds, peak = reported([PYTHON, str(Path(__file__).parent / "add.py"), str(store), str(file)], env)
        shutil.rmtree(store)
        if run:                                     # the first of each is a warm-up
            ours.append(seconds)
            theirs.append(peer)
            peaks.append(peak)
    file.unlink()
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return Row(f"add a {gib:g} GiB file", statistics.median(ours), "b3sum", statistics.median(theirs), f"{ratio:.2f}x",
               "<= 1.15x, < 150 MiB", max(peaks))


def reported(command: Sequence[str], env: dict[str, str]) -> tuple[float, float]:
    """The seconds that a command prints as its last word, and its peak resident MiB."""
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    return float(printed.split()[-1]), usage.ru_maxrss / 1024


def linking(scratch: Path, env: dict[str, str], count: int) -> Row:
    """Making many links through plan, journal and ledger against `cp -al`."""
    here = Path(__file__).parent
    ours, theirs = [], []
    for run in range(3):
        folder = scratch / f"links-{run}"
        folder.mkdir()
        seconds, _ = reported([PYTHON, str(here / "links.py"), str(folder), str(count)], env)
        begun = time.perf_counter()
        subprocess.run(["cp", "-al", str(folder / "farm"), str(folder / "copy")], check=True)
        theirs.append(time.perf_counter() - begun)
        ours.append(seconds)
        shutil.rmtree(folder)
    rate = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    return Row(f"link {count:,} entries", statistics.median(ours), "cp -al", statistics.median(theirs),
               f"{rate:.2f} of its rate", ">= 0.5")


def syncing(scratch: Path, env: dict[str, str], models: int) -> list[Row]:
    """A sync with nothing changed, and a list, of many models in all providers."""
    home = scratch / "home"
    home.mkdir()
    many(home / "models", models * 9 // 10, models // 10)
    env = {**env, "HOME": str(home)}
    helix = [PYTHON, "-m", "helixstore"]
    timed([*helix, "init", "--all", "--scan", str(home / "models")], env)
    first, _ = timed([*helix, "sync", "--yes", "--issues-ok"], env)
    again = [timed([*helix, "sync", "--yes", "--issues-ok"], env) for _ in range(6)][1:]
    listed = [timed([*helix, "list"], env)[0] for _ in range(6)][1:]
    rows = [
        Row(f"first sync of {models:,} models", first, "", None, "", ""),
        Row("sync, nothing changed", statistics.median(s for s, _ in again), "", None, "", "< 2 s",
            max(m for _, m in again)),
        Row("list", statistics.median(listed), "", None, "", "< 0.3 s"),
    ]
    shutil.rmtree(home)
    return rows


def watching(scratch: Path, env: dict[str, str]) -> list[Row]:
    """From a new model's being whole to its lying in every program, and an idle minute; of a household of 63 models in
    13 programs, and of 1,000 models."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.household import made

    rows = []
    for name in ("63 models in 13 programs", "1,000 models"):
        home = scratch / name.replace(" ", "-")
        (home / "models").mkdir(parents=True)
        if name.startswith("63"):
            made(home)
        else:
            many(home / "models" / "many", 900, 100)
        its = {**env, "HOME": str(home)}
        timed([PYTHON, "-m", "helixstore", "init", "--all", "--scan", str(home / "models")], its)
        timed([PYTHON, "-m", "helixstore", "sync", "--yes", "--issues-ok"], its)
        told = subprocess.run([PYTHON, str(Path(__file__).parent / "watching.py"), str(home)], env=its, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        found = json.loads(told.stdout)
        rows.append(Row(f"watch, {name}: whole to everywhere", found["median"], "", None,
                        f"worst {found['worst']:.3f} s",
                        "< 0.15 s" if name.startswith("63") else "", found["resident"]))
        rows.append(Row("    processor time of an idle minute", found["idle_cpu"], "", None, "", "near zero"))
        shutil.rmtree(home)
    return rows


def downloading(scratch: Path, env: dict[str, str], mebibytes: int) -> list[Row]:
    """A repository on loopback into a new store, hashes and all, against `hf download` of it; then again, when all is
    there: 200 files."""
    repository, home = scratch / "repository", scratch / "download-home"
    large(repository, mebibytes)
    for number in range(196):
        (repository / f"part-{number:03d}.json").write_text(f"{number}")
    here = Path(__file__).parent
    server = subprocess.Popen([PYTHON, str(here / "downloading.py"), str(repository)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdin is not None
    env = {**env, "HOME": str(home), "HF_ENDPOINT": server.stdout.readline().strip(), "HF_HUB_DISABLE_XET": "1"}
    helix, hf = [PYTHON, "-m", "helixstore"], str(Path(PYTHON).with_name("hf"))
    ours, theirs, again = [], [], []
    for run in range(4):
        home.mkdir()
        timed([*helix, "init", "--provider", "lmstudio"], env)
        seconds = [timed([*helix, "models", "download", "hf:org/bench"], env)[0], 0.0]
        seconds[1] = timed([*helix, "models", "download", "hf:org/bench"], env)[0]
        peer, _ = timed([hf, "download", "org/bench"], env)
        if run:
            ours.append(seconds[0])
            again.append(seconds[1])
            theirs.append(peer)
        shutil.rmtree(home)
    server.stdin.close()
    server.wait()
    shutil.rmtree(repository)
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return [Row(f"download {mebibytes:,} MiB on loopback", statistics.median(ours), "hf download",
                statistics.median(theirs), f"{ratio:.2f}x", "<= 1x"),
            Row("download again, all is there", statistics.median(again), "", None, "", "< 1 s")]


def helping(env: dict[str, str]) -> Row:
    """`helixstore --help` against the import of typer alone."""
    ours, theirs, ratio, _ = pairs([PYTHON, "-m", "helixstore", "--help"], [PYTHON, "-c", "import typer"], env, 15)
    return Row("helixstore --help", ours, "import typer", theirs, f"{ratio:.2f}x", "<= 1.5x")


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    head = ("", "ours", "peer", "theirs", "ratio", "floor", "peak MiB")
    lines = [head, *((r.what, f"{r.ours:.3f} s", r.peer, f"{r.theirs:.3f} s" if r.theirs else "", r.ratio, r.floor,
                      f"{r.peak:.0f}" if r.peak else "") for r in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def main() -> None:
    """Run them all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*", default=["help", "add", "link", "sync", "watch", "download"])
    parser.add_argument("--scratch", type=Path, help="a folder on the disk to measure; the system's own by default")
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--links", type=int, default=100_000)
    parser.add_argument("--gib", type=float, default=4)
    options = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(dir=options.scratch, prefix="helixstore-bench-") as folder:
        scratch = Path(folder)
        env = {"PATH": os.environ["PATH"], "HOME": folder, "PYTHONPATH": str(root), "LANG": "C.UTF-8"}
        rows: list[Row] = []
        for which in options.which:
            if which == "help":
                rows.append(helping(env))
            elif which == "add":
                rows.append(adding(scratch, env, options.gib))
            elif which == "link":
                rows.append(linking(scratch, env, options.links))
            elif which == "sync":
                rows += syncing(scratch, env, options.models)
            elif which == "watch":
                rows += watching(scratch, env)
            elif which == "download":
                rows += downloading(scratch, env, int(options.gib * 256))
            else:
                parser.error(f"there is no benchmark {which}")
    print(table(rows))
    print(f"{os.cpu_count()} cores, {resource.getpagesize()} byte pages, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
