"""A download that is killed at any point goes on where it was: what was finished never comes twice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from registries import machine
from repository import MIB, weights

from helixstore.store.hashing import hash_bytes
from support import household
from support.hub import Repository, Trouble, hub
from support.person import Person

_CHILD = """
import os
from helixstore import HelixStore
with HelixStore(environ=dict(os.environ)) as store:
    store.download("hf:acme/many-GGUF", quantization="all")
"""
COMMIT = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"


class Counting(Repository):
    """It tells when so many bytes have gone out, and counts the requests for each file: when one is finished, those for
    it are counted, while the last bytes may not be yet."""

    went_out = threading.Condition()
    total = 0

    def asked_for(self, path: str) -> int:
        return self._gets.get(path, -1) + 1

    def went(self, path: str, count: int) -> None:
        super().went(path, count)
        with self.went_out:
            self.total += count
            self.went_out.notify_all()


@pytest.fixture
def many(tmp_path: Path) -> Counting:
    """Files that come in pieces, files that come whole, and one of a few bytes."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number, mebibytes in enumerate((9, 5, 6, 3, 2, 1)):
        (folder / f"many-{number}-F16.gguf").write_bytes(weights(number, mebibytes))
    (folder / "many-6-F16.gguf").write_bytes(household.gguf("many", "F16", 6))
    return Counting.of("acme/many-GGUF", COMMIT, folder)  # type: ignore[return-value]


def finished(person: Person, blobs: dict[str, str]) -> set[str]:
    """The files of the repository that are blobs in the store, whole and under their names."""
    store = person.home / ".local/share/helixstore/store/blobs"
    return {path for path, digest in blobs.items() if (store / digest[:2] / digest).exists()}


def test_killed_at_random_points_it_always_completes_and_fetches_nothing_again_that_was_finished(
    tmp_path: Path, many: Counting,
) -> None:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    chance, kills = random.Random(seed), 100 if os.environ.get("SOAK") else 5
    blobs = {path: hash_bytes(file.read_bytes()).blake3 for path, file in many.files.items()}
    size = sum(file.stat().st_size for file in many.files.values())
    died = completed = 0
    with hub(many) as endpoint:
        while died < kills or not completed:
            person = machine(tmp_path / f"home-{completed}")
            person.environ["HF_ENDPOINT"] = endpoint
            done: dict[str, int] = {}
            while died < kills:
                process = subprocess.Popen([sys.executable, "-c", _CHILD], env=person.environ,
                                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                limit = many.total + chance.randrange(2 * size * 3 // kills)
                with many.went_out:
                    while many.total < limit and process.poll() is None:
                        many.went_out.wait(0.05)
                    many.went_out.wait(chance.choice((0.0, 0.02, 0.2)))
                process.kill()
                alive = process.wait() < 0
                died += alive
                for path in finished(person, blobs):
                    count = many.asked_for(path)
                    assert count == done.setdefault(path, count), f"{path} was asked for again; SEED={seed}"
                if not alive:
                    break
            subprocess.run([sys.executable, "-c", _CHILD], env=person.environ, check=True, timeout=120)
            assert {path: many.asked_for(path) for path in done} == done, f"SEED={seed}"
            with person.open() as store:
                assert finished(person, blobs) == set(blobs), f"SEED={seed}"
                assert store.verify().bad == []
                assert store.sync().nothing
                assert not list(store.folder.glob("hosts/*/*/downloads/*"))
            completed += 1


_DIES = """
import os, signal, sys
from helixstore import HelixStore
from helixstore.download import fetching

fetching._TELL = 0.0                    # of each chunk, at once
first = []

def die(what, path, done, total):
    if what == "download":
        first[:] = first or [done]
        if done - first[0] > int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)

with HelixStore(environ=dict(os.environ), progress=die) as store:
    store.download("hf:acme/large-GGUF", quantization="all")
"""


def test_each_run_keeps_what_came(tmp_path: Path) -> None:
    """Every run is killed when 8 MiB have come, of which those pieces are lost that were on their way: one for each of
    four connections. Who began anew each time would never be done."""
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(4):
        (folder / f"large-{number}-F16.gguf").write_bytes(weights(number, 12))
    person = machine(tmp_path / "home")
    with hub(Repository.of("acme/large-GGUF", COMMIT, folder)) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        runs = 1
        while subprocess.run([sys.executable, "-c", _DIES, str(8 * MIB)], env=person.environ, check=False,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            runs += 1
            assert runs <= 13
    assert runs > 3
    with person.open() as store:
        assert store.verify().bad == []
        assert len(store.show("large-GGUF").variants) == 4


def test_a_repository_that_changes_after_it_was_listed(tmp_path: Path, many: Counting) -> None:
    """What comes is of the commit that was listed, whatever main is by then; if that is gone, it is said."""
    person = machine(tmp_path / "home")
    with hub(many) as endpoint:
        person.environ["HF_ENDPOINT"] = endpoint
        first = next(path for path in sorted(many.files) if path.endswith("gguf"))

        other = weights(99, 9)

        def moved(path: str, number: int) -> Trouble | None:
            if many.files[first].read_bytes() != other:
                many.files[first].write_bytes(other)                # under the same commit: a lie
            return None

        many.trouble = moved
        with person.open() as store:
            with pytest.raises(Exception, match="not what its listing names"):
                store.download("hf:acme/many-GGUF", quantization="all")
            assert [model.name for model in store.shared_models()] == []
            many.trouble = lambda path, number: None
            many.commit = "2" * 40
            store.download("hf:acme/many-GGUF", quantization="all")
            assert {source["revision"] for variant in store.show("many-GGUF").variants
                    for source in variant.sources} == {"2" * 40}
    asked = [line.partition("/resolve/")[2] for line in many.asked if "/resolve/" in line]
    assert {line.partition("/")[0] for line in asked} == {COMMIT, "2" * 40}, "never by the branch"
    assert many.total < 3 * sum(file.stat().st_size for file in many.files.values()) + MIB
