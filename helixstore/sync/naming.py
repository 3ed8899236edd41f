"""Which model and variant a content belongs to, by the rules of names: pure.

- The same content is one variant with many sources, whatever it is called.
- A file that was adopted as a variant and now holds other content is that variant's new version.
- Different content joins a model only when both come from the same repository; otherwise the later is `name~2`.
- A variant id is `format:quantization`; a second one of the same id in a model gets `@<8 hex of its manifest>`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from helixstore.fs.names import folded
from helixstore.values import Key, Source

__all__ = ["Known", "Names", "Newcomer", "Placed", "variant_id"]


@dataclass(frozen=True, slots=True)
class Known:
    """A variant that has a current ref: its name, its content, where it came from."""

    key: Key
    manifest: str
    content: str
    sources: tuple[Source, ...]
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Content that asks for a name.

    Attributes:
        name: the model name that it would like.
        id: the variant id that it would like, `variant_id(...)`.
        manifest: digest of its manifest.
        content: `Manifest.content_key`: the roles and digests of its files, their names apart.
        source: where it was found.
        was: the variant as which the same path was adopted before, if any.
    """

    name: str
    id: str
    manifest: str
    content: str
    source: Source
    was: Key | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """The answer: the key, and what its ref must say. `fresh`: no current ref has this content yet.

    `blocked`: why the content cannot take its place (a pinned variant), else "".
    """

    key: Key
    manifest: str
    sources: tuple[Source, ...]
    fresh: bool
    changed: bool
    replaces: bool = False
    blocked: str = ""


@dataclass
class Names:
    """The names that are taken. `place` answers one newcomer after the other and remembers each."""

    known: Iterable[Known]
    _by_content: dict[str, Known] = field(init=False, default_factory=dict)
    _by_key: dict[Key, Known] = field(init=False, default_factory=dict)
    _models: dict[str, str] = field(init=False, default_factory=dict)
    _groups: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for known in self.known:
            self._remember(known)

    def place(self, new: Newcomer) -> Placed:
        """Where `new` goes, and what the ref says then."""
        if same := self._by_content.get(new.content):
            sources = same.sources if new.source in same.sources else (*same.sources, new.source)
            changed = sources != same.sources
            self._remember(Known(same.key, same.manifest, same.content, sources, same.pinned))
            return Placed(same.key, same.manifest, sources, fresh=False, changed=changed)
        if new.was is not None and (old := self._by_key.get(new.was)) and new.source in old.sources:
            if old.pinned:
                return Placed(old.key, old.manifest, old.sources, fresh=False, changed=False,
                              blocked=f"{old.key} is pinned, and the file now holds other content")
            return self._take(old.key, new, old.sources, replaces=True)
        model = self._groups.get(group_of(new.source) or "")
        if model is None:
            return self._take(Key(self._free(new.name), new.id), new, (new.source,))
        key = Key(model, new.id)
        if (old := self._by_key.get(key)) is None:
            return self._take(key, new, (new.source,))
        if _is_update(old.sources, new.source):
            if old.pinned:
                return Placed(old.key, old.manifest, old.sources, fresh=False, changed=False,
                              blocked=f"{old.key} is pinned, and {new.source.repository} has another revision")
            return self._take(key, new, (new.source,), replaces=True)
        return self._take(Key(model, f"{new.id}@{new.manifest[:8]}"), new, (new.source,))

    def _take(self, key: Key, new: Newcomer, sources: tuple[Source, ...], replaces: bool = False) -> Placed:
        if replaces and (old := self._by_key.get(key)):
            self._by_content.pop(old.content, None)
        self._remember(Known(key, new.manifest, new.content, sources))
        return Placed(key, new.manifest, sources, fresh=True, changed=True, replaces=replaces)

    def _remember(self, known: Known) -> None:
        self._by_content[known.content] = known
        self._by_key[known.key] = known
        self._models.setdefault(folded(known.key.model), known.key.model)
        for source in known.sources:
            if group := group_of(source):
                self._groups.setdefault(group, known.key.model)

    def _free(self, wanted: str) -> str:
        name, number = wanted, 1
        while folded(name) in self._models:
            number += 1
            name = f"{wanted}~{number}"
        return name


def variant_id(format: str, quantization: str) -> str:
    """`format:quantization`, or the format alone when the quantisation is not known."""
    return f"{format}:{quantization}" if quantization else str(format)


def group_of(source: Source) -> str | None:
    """What makes different contents one model: the repository, on the hub or in a program's folder."""
    if not source.repository:
        return None
    return f"{source.kind}:{source.program or ''}:{folded(source.repository)}"


def _is_update(old: tuple[Source, ...], new: Source) -> bool:
    """Whether `new` is another revision of the same file of the same repository."""
    return any(
        s.kind == new.kind == "hub" and s.repository == new.repository and s.name == new.name
        and s.revision != new.revision
        for s in old
    )

