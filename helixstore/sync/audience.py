"""Who sees a model: everyone, unless the person hid it, or shared it with certain providers only."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from helixstore.farm.desired import WantedRoot
from helixstore.farm.library import Library
from helixstore.session import PlacedRoot, Session
from helixstore.sync.intake import Intake
from helixstore.sync.projection import left_of
from helixstore.sync.standing import quarantined
from helixstore.sync.wanted import Change
from helixstore.values import Key, Variant

__all__ = ["chosen_for", "given_up", "withheld_from"]


def chosen_for(session: Session, intake: Intake, wanted: Change) -> dict[str, list[str] | None]:
    """Model -> the providers it is to be shared with from now on; only those for which that changes."""
    if wanted.only is None:
        return {}
    models = {*wanted.models, *(item.placed.key.model for item in intake.items if item.candidate.asked)}
    chosen: dict[str, list[str] | None] = {}
    for model in models:
        before = session.choices.only(model)
        after = sorted({*(before or ()), wanted.only}) if wanted.only else None
        known = any(item.placed.key.model == model and not item.placed.fresh for item in intake.items)
        if wanted.only and before is None and (model in wanted.models or known):
            continue                # it is shared with all already: naming one takes it from nobody
        if after != before:
            chosen[model] = after
    return chosen


def withheld_from(
    session: Session, variants: Sequence[Variant], placed: Iterable[PlacedRoot], wanted: Change,
    chosen: Mapping[str, list[str] | None], present: Mapping[str, Collection[Key]] = MappingProxyType({}),
    untouched: Collection[str] = (),
) -> Callable[[str, Key], bool]:
    """Whether a provider must not see a variant: hidden by the person, or shared with others by name.

    `present`: root -> variants that were found there under a name that is not ours; what was deleted there is back.
    `untouched`: roots where nothing was deleted.
    """
    roots: dict[str, list[str]] = {}
    for place in placed:
        if place.on and str(place.root.path) not in untouched:
            roots.setdefault(str(place.root.path), []).append(place.provider)
    unseen = session.farm.withheld(variants, roots, wanted.restore, present)
    hidden = {(provider, key) for provider, keys in unseen.items() for key in keys} | set(wanted.hide)
    for provider, key in wanted.unhide:
        hidden -= {pair for pair in hidden if pair[1] == key and provider in ("", pair[0])}

    return _Withheld(frozenset(quarantined(session, variants)), frozenset(hidden), {**session.choices.all, **chosen})


@dataclass(frozen=True, slots=True)
class _Withheld:
    """`corrupt`: handed to nobody. `hidden`: (provider, or "" for all; variant). `only`: model -> the providers that it
    is shared with by name; None: all."""

    corrupt: frozenset[Key]
    hidden: frozenset[tuple[str, Key]]
    only: Mapping[str, Sequence[str] | None]

    def __call__(self, provider: str, key: Key) -> bool:
        if key in self.corrupt or provider == Library.name:
            return key in self.corrupt
        only = self.only.get(key.model)
        return ((provider, key) in self.hidden or ("", key) in self.hidden
                or (only is not None and provider not in only))


def given_up(
    session: Session, placed: Iterable[PlacedRoot], providers: Collection[str] | None
) -> list[WantedRoot]:
    """Folders that hold links of ours and are to be shown nothing any more, as roots without entries.

    Their providers were turned off, or the person named another folder for them. A folder that only an environment
    variable or the program's own settings named keeps what it has: another shell may name it again; but one that holds
    nothing of ours beside empty folders needs none.

    Args:
        session: whose ledgers and settings.
        placed: the roots as they are now.
        providers: only folders of these; None for all.
    """
    served = {str(place.root.path) for place in placed if place.on}
    found = []
    for root in session.farm.roots():
        if root in served or not os.path.isdir(root):
            continue
        readers = {claim.provider for record in session.farm.ledgers.of(root).records.values()
                   for claim in record.claims}
        off = readers <= session.layouts.keys() and all(
            not session.is_on(name) or session.settings.provider(name).root is not None for name in readers)
        if off and (providers is None or (readers and readers <= set(providers))):
            found.append(WantedRoot(root, (), False, {}, left_of=left_of([session.layouts[name] for name in readers])))
    return found
