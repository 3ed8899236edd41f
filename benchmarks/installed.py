"""The wheel, installed fresh: what it brings beyond huggingface_hub, in bytes, and whether it works from there.

Two environments are made, one with huggingface_hub alone and one with helixstore, bytecode included, as pip leaves
them. Fails at 30 MB or more, with torch, or when the installed commands do not run. Needs a package index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

LIMIT = 30_000_000
REPOSITORY = Path(__file__).resolve().parents[1]


def environment(folder: Path, *wanted: str) -> Path:
    """An environment with these packages: the folder of its commands."""
    venv.create(folder, with_pip=True)
    commands = folder / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([commands / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted],
                   check=True)
    return commands


def size(folder: Path) -> int:
    """Bytes of all files below a folder, each inode once."""
    inodes = {(status.st_dev, status.st_ino): status.st_size for path in folder.rglob("*")
              if not path.is_symlink() and path.is_file() and (status := path.stat())}
    return sum(inodes.values())


def works(commands: Path, home: Path) -> None:
    """The installed commands, in a home of their own."""
    home.mkdir()
    environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
    for words in (["--help"], ["init", "--all", "--yes"], ["sync", "--yes"], ["providers"]):
        done = subprocess.run([commands / "helixstore", *words], env=environ, cwd=home, capture_output=True, text=True,
                              check=False)
        if done.returncode:
            sys.exit(f"helixstore {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def main() -> None:
    """Build, install, measure, run."""
    with tempfile.TemporaryDirectory(prefix="helixstore-installed-") as name:
        folder = Path(name)
        source = folder / "source"                  # a copy: what an earlier build left in the checkout stays out
        for part in ("helixstore", "layouts"):
            shutil.copytree(REPOSITORY / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("pyproject.toml", "README.md"):
            shutil.copy(REPOSITORY / part, source)
        subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--wheel-dir", folder, source], check=True)
        (wheel,) = folder.glob("*.whl")
        commands = environment(folder / "ours", str(wheel))
        environment(folder / "theirs", "huggingface_hub")
        ours, theirs = size(folder / "ours"), size(folder / "theirs")
        torch = any((folder / "ours").rglob("torch"))
        works(commands, folder / "home")
    print(f"helixstore with its dependencies       {ours:>12,} bytes")
    print(f"huggingface_hub with its dependencies  {theirs:>12,} bytes")
    print(f"beyond huggingface_hub                 {ours - theirs:>12,} bytes, under {LIMIT:,} wanted")
    if torch or ours - theirs >= LIMIT:
        sys.exit("torch is among them" if torch else "that is too much")


if __name__ == "__main__":
    main()
