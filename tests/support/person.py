"""A person's home, and the engine over it."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from helixstore import HelixStore
from support.raw import model_gguf


@dataclass
class Person:
    """One home. `environ` is all that helixstore sees of the world; by default the least that there is anywhere."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environ = self.environ or {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def open(self) -> HelixStore:
        return HelixStore(environ=self.environ)

    def put(self, path: str, data: bytes, mode: int = 0o644) -> Path:
        """A file of the person's, old enough for its hash to be kept."""
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        file.chmod(mode)
        os.utime(file, (1_700_000_000, 1_700_000_000))
        return file

    def tree(self, *, own: bool = True) -> dict[str, tuple[str, int]]:
        """Every file below home: path -> (content's digest, mode); `own` False leaves helixstore's folders out."""
        found = {}
        for folder, _, names in os.walk(self.home):
            for name in names:
                path = Path(folder, name)
                relative = str(path.relative_to(self.home))
                if not own and "helixstore" in relative:
                    continue
                content = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
                found[relative] = (content, path.lstat().st_mode & 0o7777)
        return found


    def folders(self) -> dict[str, int]:
        """Every folder below home but helixstore's own: path -> mode."""
        return {str(path.relative_to(self.home)): path.stat().st_mode & 0o7777 for path in self.home.rglob("*")
                if path.is_dir() and not path.is_symlink() and "helixstore" not in str(path.relative_to(self.home))}


GGUF = model_gguf(seed=1)


def without(person: Person, path: str) -> None:
    """The person deletes a file or folder."""
    target = person.home / path
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()


def spoil(file: Path, at: int) -> None:
    """Other bytes at a place of a read-only file, as a broken disk leaves them."""
    file.chmod(0o644)
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(b"rubbish")
    file.chmod(0o444)
