"""What another member of the group plants in a shared store, in each folder that they may write into: it is not
followed, not believed, not opened, and costs the victim nothing."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helixstore import HelixStore
from helixstore.errors import HelixError
from support.attack import acting, as_user, digest_of, tree
from support.raw import model_gguf

if TYPE_CHECKING:
    from conftest import Gang

MODEL = model_gguf(seed=41)
OTHER = model_gguf(seed=42)
YEAR = 365 * 86_400 * 10**9


def shares(file: Path) -> Callable[[HelixStore], Any]:
    return lambda store: store.share(str(file))


def served(gang: Gang) -> set[bytes]:
    """What the victim's programs can read of models: the bytes behind every name in their folders."""
    found = set()
    for root in (".ollama/models/blobs", ".lmstudio/models"):
        for path in (gang.victim.home / root).rglob("*"):
            if path.is_file() and path.stat().st_size > 1000:
                found.add(gang.victim.reads(path) or b"unreadable")
    return found


def names(store: HelixStore) -> set[str]:
    return {model.name for model in store.shared_models()}


# ---- blobs ----------------------------------------------------------------------------------------------------------


def link_to_the_victims(path: str, gang: Gang) -> None:
    os.symlink(gang.victim.home / "letter.gguf", path)


def link_to_the_same_bytes(path: str, gang: Gang) -> None:
    own = gang.people.folder / f"bait-{os.getpid()}"
    own.write_bytes(MODEL)
    os.symlink(own, path)


def pipe(path: str, gang: Gang) -> None:
    os.mkfifo(path, 0o666)


def unix_socket(path: str, gang: Gang) -> None:
    os.chdir(os.path.dirname(path))
    socket.socket(socket.AF_UNIX).bind(os.path.basename(path))


def folder(path: str, gang: Gang) -> None:
    os.mkdir(path)


def other_bytes(path: str, gang: Gang) -> None:
    Path(path).write_bytes(OTHER)


def other_bytes_of_that_size(path: str, gang: Gang) -> None:
    Path(path).write_bytes(bytes(len(MODEL)))


def hard_link(path: str, gang: Gang) -> None:
    own = gang.people.folder / f"own-{os.getpid()}"
    own.write_bytes(bytes(len(MODEL)))
    os.link(own, path)


KINDS = [link_to_the_victims, link_to_the_same_bytes, pipe, other_bytes_of_that_size,
         *([unix_socket, folder, other_bytes, hard_link] if os.environ.get("SOAK") else [])]
FOLDERS = [("refs", "link"), ("hosts", "folder"), ("farms", "link below"), ("farms", "link")]
if os.environ.get("SOAK"):
    FOLDERS = [(kind, how) for kind in ("refs", "hosts", "farms") for how in ("link", "folder", "link below")]


@pytest.mark.parametrize("plant", KINDS, ids=lambda plant: plant.__name__)
def test_what_lies_under_a_blobs_name_is_never_taken_for_it(gang: Gang, plant: Callable[[str, Gang], None]) -> None:
    """mallory knows what the victim will add, and is there first."""
    file = gang.victim.put("models/mine.gguf", MODEL)
    letter = gang.victim.put("letter.gguf", OTHER)
    before = letter.stat()
    digest = digest_of(MODEL)
    blob = str(gang.store / "blobs" / digest[:2] / digest)
    as_user(gang.mallory, lambda: plant(blob, gang))
    said = ""
    try:
        report = gang.does(gang.victim, shares(file))
        said = " ".join(f"{issue.message} {issue.remedy}" for issue in report.issues)
    except HelixError as error:
        said = f"{error.message} {error.remedy}"
    assert str(gang.mallory.uid) in said, said
    assert "owner of the store" in said
    assert file.read_bytes() == MODEL
    assert letter.read_bytes() == OTHER
    assert (letter.stat().st_mode, letter.stat().st_ino, letter.stat().st_nlink, letter.stat().st_mtime_ns) == (
        before.st_mode, before.st_ino, 1, before.st_mtime_ns)
    assert served(gang) <= {MODEL}

    path = Path(blob)                           # the steward takes it away, and all is well
    as_user(gang.steward, lambda: os.rmdir(path) if path.is_dir() and not path.is_symlink() else os.unlink(path))
    gang.does(gang.victim, shares(file))
    gang.does(gang.victim, lambda store: store.sync())
    assert MODEL in served(gang)
    assert path.stat().st_uid == gang.victim.uid


def test_a_planted_link_makes_no_file_of_the_victims_a_model(gang: Gang) -> None:
    """blobs/<digest of a model> leads to another file of the victim's, which has other bytes."""
    gang.does(gang.mallory, shares(gang.mallory.put("theirs.gguf", MODEL)))
    letter = gang.victim.put(".lmstudio/models/me/letter/letter.gguf", OTHER)
    digest = digest_of(OTHER)
    blob = str(gang.store / "blobs" / digest[:2] / digest)
    bait = gang.store / "blobs" / "00" / ("0" * 64)
    as_user(gang.mallory, lambda: (os.symlink(letter, bait), os.symlink(bait, blob)))
    gang.does(gang.victim, lambda store: store.sync())
    assert letter.read_bytes() == OTHER
    assert letter.stat().st_nlink == 1


def test_another_members_blob_is_read_before_its_first_use(gang: Gang) -> None:
    """A good manifest, a believed ref, and under the digest's name other bytes of the right size."""
    gang.does(gang.mallory, shares(gang.mallory.put("llama.gguf", MODEL)))
    digest = digest_of(MODEL)
    blob = gang.store / "blobs" / digest[:2] / digest

    def exchange() -> None:
        os.unlink(blob)
        blob.write_bytes(bytes(reversed(MODEL)))

    as_user(gang.mallory, exchange)
    report = gang.does(gang.victim, lambda store: store.sync())
    assert any(issue.kind == "quarantined" for issue in report.issues), report.issues
    assert served(gang) == set()


def test_another_members_blob_is_read_again_when_it_was_written_to(gang: Gang) -> None:
    """Size and time are as they were: only the system's own time of change tells."""
    gang.does(gang.mallory, shares(gang.mallory.put("llama.gguf", MODEL)))
    gang.does(gang.victim, lambda store: store.sync())
    assert served(gang) == {MODEL}
    digest = digest_of(MODEL)
    blob = gang.store / "blobs" / digest[:2] / digest

    def rewrite() -> None:
        status = blob.stat()
        blob.chmod(0o644)
        blob.write_bytes(bytes(reversed(MODEL)))
        blob.chmod(0o444)
        os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))

    as_user(gang.mallory, rewrite)
    gang.does(gang.victim, lambda store: store.sync())
    assert served(gang) == set()


def test_what_another_says_of_a_blob_is_computed_anew(gang: Gang) -> None:
    """Ollama's name for a file is its SHA-256: the one that mallory wrote down is not used."""
    gang.does(gang.mallory, shares(gang.mallory.put("llama.gguf", MODEL)))
    digest = digest_of(MODEL)
    meta = gang.store / "meta" / digest[:2] / f"{digest}.json"

    def lie() -> None:
        record = json.loads(meta.read_bytes()) | {"sha256": "ab" * 32, "gitsha1": "cd" * 20}
        meta.unlink()
        meta.write_text(json.dumps(record))

    as_user(gang.mallory, lie)
    gang.does(gang.victim, lambda store: store.sync())
    blobs = {path.name for path in (gang.victim.home / ".ollama/models/blobs").iterdir()}
    import hashlib
    assert f"sha256-{hashlib.sha256(MODEL).hexdigest()}" in blobs
    assert f"sha256-{'ab' * 32}" not in blobs


# ---- folders of one's own -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "how"), FOLDERS)
def test_nobodys_folder_is_taken_for_ones_own(gang: Gang, kind: str, how: str) -> None:
    """mallory makes the victim's folder first: as a link to a place of the victim's, or as one of their own."""
    host = gang.host(gang.victim)
    for one in ("refs", "hosts", "farms"):
        import shutil
        shutil.rmtree(gang.store / one / host, ignore_errors=True)
    private = gang.victim.put("private/diary.txt", b"dear diary").parent

    def plant() -> None:
        place = gang.store / kind / host
        if how == "link":
            os.symlink(private, place)
        else:
            os.mkdir(place, 0o777)
            if how == "link below":
                os.symlink(private, place / str(gang.victim.uid))

    as_user(gang.mallory, plant)
    before = tree(private)
    with pytest.raises(HelixError) as told:
        gang.does(gang.victim, shares(gang.victim.put("models/mine.gguf", MODEL)))
    assert str(gang.mallory.uid) in str(told.value)
    assert tree(private) == before


def test_a_members_own_folders_let_nobody_else_write(gang: Gang) -> None:
    gang.does(gang.victim, shares(gang.victim.put("models/mine.gguf", MODEL)))
    for kind in ("refs", "hosts", "farms"):
        for path in (gang.store / kind).rglob("*"):
            if path.is_dir() and not path.is_symlink() and path.stat().st_uid == gang.victim.uid:
                def intrude(path: Path = path) -> str:
                    try:
                        (path / "x").write_text("")
                    except PermissionError:
                        return "refused"
                    return str(path)
                assert as_user(gang.mallory, intrude) == "refused"


# ---- staging and trash ----------------------------------------------------------------------------------------------


def test_cleaning_up_follows_no_link_also_when_one_is_put_there_meanwhile(gang: Gang) -> None:
    """A staging folder that seems to be the victim's own dead one becomes a link to their home just before it is
    emptied."""
    private = gang.victim.put("private/diary.txt", b"dear diary").parent
    host = gang.host(gang.victim)
    bait = gang.store / "staging" / f"{host}-deadbeef-1-{'a' * 16}"
    as_user(gang.mallory, lambda: (os.mkdir(bait, 0o777), (bait / "diary.txt").write_text("bait")))

    def attacked() -> int:
        from helixstore.store import staging
        honest = staging.real_folder

        def swap(path: str, steward: int, *speakers: int) -> bool:
            honest(path, steward, *speakers)
            with acting(gang.mallory):
                (bait / "diary.txt").unlink(missing_ok=True)
                bait.rmdir()
                os.symlink(private, bait)
            return True                             # as if it had been the victim's

        staging.real_folder = swap                  # type: ignore[assignment]
        with HelixStore(gang.store, environ=gang.victim.environ) as store:
            return int(store._session.store.staging.clean())

    as_user(gang.victim, attacked)
    assert (private / "diary.txt").read_bytes() == b"dear diary"


def test_a_link_in_the_trash_leads_to_no_trash(gang: Gang) -> None:
    """An epoch that is a link to blobs/: what lies there is neither deleted nor brought back through it."""
    gang.does(gang.steward, shares(gang.steward.put("a.gguf", MODEL)))
    digest = digest_of(MODEL)
    as_user(gang.mallory, lambda: os.symlink(f"../blobs/{digest[:2]}", gang.store / "trash" / "0-bait"))

    def look(store: HelixStore) -> list[str]:
        from helixstore.store.trash import trashed
        store.gc()
        return [item.digest for item in trashed(store._session.store)]

    assert gang.does(gang.steward, look) == []
    assert (gang.store / "blobs" / digest[:2] / digest).read_bytes() == MODEL


# ---- forged records -------------------------------------------------------------------------------------------------


def test_a_forged_note_condemns_nothing(gang: Gang) -> None:
    """A note with an early time says that blobs of others have long been without a claim, and were in the trash."""
    gang.does(gang.steward, shares(gang.steward.put("a.gguf", MODEL)))
    digest = digest_of(MODEL)
    gang.does(gang.steward, lambda store: store.remove("a"))
    note = gang.store / "condemned" / "0000.json"

    def forge() -> None:
        note.write_text(json.dumps({"schema": 1, "digests": [digest], "trashed": [["e", digest]],
                                    "settled": [["e", digest]]}))
        os.utime(note, ns=(note.stat().st_mtime_ns - YEAR,) * 2)

    as_user(gang.mallory, forge)
    gang.does(gang.steward, lambda store: store.gc())
    assert (gang.store / "blobs" / digest[:2] / digest).exists()


def test_a_forged_marker_withdraws_nothing_and_a_true_one_is_heard(gang: Gang) -> None:
    gang.does(gang.victim, shares(gang.victim.put("models/mine.gguf", MODEL)))
    digest = digest_of(MODEL)
    marker = gang.store / "quarantine" / f"{digest}.json"
    as_user(gang.mallory, lambda: marker.write_text(json.dumps({"schema": 1, "digest": digest, "why": "no reason"})))
    report = gang.does(gang.victim, lambda store: store.sync())
    assert not [issue for issue in report.issues if issue.kind == "quarantined"]
    assert served(gang) == {MODEL}

    blob = gang.store / "blobs" / digest[:2] / digest
    status = blob.stat()
    blob.chmod(0o644)
    with blob.open("r+b") as file:              # rot: root's write, with the old time
        file.seek(len(MODEL) - 1)
        file.write(b"\xff")
    blob.chmod(0o444)
    os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.utime(marker)
    report = gang.does(gang.victim, lambda store: store.sync(restore=True))
    assert [issue for issue in report.issues if issue.kind == "quarantined"], report.issues
    assert len(list((gang.store / "quarantine").iterdir())) == 2


def test_a_ref_speaks_for_its_owner_only(gang: Gang) -> None:
    """Even where mallory can write into the victim's folder; what the ref names is kept all the same."""
    gang.does(gang.mallory, shares(gang.mallory.put("bad.gguf", OTHER)))
    gang.does(gang.victim, shares(gang.victim.put("models/mine.gguf", MODEL)))
    before = gang.does(gang.victim, names)
    mine = next((gang.store / "refs").glob(f"*/{gang.victim.uid}"))
    theirs = next((gang.store / "refs").glob(f"*/{gang.mallory.uid}/*.json"))
    record = json.loads(theirs.read_bytes())
    mine.chmod(0o2777)
    mine.parent.chmod(0o2777)
    forged = [mine / "11111111-aaaa.json", mine / "22222222-bbbb.json"]

    def forge() -> None:
        old = [path.stem for path in mine.iterdir()]
        forged[0].write_text(json.dumps(record | {"name": "mine", "follows": None, "supersedes": old}))
        forged[1].write_text(json.dumps(record | {"name": "evil", "follows": None}))

    as_user(gang.mallory, forge)
    after, issues = gang.does(gang.victim, lambda store: (names(store), store.status().issues))
    assert after == before
    assert {issue.path for issue in issues if issue.kind == "forged"} == {
        str(path.relative_to(gang.store)) for path in forged}, issues

    def kept(store: HelixStore) -> bool:
        from helixstore.store.alive import Alive
        return digest_of(OTHER) in Alive(store._session.store).read()[0]
    gang.does(gang.mallory, lambda store: store.remove("bad"))
    assert gang.does(gang.steward, kept)


def test_the_uuid_of_anothers_ref_takes_nothing_from_it(gang: Gang) -> None:
    gang.does(gang.victim, shares(gang.victim.put("models/mine.gguf", MODEL)))
    gang.does(gang.mallory, shares(gang.mallory.put("bad.gguf", OTHER)))
    theirs = next((gang.store / "refs").glob(f"*/{gang.victim.uid}/*.json"))
    own = next((gang.store / "refs").glob(f"*/{gang.mallory.uid}"))
    record = json.loads(next(own.iterdir()).read_bytes()) | {"name": "mine"}
    as_user(gang.mallory, lambda: (own / theirs.name).write_text(json.dumps(record)))
    for user in (gang.victim, gang.steward):
        found = gang.does(user, lambda store: {file.blake3 for file in store.show("mine").variants[0].files})
        assert found == {digest_of(MODEL)}


def test_names_that_no_ref_has_stop_nobody(gang: Gang) -> None:
    """Not UTF-8, longer than a key of the index, a number that is none: in one's own folder one may write anything."""
    gang.does(gang.mallory, shares(gang.mallory.put("ok.gguf", MODEL)))
    own = next((gang.store / "refs").glob(f"*/{gang.mallory.uid}"))
    data = next(own.iterdir()).read_bytes()

    def litter() -> None:
        for name in (b"\xff\xfe.json", b"x" * 240 + b".json", b"\x1b[31m.json", b".json", b"..json"):
            Path(os.fsdecode(os.path.join(os.fsencode(own), name))).write_bytes(data)
        os.mkdir(gang.store / "refs" / ("y" * 250))
        os.mkdir(gang.store / "refs" / ("y" * 250) / "0")
        (gang.store / "refs" / ("y" * 250) / "0" / "a.json").write_bytes(data)
        os.mkdir(gang.store / "refs" / "z")
        os.mkdir(gang.store / "refs" / "z" / "٣")
        os.mkdir(gang.store / "refs" / os.fsdecode(b"\xff"))

    as_user(gang.mallory, litter)
    assert gang.does(gang.victim, names) == {"ok"}
    gang.does(gang.steward, lambda store: store.gc())


@pytest.mark.parametrize("record", ["unreadable", "link", "pipe", "huge"])
def test_a_ref_that_cannot_be_read_stops_deleting_and_nothing_else(gang: Gang, record: str) -> None:
    gang.does(gang.mallory, shares(gang.mallory.put("ok.gguf", MODEL)))
    own = next((gang.store / "refs").glob(f"*/{gang.mallory.uid}"))
    path = own / "33333333-cccc.json"

    def plant() -> None:
        if record == "unreadable":
            path.write_text("{}")
            path.chmod(0)
        elif record == "link":
            os.symlink("/etc/passwd", path)
        elif record == "pipe":
            os.mkfifo(path)
        else:
            with path.open("wb") as file:
                file.truncate(1 << 40)

    as_user(gang.mallory, plant)
    assert gang.does(gang.victim, names) == {"ok"}
    report = gang.does(gang.steward, lambda store: store.gc())
    assert any(issue.path and str(path) in issue.path for issue in report.issues), report


def test_forged_ends_of_a_claim_end_nothing(gang: Gang) -> None:
    """`forgotten/` and a lease are believed of the person whose claims they end, and of the store's owner."""
    gang.does(gang.victim, shares(gang.victim.put("models/mine.gguf", MODEL)))
    host = gang.host(gang.victim)

    def forge() -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(gang.store / "forgotten", 0o777)
        for uid in (None, gang.victim.uid):
            path = gang.store / "forgotten" / f"{host}-{uid}.json"
            with contextlib.suppress(PermissionError):
                path.write_text(json.dumps({"schema": 1, "host": host, "uid": uid}))
                os.utime(path, ns=(path.stat().st_mtime_ns + YEAR,) * 2)

    as_user(gang.mallory, forge)

    def kept(store: HelixStore) -> bool:
        from helixstore.store.alive import Alive
        return digest_of(MODEL) in Alive(store._session.store).read()[0]
    assert gang.does(gang.steward, kept)


def test_a_hint_of_a_volume_is_read_as_a_file_only(gang: Gang) -> None:
    """volumes/<id>.json makes no volume here, and a pipe as its list hangs nobody."""
    def plant() -> None:
        (gang.store / "volumes" / f"{'a' * 32}.json").write_text(json.dumps({"schema": 1, "name": "v"}))
        os.mkfifo(gang.store / "volumes" / f"{'a' * 32}.blobs", 0o666)

    as_user(gang.mallory, plant)
    file = gang.victim.put("models/mine.gguf", MODEL)
    report = gang.does(gang.victim, shares(file))
    assert file.read_bytes() == MODEL
    assert not [issue for issue in report.issues if issue.kind != "away"], report.issues
    assert (gang.store / "blobs" / digest_of(MODEL)[:2] / digest_of(MODEL)).exists()
    assert stat.S_ISFIFO((gang.store / "volumes" / f"{'a' * 32}.blobs").lstat().st_mode)
