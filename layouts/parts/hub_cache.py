"""The Hugging Face cache, which vLLM, MLX, mistral.rs and transformers share, so that they load by name offline.

    <root>/models--ORG--NAME/
        blobs/<etag>                     hard link or reflink of weights, copy of small files
        snapshots/<commit>/dir/file      -> ../../../blobs/<etag>, always relative and one hop
        refs/main                        the commit, 40 hex digits, no newline: a newline breaks every reader

Real names. A variant whose source is `hub` with a repository and a commit lies under them. Intake guarantees that such
a source is recorded only when every file was hashed and is what that commit's listing says; nothing is checked here.

Names of our own. Everything else (never GGUF, never `*.py`) lies in `<namespace>/<name>`, the namespace being one that
nobody is likely to register, since a client that goes online would get whatever lies there. The commit must be 40 hex
digits to be taken for one; it is the SHA-1 of the manifest's digest (a layout has the digest, not the bytes, of the
manifest), so it is the same on every host and changes with the content. An extra ref, `helixstore`, tells such a
repository from a downloaded one wherever the folder turns up later: `discover` never takes its name for the hub's, and
what lies there already keeps its name and commit.

Links. Hard link or reflink, else a symlink to a stand-in, never to the blob: huggingface_hub before 1.32 and
llama-server resolve a snapshot's link and delete its target. Where no stand-in can be made the weights stay pending.

Etags. Git-tracked files are named by git-SHA-1, LFS files by SHA-256; which a file is stands in the commit's listing
alone. Weights, the patterns of the hub's default .gitattributes and files of 10 MiB and more count as LFS. A wrong
guess costs an online client one small download and is invisible offline, where blob names are free.

Refs. A snapshot without a ref is what `hf cache prune` deletes, and mlx_lm.server lists only what `main` names. One
commit of a repository is `main`: a pinned one, else the one with a variant of plain id, else the one with most
variants. Every other has the ref `refs/<commit>`, by which the Rust clients (mistral.rs) find a commit at all. `main`
is the downloading client's to move: once it has, it stays as it is.

Witness: the snapshot's link to the first weights. `hf cache rm` of repository, revision or file, `mlx_lm.manage
--delete`, `mistralrs cache delete` and a person's `rm -r` all remove it; a moved ref, a new revision, a forced
download and a vanished blob of a small file do not.

Facts: huggingface_hub 0.36.2 to 2.4.0 (file_download, _cache_manager, _shared_blobs, constants), hf-hub 0.4.3 (Rust).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from helixstore.errors import LayoutError
from helixstore.providers.layout import Entry, Env, Facts, Found, Inner, Layout, Reader, Root, Text
from helixstore.values import File, Format, Key, LinkKind, Role, Source, Variant

from .hf_folders import body, folder_names, is_repository, model_files, repository_name, witness
from .hub_found import LOCAL_REF, discover
from .names import alike
from .own import own_sources

__all__ = ["HubCache", "hub_root", "project"]

KINDS = (LinkKind.HARD, LinkKind.REFLINK, LinkKind.STAND_IN)

_COMMIT = re.compile(r"[0-9a-f]{40}")
_CLIENT = "huggingface"              # whose own names `hub_found` gives to what lies there
_LFS_BYTES = 10 << 20
#: what a repository's folder is made of; one of them is there as soon as a download has begun
_BUILT_OF = frozenset({"blobs", "snapshots", "refs", ".no_exist", "trees"})
_LOOKED_AT = 8                                  # repositories: if the cache has changed, all have
_LFS = frozenset({
    "7z", "arrow", "bin", "bz2", "ckpt", "ftz", "gguf", "gz", "h5", "joblib", "mlmodel", "model", "msgpack", "npy",
    "npz", "onnx", "ot", "parquet", "pb", "pickle", "pkl", "pt", "pth", "rar", "safetensors", "tar", "tflite", "tgz",
    "wasm", "xz", "zip", "zst"})


class Snapshot(NamedTuple):
    """One variant in one commit of one repository."""

    variant: Variant
    repository: str
    commit: str
    files: Sequence[File]
    local: bool


class HubCache(Layout):
    """A layout over the shared cache; what differs between the programs is which variants they accept."""

    aliases: ClassVar[frozenset[str]] = frozenset({"sha256", "gitsha1"})
    bears_dangling = False       # one hides its whole repository from every scan (_scan_cached_repo)

    def roots(self, env: Env) -> Sequence[Root]:
        """The cache that huggingface_hub uses, or the one the person named for this provider."""
        if env.setting is not None:
            return [Root(env.setting, f"providers.{self.name}.root", label="hub")]
        return [hub_root(env)]

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """Repositories with blobs, snapshots and refs; on Windows plain files in the snapshots."""
        return project(variants, facts)

    def alike(self, variant: Variant) -> frozenset[str]:
        """Models whose names could collide, and those of one repository."""
        return alike(variant, self.name) | alike(variant, _CLIENT)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """Every whole model in every snapshot."""
        return discover(root, reader)

    def drifted(self, root: Root, reader: Reader) -> str:
        """A later version's number, or repositories of which none is built as all are."""
        if root.label != "hub":
            return ""
        number = (reader.text(root.path / "version.txt", 64) or "").strip()
        if number not in ("", "0", "1"):
            return "its version.txt says that it is later than version 1"
        some = [seen for seen in reader.entries(root.path) if seen.name.startswith("models--")][:_LOOKED_AT]
        inside = [seen.name for repository in some for seen in reader.entries(repository.path)]
        if inside and not _BUILT_OF.intersection(inside):
            return "none of its repositories has blobs, snapshots or refs"
        return ""

    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """`hf cache rm` of the commits that hold the variant."""
        from huggingface_hub import scan_cache_dir

        paths = [entry.path.split("/") for entry in entries if entry.key == variant.key]
        info = scan_cache_dir(root)
        here = frozenset(repository for repository in info.repos if repository.repo_path.name == paths[0][0])
        commits = {path[2] for path in paths if path[1] == "snapshots"}
        replace(info, repos=here).delete_revisions(*commits).execute()


def hub_root(env: Env) -> Root:
    """Where huggingface_hub keeps models for this person (2.x `constants.py`; read by it once, at import)."""
    for name, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if value := env.environ.get(name, "").strip():
            return Root(env.expand(_variables(value, env)) / below, name, label="hub")
    if (cache := env.variable("XDG_CACHE_HOME")) is not None:
        return Root(cache / "huggingface" / "hub", "XDG_CACHE_HOME", label="hub")
    return Root(env.home / ".cache" / "huggingface" / "hub", "default", label="hub")


def _variables(value: str, env: Env) -> str:
    """`$NAME` and `${NAME}` replaced, as huggingface_hub does in HF_* variables; unknown ones stay."""
    return re.sub(r"\$(?:(\w+)|\{([^}]*)\})", lambda m: env.environ.get(m[1] or m[2], m[0]), value)


def project(variants: Sequence[Variant], facts: Facts) -> Iterator[Entry]:
    """The entries of all variants, relative to the cache. Variants of one commit share entries, each under its own key.

    Raises:
        LayoutError: a file has no SHA-256 or git-SHA-1 yet, though `aliases` asks for them.
    """
    snapshots = list(_snapshots(variants, facts))
    mains = _mains(snapshots)
    for snapshot in snapshots:
        repository = f"models--{snapshot.repository.replace('/', '--')}"
        yield from _files(repository, snapshot, plain=facts.platform == "win32")
        main = mains[snapshot.repository] == snapshot.commit
        refs = ("main", LOCAL_REF) if snapshot.local else ("main",) if main else (snapshot.commit,)
        text = Text(snapshot.commit.encode(), _keep_moved)
        for ref in refs:
            yield Entry(f"{repository}/refs/{ref}", text, snapshot.variant.key, order=2)


def _snapshots(variants: Sequence[Variant], facts: Facts) -> Iterator[Snapshot]:
    local: list[Variant] = []
    for variant in variants:
        hub = next((source for source in variant.sources if _fits(source, variant)), None)
        if hub is not None:
            files = [file for file in variant.files if file.role is not Role.PICKLE]
            yield Snapshot(variant, str(hub.repository), str(hub.revision), files, local=False)
        elif variant.format is not Format.GGUF:
            local.append(variant)
    yield from _local(local, repository_name(facts.namespace))


def _local(variants: Sequence[Variant], namespace: str) -> Iterator[Snapshot]:
    """Snapshots under names of our own; what lies under such a name already keeps it, and its commit."""
    lies = {variant.key: source for variant in variants for source in own_sources(variant, _CLIENT)
            if is_repository(source.name) and _COMMIT.fullmatch(source.revision or "")}
    taken = {str(source.name).casefold() for source in lies.values()}
    names: dict[Key, str] = folder_names(variant for variant in variants if variant.key not in lies)
    for variant in variants:
        if (source := lies.get(variant.key)) is not None:
            repository, commit = str(source.name), str(source.revision)
        else:
            repository = f"{namespace}/{names[variant.key]}"
            if repository.casefold() in taken:
                repository = f"{namespace}/{repository_name(f'{names[variant.key][:80]}-{variant.manifest[:8]}')}"
            commit = hashlib.sha1(variant.manifest.encode(), usedforsecurity=False).hexdigest()
        yield Snapshot(variant, repository, commit, model_files(variant, code=False), local=True)


def _fits(source: Source, variant: Variant) -> bool:
    """Whether the variant may lie under this source's repository and commit.

    The same GGUF may have come from elsewhere first, under another file name, which the commit's listing does not have.
    """
    if source.kind != "hub" or not is_repository(source.repository) or not _COMMIT.fullmatch(source.revision or ""):
        return False
    named = source.name if variant.format is Format.GGUF and source.name != source.repository else None
    return named is None or named == witness(variant.files)


def _mains(snapshots: Iterable[Snapshot]) -> dict[str, str]:
    """Repository -> the commit that `main` names."""
    commits: dict[str, dict[str, list[Variant]]] = {}
    for snapshot in snapshots:
        commits.setdefault(snapshot.repository, {}).setdefault(snapshot.commit, []).append(snapshot.variant)

    def rank(commit: str, here: list[Variant]) -> tuple[bool, bool, int, str]:
        return any(v.pinned for v in here), any("@" not in v.key.variant for v in here), len(here), commit

    return {repository: max(found, key=lambda commit: rank(commit, found[commit]))
            for repository, found in commits.items()}


def _files(repository: str, snapshot: Snapshot, plain: bool) -> Iterator[Entry]:
    """The files of one snapshot. `plain`: without symbolic links, as the client itself does it on Windows."""
    key, folder, first = snapshot.variant.key, f"{repository}/snapshots/{snapshot.commit}", witness(snapshot.files)
    seen: set[str] = set()
    for file in snapshot.files:
        if plain:
            yield Entry(f"{folder}/{file.path}", body(file, KINDS), key, file.path == first)
            continue
        etag = _etag(file, snapshot.variant)
        if etag not in seen:
            seen.add(etag)
            yield Entry(f"{repository}/blobs/{etag}", body(file, KINDS), key)
        target = "../" * (2 + file.path.count("/")) + f"blobs/{etag}"
        yield Entry(f"{folder}/{file.path}", Inner(target), key, file.path == first, order=1)


def _etag(file: File, variant: Variant) -> str:
    """The hub's name of the content."""
    role = file.role
    lfs = (role is Role.WEIGHTS or role is Role.PROJECTOR or file.bytes >= _LFS_BYTES
           or file.path.rpartition(".")[2] in _LFS)
    etag = (file.sha256 if lfs else file.gitsha1) or file.sha256
    if etag is None:
        raise LayoutError(f"{file.path} of {variant.key} has neither SHA-256 nor git-SHA-1 yet", "helixstore reindex")
    return etag


def _keep_moved(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes:
    """What lies there, once a client has moved the ref; else ours."""
    return ours if theirs is None or theirs == base else theirs
