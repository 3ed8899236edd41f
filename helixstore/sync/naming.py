"""Which model and variant a content belongs to, by the rules of names: pure.

- The same content is one variant with many sources, whatever it is called. Its files are called as where it was found
  first; but the hub's names win, since only under these does a commit have it.
- A file that was adopted as a variant and now holds other content is that variant's new version. So is what a program
  now has under a name that was a variant's only source; where the variant has others, what is new splits off from it.
  (A registry that it came from is no place where it still lies, and does not count among them.)
- Different content joins a model only when both come from the same repository, or from repositories that the catalogue
  has as one model; otherwise the later is `name~2`.
- A variant id is `format:quantization`; a second one of the same id in a model gets `@<8 hex of its manifest>`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from helixstore.fs.names import folded
from helixstore.values import Key, Source

__all__ = ["Known", "Names", "Newcomer", "Origin", "Placed", "variant_id", "with_source"]

#: `Source.origin`
Origin = tuple[str, str | None, str | None, str | None]


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
        kin: repositories of the hub that are the same model in other forms.
    """

    name: str
    id: str
    manifest: str
    content: str
    source: Source
    was: Key | None = None
    kin: tuple[str, ...] = ()


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
    _owners: dict[Origin, Key] = field(init=False, default_factory=dict)
    _losers: dict[Key, None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for known in self.known:
            self._remember(known)

    def place(self, new: Newcomer) -> Placed:
        """Where `new` goes, and what the ref says then."""
        same, owner = self._by_content.get(new.content), self._owner(new)
        if owner is not None and owner.pinned:
            return Placed(owner.key, owner.manifest, owner.sources, fresh=False, changed=False,
                          blocked=f"{owner.key} is pinned, and its place now holds other content")
        if same is not None:
            self._lose(owner, new)
            first_of_hub = new.source.kind == "hub" and all(source.kind != "hub" for source in same.sources)
            if first_of_hub and new.manifest != same.manifest and not same.pinned:
                return self._take(same.key, new, same.sources, replaces=True)
            sources = with_source(same.sources, new.source)
            self._remember(Known(same.key, same.manifest, same.content, sources, same.pinned))
            return Placed(same.key, same.manifest, sources, fresh=False, changed=sources != same.sources)
        if owner is not None:
            places = tuple(source for source in owner.sources if source.kind != "registry")
            if len(places) == 1 and owner.key.variant.partition("@")[0] == new.id:
                return self._take(owner.key, new, places, replaces=True)
            self._lose(owner, new)
            return self._take(self._beside(owner.key.model, new), new)
        groups = [group_of(new.source), *(group_of(Source("hub", repository)) for repository in new.kin)]
        model = next((self._groups[group] for group in groups if group in self._groups), None)
        if model is None:
            return self._take(Key(self._free(new.name), new.id), new)
        old = self._by_key.get(Key(model, new.id))
        if old is not None and _is_update(old.sources, new.source):
            if old.pinned:
                return Placed(old.key, old.manifest, old.sources, fresh=False, changed=False,
                              blocked=f"{old.key} is pinned, and {new.source.repository} has another revision")
            return self._take(old.key, new, replaces=True)
        return self._take(self._beside(model, new), new)

    @property
    def lost(self) -> list[Known]:
        """Variants of which another took over a name, with the sources that are left; none: the name is given up."""
        return [self._by_key[key] for key in self._losers]

    def _owner(self, new: Newcomer) -> Known | None:
        """The variant that has what is now `new` for its place: a program's name, or a path that was adopted as it."""
        if new.source.kind == "program" and new.source.name is not None:
            key = self._owners.get(new.source.origin)
        else:
            key = new.was
        owner = self._by_key.get(key) if key else None
        if owner is None or owner.content == new.content or all(s.origin != new.source.origin for s in owner.sources):
            return None
        return owner

    def _lose(self, owner: Known | None, new: Newcomer) -> None:
        """`owner` is without the place that `new` has now. Files of one name may lie in several folders."""
        if owner is not None and (new.source.kind == "program" or len(owner.sources) == 1):
            left = tuple(source for source in owner.sources if source.origin != new.source.origin)
            self._owners.pop(new.source.origin, None)
            self._remember(Known(owner.key, owner.manifest, owner.content, left))
            self._losers[owner.key] = None

    def _beside(self, model: str, new: Newcomer) -> Key:
        """The variant id in that model, or one that no other content has."""
        key = Key(model, new.id)
        return key if key not in self._by_key else Key(model, f"{new.id}@{new.manifest[:8]}")

    def _take(self, key: Key, new: Newcomer, sources: tuple[Source, ...] = (), replaces: bool = False) -> Placed:
        if replaces and (old := self._by_key.get(key)):
            self._by_content.pop(old.content, None)
        sources = with_source(sources, new.source)
        self._remember(Known(key, new.manifest, new.content, sources))
        return Placed(key, new.manifest, sources, fresh=True, changed=True, replaces=replaces)

    def _remember(self, known: Known) -> None:
        self._by_content[known.content] = known
        self._by_key[known.key] = known
        self._models.setdefault(folded(known.key.model), known.key.model)
        for source in known.sources:
            if source.kind == "program":
                self._owners.setdefault(source.origin, known.key)
            if group := group_of(source):
                self._groups.setdefault(group, known.key.model)

    def _free(self, wanted: str) -> str:
        name, number = wanted, 1
        while folded(name) in self._models:
            number += 1
            name = f"{wanted}~{number}"
        return name


def with_source(sources: tuple[Source, ...], new: Source) -> tuple[Source, ...]:
    """The sources with `new`, in the place of the one that it is a later state of, else as the last."""
    if new in sources:
        return sources
    if new.kind in ("program", "registry") and any(source.origin == new.origin for source in sources):
        return tuple(new if source.origin == new.origin else source for source in sources)
    return (*sources, new)


def variant_id(format: str, quantization: str) -> str:
    """`format:quantization`, or the format alone when the quantisation is not known."""
    return f"{format}:{quantization}" if quantization else str(format)


def group_of(source: Source) -> str | None:
    """What makes different contents one model: the repository, on the hub, in a program's folder, or in a registry,
    whatever the tag."""
    if not source.repository:
        return None
    repository = source.repository
    if source.kind == "registry":
        path, _, last = repository.rpartition("/")
        repository = f"{path}/{last.partition(':')[0]}"
    return f"{source.kind}:{source.program or ''}:{folded(repository)}"


def _is_update(old: tuple[Source, ...], new: Source) -> bool:
    """Whether `new` is another revision of the same file of the same repository, or of the same tag of a registry."""
    return any(
        s.kind == new.kind and s.repository == new.repository and s.revision != new.revision
        and (s.kind == "registry" or (s.kind == "hub" and s.name == new.name))
        for s in old
    )

