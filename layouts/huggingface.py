"""The store that all repositories of the Hugging Face cache share, so that the hub's client does not download again.

    <cache>/blobs/
        .huggingface-shared-blobs        "1", newline: the client's mark; without it the client never looks in here
        ab/<Xet hash, 64 hex>            regular file; ours is a hard link to the store's blob
        ab/<Xet hash>.refs               the client's: one `models--ORG--NAME/blobs/<etag>` for each use it made of it
        ab/<Xet hash>.lock               the client's

Before the client (1.32 and newer) downloads a file, whatever the repository, revision and name, it asks the hub for its
Xet hash and looks here. It takes a regular file of the right size that it can read, notes the use in `.refs`, and makes
the repository's `blobs/<etag>` a link to it: nothing is transferred. It trusts the name and hashes nothing. So content
that came from LM Studio or from a folder serves `hf download`, transformers and vLLM when they ask for it by any name.

A cache of a cache. Nothing here shows a model to a program, so no entry is a witness: when the client deletes one
(`hf cache rm`, `hf cache prune`) it is made again, at no cost in bytes. What the client put here itself is as good and
stays. What it uses is not taken from it: while `.refs` names a link that leads here, the entry is left to the client,
which removes it after its last use. Our inode is never in danger, since the client only unlinks.

Only hard links: a symbolic link is refused by the client, and a copy would cost what is to be saved. So nothing lies
here when the store is on another disk than the cache.

Off, with the reason, where the client would not look (switched off by its environment; Windows, where it needs symbolic
links), where the mark has another version, and where there is no mark although a client has downloaded here (`.locks`):
older clients know nothing of this folder, list it as broken, and delete through links. The first download of a newer
one makes the mark. In a cache that no client has used yet, the mark is ours to make; 0.36 to 1.31, if they come later,
warn about the folder in their listing and work as ever.

Facts: huggingface_hub 2.4.0 (`utils/_shared_blobs`, `file_download._hf_hub_download_to_cache_dir`, `constants`), run;
1.28.0 and 0.36.2, run: they ignore the folder. hf_xet 1.8.0.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from helixstore.providers.layout import Entry, Env, Facts, Layout, Reader, Refusal, Root, Text, Weight
from helixstore.values import Format, LinkKind, Role, Variant

from .parts.hub_cache import hub_root

__all__ = ["HubShared"]

_MARK = ".huggingface-shared-blobs"
_VERSION = "1\n"
_PREFIX = re.compile(r"[0-9a-f]{2}")
_SWITCHES = ("HF_HUB_DISABLE_SHARED_BLOBS", "HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_SYMLINKS")
_WEIGHTS = frozenset({Role.WEIGHTS, Role.PROJECTOR, Role.PICKLE})
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})


class HubShared(Layout):
    """The hub's client itself: `hf download`, and what every program downloads through it."""

    name = "huggingface"
    title = "Hugging Face downloads"
    checked = ("2.4.0",)
    formats = tuple(Format)
    aliases: ClassVar[frozenset[str]] = frozenset({"xet"})
    refresh = "nothing: the client looks there before each download"

    def roots(self, env: Env) -> Sequence[Root]:
        """The shared store in the cache that huggingface_hub uses, or in the one the person named."""
        cache = hub_root(env) if env.setting is None else Root(env.setting, f"providers.{self.name}.root")
        return [Root(cache.path / "blobs", cache.origin, label="shared", present=(cache.path,),
                     forbid=_why_not(env, cache.path), cache=True)]

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """Everything that has weights: whoever asks for the bytes knows what for."""
        return None if any(file.role in _WEIGHTS for file in variant.files) else Refusal("it has no weights")

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """The mark, and each file whose Xet hash is known: weights, and whatever else the hub keeps in Xet."""
        shared = [Entry(f"{xet[:2]}/{xet}", Weight(digest, size, (LinkKind.HARD,)), variant.key, order=1)
                  for variant in variants
                  for xet, digest, size in sorted({(f.xet, f.blake3, f.bytes) for f in variant.files if f.xet})]
        return [Entry(_MARK, Text(_VERSION.encode()), None), *shared] if shared else []

    def alike(self, variant: Variant) -> tuple[()]:
        """None: names are as different as content."""
        return ()

    def in_use(self, path: Path, reader: Reader) -> bool:
        """An entry, while a link of a repository leads to it; the mark, while anything lies beside it."""
        if path.name == _MARK:
            return any(_PREFIX.fullmatch(seen.name) and reader.entries(seen.path)
                       for seen in reader.entries(path.parent))
        return _is_used(path, reader)


def _is_used(path: Path, reader: Reader) -> bool:
    """Whether one of the links to a file of the shared store that the client has noted still leads there."""
    cache, target = path.parent.parent.parent, f"/{path.parent.name}/{path.name}"
    uses = (reader.text(path.with_name(f"{path.name}.refs")) or "").splitlines()
    return any((reader.link(cache / use) or "").endswith(target) for use in uses)


def _why_not(env: Env, cache: Path) -> str:
    """Why the hub's client would not look there, or should not begin to on our account; "" when it does."""
    for name in _SWITCHES:
        if env.environ.get(name, "").upper() in _TRUE:
            return f"{name} is set, so the hub's client shares nothing"
    if env.platform == "win32":
        return "on Windows the hub's client shares nothing unless it may make symbolic links"
    if importlib.util.find_spec("hf_xet") is None:
        return "hf_xet is not installed, which tells under what name the hub knows a file: pip install hf_xet"
    mark = env.reader.text(cache / "blobs" / _MARK, 64)
    if mark is not None:
        return "" if mark == _VERSION else "the hub's client has a newer form of its shared store than is known here"
    if env.reader.entries(cache / "blobs"):
        return "the folder has no mark of the hub's client, which then leaves it alone"
    if env.reader.exists(cache / ".locks"):
        return "no hub client of 1.32 or newer has shared anything in this cache yet; its first download begins it"
    return ""
