"""What is run or carried out is this person's alone: saved plans, layout files, settings, state, index, modules."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from helixstore import HelixStore
from helixstore.errors import ConfigError, HelixError, IndexUnusable, PlanOutdated
from helixstore.farm.seal import seal, unseal
from helixstore.fs.private import hold_private, why_open
from support.disks import SOMEBODY, as_root
from support.person import GGUF, Person

LAYOUT = """
import pathlib
pathlib.Path({mark!r}).touch()
from helixstore.providers.layout import Layout
class Mine(Layout):
    name, title, checked, formats = "mine", "Mine", (), ()
    def roots(self, env): return []
    def accepts(self, variant, facts): return None
    def project(self, variants, root, facts): return []
    def discover(self, root, reader): return []
"""


@pytest.fixture
def person(home: Path) -> Person:
    person = Person(home)
    person.put(".lmstudio/models/acme/Small-GGUF/Small-F16.gguf", GGUF)
    HelixStore.init(providers=["lmstudio", "ollama"], environ=person.environ)
    return person


# ---- plans ----------------------------------------------------------------------------------------------------------


def test_a_plan_of_somebody_else_or_a_changed_one_is_not_carried_out(person: Person, tmp_path: Path) -> None:
    """Every byte that is changed, every part that is taken from another plan: refused before anything is read of it."""
    file, victim = tmp_path / "plan.json", person.home / ".bashrc"
    with person.open() as store:
        store.sync(save_plan=file)
        good = file.read_bytes()
        plan = json.loads(good)
        assert plan.pop("seal")
        evil = dict(plan, roots={}, adoptions=[], originals=[], extra=[], actions=[
            ["make", str(person.home), ".bashrc", ["text", "0" * 64, "0" * 64], None, [], 0, None, ""]],
            texts={"0" * 64: "evil"})
        small = dict(plan, actions=[], adoptions=[], originals=[], extra=[
            {"kind": "small", "files": [[str(person.home / ".ssh/id"), "0" * 64, 10]], "digests": []}])
        for bad in (evil, small, plan, dict(plan, seal="0" * 64), dict(evil, seal=json.loads(good)["seal"])):
            file.write_text(json.dumps(bad))
            with pytest.raises(PlanOutdated, match="not a plan that you have saved"):
                store.apply_file(file)
        for cut in (b"", b"{", b"}\n", good[:-1], good + b" ", good.replace(b"lmstudio", b"lmstudi0", 1)):
            file.write_bytes(cut)
            with pytest.raises(PlanOutdated):
                store.apply_file(file, dry_run=True)
        assert not victim.exists()
        file.write_bytes(good)
        assert store.apply_file(file).linked
    key = next((person.home / ".local/state/helixstore").glob("*/plan.key"))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_the_seal_is_of_one_person_and_one_store(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    sealed = seal(b'{"a":1}\n', str(one))
    assert json.loads(sealed)["a"] == 1
    assert unseal(sealed, str(one)) == b'{"a":1}\n'
    seal(b"{}\n", str(other))
    for state in (str(other), str(tmp_path)):
        with pytest.raises(PlanOutdated):
            unseal(sealed, state)


def test_a_plan_is_not_written_through_a_link(person: Person, tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("dear")
    (tmp_path / "plan.json").symlink_to(letter)
    with person.open() as store:
        store.sync(save_plan=tmp_path / "plan.json")
    assert letter.read_text() == "dear"
    assert stat.S_IMODE((tmp_path / "plan.json").lstat().st_mode) == 0o600


# ---- layouts, settings ----------------------------------------------------------------------------------------------


@as_root
@pytest.mark.parametrize("how", ["file 666", "file 664", "file of another", "folder 777", "folder of another",
                                 "config 777"])
def test_a_layout_that_others_could_have_written_is_not_run(person: Person, tmp_path: Path, how: str) -> None:
    mark = tmp_path / "ran"
    file = person.put(".config/helixstore/layouts/mine.py", LAYOUT.format(mark=str(mark)).encode())
    file.parent.chmod(0o700)
    file.parent.parent.chmod(0o700)
    what = {"file": file, "folder": file.parent, "config": file.parent.parent}[how.split()[0]]
    if how.endswith("another"):
        os.chown(what, SOMEBODY, SOMEBODY)
    else:
        os.chown(what, 0, SOMEBODY)
        what.chmod(int(how.split()[1], 8))
    layouts, issues = HelixStore.layouts(person.environ)
    assert not mark.exists()
    assert "mine" not in [layout.name for layout in layouts]
    assert [issue for issue in issues if str(what) in issue.path and issue.remedy], issues


def test_no_compiled_file_beside_a_layout_is_read_or_written(person: Person, tmp_path: Path) -> None:
    import py_compile
    mark, evil = tmp_path / "ran", tmp_path / "evil"
    file = person.put(".config/helixstore/layouts/mine.py", LAYOUT.format(mark=str(mark)).encode())
    file.parent.chmod(0o700)
    bad = tmp_path / "bad.py"
    bad.write_text(f"import pathlib; pathlib.Path({str(evil)!r}).touch()\n")
    cache = file.parent / "__pycache__" / f"mine.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(bad), cfile=str(cache), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    HelixStore.layouts(person.environ)
    assert mark.exists()
    assert not evil.exists()
    shutil.rmtree(cache.parent)
    HelixStore.layouts(person.environ)
    assert not cache.parent.exists()


@as_root
def test_a_sites_settings_that_others_may_write_are_left_out(person: Person, tmp_path: Path) -> None:
    from helixstore.places import Places
    from helixstore.settings import load
    environ = person.environ | {"XDG_CONFIG_DIRS": str(tmp_path)}
    file = tmp_path / "helixstore" / "config.toml"
    file.parent.mkdir()
    file.write_text('share = "chosen"\n')
    file.parent.chmod(0o755)
    for mode, folder, used in ((0o644, 0o755, True), (0o666, 0o755, False), (0o644, 0o777, False)):
        file.chmod(mode)
        file.parent.chmod(folder)
        found = load(Places.of(environ))
        assert (found.share == "chosen") is used
        assert any("left out" in issue.message for issue in found.issues) is not used


# ---- state and index ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_what_is_private_is_closed_whatever_the_umask(home: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        person = Person(home)
        person.put(".lmstudio/models/acme/Small-GGUF/Small-F16.gguf", GGUF)
        HelixStore.init(providers=["lmstudio"], environ=person.environ)
        with person.open() as store:
            store.sync(save_plan=home / "plan.json")
            store.sync()
    finally:
        os.umask(before)
    for place in (home / ".local/state/helixstore", home / ".cache/helixstore", home / ".config/helixstore"):
        assert stat.S_IMODE(place.stat().st_mode) & 0o077 == 0, place
    for place in (home / ".local/state/helixstore", home / ".config/helixstore"):
        assert not [path for path in place.rglob("*") if path.stat().st_mode & 0o022 and path.suffix != ".lock"]


@as_root
@pytest.mark.parametrize(("place", "error"), [
    (".local/state/helixstore", ConfigError), (".cache/helixstore", IndexUnusable)])
def test_anothers_folder_in_the_place_of_ours_is_not_used(person: Person, place: str, error: type[HelixError]) -> None:
    """A journal is carried out, and an index is believed."""
    folder = person.home / place
    with person.open() as store:
        store.sync()
    os.chown(folder, SOMEBODY, SOMEBODY)
    with pytest.raises(error, match=str(SOMEBODY)), person.open() as store:
        store.sync()
    os.chown(folder, 0, 0)
    folder.chmod(0o777)
    with person.open() as store:                    # ours, and open: it is closed
        store.sync()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_who_could_have_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for mode, closed in ((0o600, True), (0o644, True), (0o646, False), (0o622, False)):
        file.chmod(mode)
        assert (not why_open(file.stat())) is closed or mode == 0o622
    assert hold_private(tmp_path / "a/b/c") == ""
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


# ---- modules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["script", "module"])
def test_nothing_is_imported_from_the_folder_it_is_called_in(person: Person, tmp_path: Path, how: str) -> None:
    for name in ("huggingface_hub", "typer", "blake3", "lmdb", "watchdog", "yaml", "tomlkit", "filelock"):
        (tmp_path / f"{name}.py").write_text("import pathlib; pathlib.Path(__file__ + '.ran').touch()\n")
    (tmp_path / "layouts").mkdir()
    (tmp_path / "layouts" / "__init__.py").write_text("import pathlib; pathlib.Path(__file__ + '.ran').touch()\n")
    command = [str(Path(sys.executable).with_name("helixstore"))]
    if how == "module":
        command = [sys.executable, "-m", "helixstore"]
    for words in (["sync", "--yes"], ["status"], ["layouts", "list"]):
        subprocess.run([*command, *words], cwd=tmp_path, env=person.environ, capture_output=True, check=False)
    assert not list(tmp_path.rglob("*.ran"))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_temporary_names_are_unpredictable_exclusive_and_private(person: Person, tmp_path: Path) -> None:
    """Every file that a real sync makes, by its system calls."""
    import re
    logs = []
    for number in range(2):
        log = tmp_path / f"trace{number}"
        with person.open() as store:
            store.undo() if number else None
        subprocess.run(["strace", "-f", "-e", "trace=openat,open,creat", "-o", str(log), sys.executable, "-m",
                        "helixstore", "sync", "--yes", "--restore"], env=person.environ, cwd=person.home,
                       capture_output=True, check=True)
        made = re.findall(r'openat\([^,]+, "([^"]+)", ([A-Z_|]*O_CREAT[A-Z_|]*)(?:, (0\d+))?\)', log.read_text())
        made = [one for one in made if str(person.home) in one[0] and "/__pycache__/" not in one[0]]
        assert len(made) > 5
        logs.append(made)
        for path, flags, mode in made:
            private = any(f"/{place}/helixstore/" in path for place in (".local/state", ".cache", ".config"))
            assert "O_TRUNC" not in flags or private, path
            if not (private and ("O_APPEND" in flags or "lock" in path or path.endswith("mdb"))):
                assert {"O_EXCL", "O_NOFOLLOW"} <= set(flags.split("|")), (path, flags)
                assert int(mode, 8) & 0o077 == 0, (path, mode)
    names = [{os.path.basename(path) for path, flags, _ in made if "O_EXCL" in flags and ".lock" not in path}
             for made in logs]
    assert names[0] & names[1] == set()
    assert all(re.search(r"[0-9a-f]{12}", name) for name in names[0] | names[1]), names
