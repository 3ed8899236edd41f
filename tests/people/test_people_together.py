"""Three people fill one store: what each sees of the others', and what nobody can do to them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from support.hub import cached
from support.people import People, User, blob_of, founded, traces
from support.raw import model_gguf

PUBLIC = model_gguf(seed=11)
OTHER = model_gguf(seed=12)
SECRET = model_gguf(seed=13)
REPOSITORY = "acme/rocket-GGUF"


def from_the_hub(user: User, data: bytes = PUBLIC, name: str = "rocket-Q4_K_M.gguf", repository: str = REPOSITORY,
                 ) -> Path:
    """A model in this person's hub cache, as the client leaves it."""
    source = user.put(f"tmp/{name}", data)
    snapshot = cached(user.home / ".cache/huggingface/hub", repository, [source])
    user.own_all(user.home / ".cache")
    source.unlink()
    for path in (user.home / ".cache").rglob("*"):
        user.own(path, 0o755 if path.is_dir() else 0o644)
    return snapshot / name


def open_to(user: User, program: str) -> Path:
    """A program of this person's is on and has a folder; where."""
    folder = user.home / {"lmstudio": ".lmstudio/models", "gpt4all": ".local/share/nomic.ai/GPT4All"}[program]
    folder.mkdir(parents=True)
    user.own_all(user.home / folder.relative_to(user.home).parts[0])
    return folder


def files(folder: Path) -> list[Path]:
    """Files and links below."""
    return sorted(path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())


@pytest.fixture
def shared(lab: People) -> People:
    """carol has made the store; what acme publishes is public."""
    founded(lab, lab.carol)
    site = lab.folder / "etc/helixstore/config.toml"
    site.write_text(f'{site.read_text()}public = ["acme/*"]\n')
    return lab


def test_what_one_takes_in_the_others_see_by_a_symbolic_link_and_open(shared: People) -> None:
    lab = shared
    own = from_the_hub(lab.alice)
    done = lab.alice.document("sync")
    assert [one["model"] for one in done["adopted"]] == ["rocket-GGUF"], done
    blob = blob_of(lab, PUBLIC)
    assert blob.stat().st_uid == lab.alice.uid
    assert blob.stat().st_ino == own.stat().st_ino, "a hard link of her own file"
    assert blob.stat().st_mode & 0o777 == 0o444
    theirs = open_to(lab.bob, "lmstudio")
    lab.bob.document("sync")
    [link] = [path for path in files(theirs) if path.suffix == ".gguf"]
    assert link.is_symlink()
    assert os.readlink(link) == str(blob)
    assert lab.bob.reads(link) == PUBLIC
    path = lab.bob.helix("path", "rocket-GGUF").strip()
    assert lab.bob.reads(path) == PUBLIC
    assert lab.carol.reads(path) == PUBLIC, "a farm can be read by the group"
    assert lab.stranger.reads(link) is None
    again = lab.bob.document("sync")
    assert again["actions"] == []


def test_a_duplicate_of_anothers_model_gives_way_to_a_link_to_it(shared: People) -> None:
    lab = shared
    from_the_hub(lab.alice)
    lab.alice.helix("sync")
    open_to(lab.bob, "lmstudio")
    copy = lab.bob.put(".lmstudio/models/bob/secret-nickname/nick.gguf", PUBLIC)
    done = lab.bob.document("sync")
    assert done["saved_bytes"] == len(PUBLIC), done
    assert copy.is_symlink()
    assert os.readlink(copy) == str(blob_of(lab, PUBLIC))
    assert lab.bob.reads(copy) == PUBLIC
    assert not traces(lab, "nickname", "nick.gguf"), "what bob calls it is his"
    assert lab.bob.document("show", "nick")["name"] == "rocket-GGUF"


def test_a_rotten_blob_of_anothers_is_never_shown_and_never_costs_the_last_copy(shared: People) -> None:
    lab = shared
    from_the_hub(lab.alice)
    lab.alice.helix("sync")
    blob = blob_of(lab, PUBLIC)
    before = blob.stat()
    blob.chmod(0o644)
    blob.write_bytes(PUBLIC[:-1] + b"!")
    blob.chmod(0o444)
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    theirs = open_to(lab.bob, "lmstudio")
    lab.bob.helix("sync", expect=(0, 3))
    assert not [path for path in files(theirs) if path.suffix == ".gguf"]
    lab.carol.helix("providers", "on", "lmstudio")
    copy = lab.carol.put(".lmstudio/models/carol/own/own.gguf", PUBLIC)
    lab.carol.helix("sync", expect=(0, 3))
    assert not copy.is_symlink()
    assert copy.read_bytes() == PUBLIC


def test_what_is_private_leaves_no_trace_until_it_is_shared_by_name(shared: People) -> None:
    lab = shared
    lab.carol.helix("providers", "on", "lmstudio")
    secret = lab.carol.put(".lmstudio/models/carol/plan-x/plan-x-Q4_K_M.gguf", SECRET)
    done = lab.carol.document("sync")
    assert done["adopted"] == []
    assert any("plan-x" in note and "helixstore share" in note for note in done["notes"])
    assert lab.carol.document("status")["waiting"] == [str(secret)]
    digest = blob_of(lab, SECRET).name
    words = ("plan-x", digest, hashlib.sha256(SECRET).hexdigest())
    assert not traces(lab, *words)
    assert not blob_of(lab, SECRET).exists()
    again = lab.carol.document("sync")
    assert again["actions"] == []
    assert lab.carol.document("status")["waiting"] == [str(secret)]
    theirs = open_to(lab.bob, "lmstudio")
    lab.bob.helix("sync")
    assert not files(theirs)

    lab.carol.helix("share", str(secret))
    assert lab.carol.document("status")["waiting"] == []
    lab.bob.helix("sync")
    assert [lab.bob.reads(path) for path in files(theirs) if path.suffix == ".gguf"] == [SECRET]


def test_one_who_kept_a_file_to_themselves_gives_it_to_the_group_alone(shared: People) -> None:
    lab = shared
    secret = lab.alice.put("mine/hidden.gguf", SECRET, 0o600)
    lab.alice.helix("share", str(secret))
    blob = blob_of(lab, SECRET)
    assert blob.stat().st_mode & 0o777 == 0o440
    assert blob.stat().st_gid == lab.gid
    assert secret.stat().st_mode & 0o077 == 0o040
    theirs = open_to(lab.bob, "lmstudio")
    lab.bob.helix("sync")
    assert [lab.bob.reads(path) for path in files(theirs) if path.suffix == ".gguf"] == [SECRET]
    assert lab.stranger.reads(secret) is None


def test_prompts_and_names_of_programs_stay_the_persons_own(shared: People) -> None:
    from support.household import Household

    lab = shared
    from_the_hub(lab.alice)
    lab.alice.helix("sync")
    Household(lab.bob.home).ollama("bobs-oracle", "latest", PUBLIC, template="{{ .Prompt }}",
                                   system="You know the merger date.")
    lab.bob.own_all(lab.bob.home / ".ollama")
    lab.bob.document("sync")
    assert not traces(lab, "bobs-oracle", "merger")
    shown = json.dumps(lab.bob.document("show", "bobs-oracle:latest"))
    assert "bobs-oracle" in shown, "bob finds it under his own name"
    lab.bob.helix("reindex")
    assert "bobs-oracle" in json.dumps(lab.bob.document("show", "bobs-oracle:latest"))
    lab.alice.helix("sync")
    assert "bobs-oracle" not in json.dumps(lab.alice.document("list"))


def test_a_blob_that_is_kept_from_the_others_is_told_and_not_shown(shared: People) -> None:
    lab = shared
    from_the_hub(lab.alice)
    lab.alice.helix("sync")
    blob_of(lab, PUBLIC).chmod(0o400)
    theirs = open_to(lab.bob, "lmstudio")
    done = lab.bob.document("sync", expect=(0, 3))
    assert not [path for path in files(theirs) if path.suffix == ".gguf"]
    assert any(issue["kind"] == "unreadable" and "cannot be read by you" in issue["message"]
               for issue in done["issues"]), done["issues"]


def test_who_removes_a_model_takes_it_from_themselves_alone(shared: People) -> None:
    lab = shared
    from_the_hub(lab.alice)
    lab.alice.helix("sync")
    hers = open_to(lab.alice, "gpt4all")
    theirs = open_to(lab.bob, "lmstudio")
    lab.alice.helix("providers", "on", "gpt4all")
    lab.alice.helix("sync")
    lab.bob.helix("sync")
    assert any(path.suffix == ".gguf" for path in files(theirs))
    lab.bob.helix("remove", "rocket-GGUF", "--yes")
    assert not any(path.suffix == ".gguf" for path in files(theirs))
    lab.bob.helix("gc", "--now", "--yes")
    lab.bob.helix("sync")
    assert not any(path.suffix == ".gguf" for path in files(theirs)), "what was removed stays removed"
    lab.alice.helix("sync")
    assert any(lab.alice.reads(path) == PUBLIC for path in files(hers))
    assert blob_of(lab, PUBLIC).exists()


def test_nobody_touches_what_is_anothers(shared: People) -> None:
    """Each try is a real call by bob, who is a member, on what alice has put there."""
    lab = shared
    from_the_hub(lab.alice)
    lab.alice.helix("sync")
    lab.bob.helix("sync")
    hers = [path for path in lab.store.rglob("*") if path.lstat().st_uid == lab.alice.uid]
    assert {path.relative_to(lab.store).parts[0] for path in hers} >= {"blobs", "meta", "manifests", "refs", "hosts",
                                                                       "farms"}
    tries = """
import errno, secrets
done = []
for path in sys.argv[1:]:
    for what, call in {
        'unlink': lambda: os.unlink(path), 'rmdir': lambda: os.rmdir(path),
        'rename': lambda: os.rename(path, path + '-x'),
        'replace': lambda: (open('/tmp/' + name, 'w').close(), os.replace(os.path.dirname(path) + '/' + name, path)),
        'write': lambda: os.close(os.open(path, os.O_WRONLY)), 'chmod': lambda: os.chmod(path, 0o777),
        'truncate': lambda: os.truncate(path, 0), 'link': lambda: os.link(path, sys.argv[0] or '/tmp/x'),
        'utime': lambda: os.utime(path, (1, 1)),
        'plant': lambda: os.close(os.open(path + '/planted', os.O_CREAT | os.O_WRONLY)) if os.path.isdir(path)
            and not os.stat(path).st_mode & 0o1000 else (_ for _ in ()).throw(PermissionError()),
    }.items():
        name = secrets.token_hex(8)
        try:
            call()
        except OSError:
            continue
        finally:
            if os.path.exists('/tmp/' + name): os.unlink('/tmp/' + name)
        done.append(f'{what} {path}')
print('\\n'.join(done))
"""
    for start in range(0, len(hers), 200):
        said = lab.bob.python(tries, *map(str, hers[start:start + 200]))
        assert said.returncode == 0, said.stderr
        assert said.stdout.strip() == ""


def test_a_collection_moves_what_its_person_may_move_and_the_stewards_any(shared: People) -> None:
    lab = shared
    from_the_hub(lab.alice)
    own = from_the_hub(lab.bob, OTHER, "probe-Q4_K_M.gguf", "acme/probe-GGUF")
    lab.alice.helix("sync")
    lab.bob.helix("sync")
    for one in (lab.alice, lab.bob):
        one.helix("remove", "rocket-GGUF", "--yes")
        one.helix("remove", "probe-GGUF", "--yes")
    settled = {"HELIXSTORE_GRACE": "0", "HELIXSTORE_UNDO_WINDOW": "0"}
    for one in lab.members.values():
        one.environ |= settled
    try:
        for _ in range(3):
            lab.bob.helix("gc", expect=(0, 3))
        assert blob_of(lab, PUBLIC).exists(), "alice's is not bob's to move"
        for _ in range(3):
            lab.carol.helix("gc", expect=(0, 3))
        assert lab.bob.reads(own) == OTHER
        assert not [issue for issue in lab.carol.document("status")["issues"] if issue["kind"] != "quarantined"]
    finally:
        for one in lab.members.values():
            for key in settled:
                one.environ.pop(key)


def test_only_the_owner_of_the_store_removes_for_everyone(shared: People) -> None:
    lab = shared
    mine = from_the_hub(lab.alice)
    lab.alice.document("sync")
    code, _, told = lab.bob.types("remove", "rocket-GGUF", "--everyone", "--yes")
    assert code == 1
    assert "who owns the store" in told
    assert mine.read_bytes() == PUBLIC
    assert "rocket-GGUF" in lab.alice.helix("list")


def test_who_has_never_synced_can_read_the_store_through(lab: People) -> None:
    founded(lab, lab.carol)
    lab.alice.put("one-F16.gguf", model_gguf(seed=77))
    lab.alice.helix("add", str(lab.alice.home / "one-F16.gguf"))
    assert lab.bob.document("verify")["bad"] == []
