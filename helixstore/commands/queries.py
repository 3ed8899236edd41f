"""What there is, and how it stands: answered from the index, without touching a blob."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from helixstore.commands.models.judging import demand_here, judge
from helixstore.commands.models.prospects import Missed, Wish, catalogue, closed_to, hardware_of, places, prospects
from helixstore.commands.savings import figures
from helixstore.download.leftovers import unfinished_bytes
from helixstore.errors import Ambiguous, Corrupt, Failed, HelixError, NotFound, Usage
from helixstore.farm.library import Library, place_of
from helixstore.farm.scan import root_state
from helixstore.providers.layout import Refusal
from helixstore.providers.reader import DiskReader
from helixstore.results import (
    FileView,
    Model,
    Placement,
    ProviderDetail,
    ProviderStatus,
    ProviderView,
    Status,
    StoreFigures,
    VariantView,
    Verdict,
)
from helixstore.session import Machine, Session
from helixstore.sync.disks import must_be_here
from helixstore.sync.look import given
from helixstore.sync.naming import variant_id
from helixstore.sync.private import waiting
from helixstore.sync.projection import refused_state
from helixstore.sync.standing import quarantined, root_states
from helixstore.values import File, Format, Key, State, Variant

__all__ = [
    "compat", "compat_of", "foreseen", "models", "path", "placed", "provider", "providers", "show", "status",
]

#: kinds of record that are a link or copy of a blob
_LINKS = frozenset({"hard", "symlink", "reflink", "copy", "reference"})
#: of `compat`, the best first
_ANSWERS = ("yes", "after conversion", "no")


def models(session: Session) -> list[Model]:
    """Every model in full."""
    return _models(session, session.index.variants())


def show(session: Session, ref: str) -> Model:
    """One model in full: the variants that `ref` means."""
    return _models(session, session.index.find(ref))[0]


def path(session: Session, ref: str, format: Format | None) -> Path:
    """Where the library has it. With no index at all, the store's refs answer.

    Raises:
        NotFound: no such model, not in that format, not linked yet, or on a disk that is not here.
        Corrupt: one of its files is in quarantine.
        Ambiguous: several variants fit.
    """
    from helixstore.index.from_refs import path_from_refs

    index = session.places.index_for(session.store.id)
    found = session.index.find(ref) if (index / "data.mdb").exists() else path_from_refs(session.store, ref)
    fitting = [variant for variant in found if format is None or variant.format is format]
    if not fitting:
        there = ", ".join(sorted({variant.key.variant for variant in found}))
        raise NotFound(f"{ref} is not there as {format}; there is {there}", f"helixstore show {ref}")
    if len(fitting) > 1:
        listed = ", ".join(f"{v.key.model}:{v.quantization or v.format}" for v in fitting)
        raise Ambiguous(f"{ref} means {len(fitting)} variants: {listed}", "name one of them")
    return placed(session, fitting[0])


def placed(session: Session, variant: Variant) -> Path:
    """Where the library has a variant; errors as of `path`."""
    place = place_of(session.farms / Library.name, variant)
    if not place.exists():
        if quarantined(session, [variant]):
            raise Corrupt(f"{variant.key} has a damaged file and is withdrawn",
                          f"helixstore verify --repair '{variant.key.model}'", place)
        must_be_here(session, [variant])
        raise NotFound(f"{variant.key} is not linked yet", "helixstore sync", place)
    return place


def compat(session: Session, subject: str, provider: str | None, wish: Wish | None = None) -> list[Verdict]:
    """What each layout says of a model, of a file or folder that may not be in the store, or of what may be downloaded.

    Args:
        session: whose store, layouts and catalogue.
        subject: a path; a model of the store; a reference or name of the catalogue, for what is not here.
        provider: only this one.
        wish: the context and memory that count; None: only what is here is asked about, and only whether the program
            can load it, here or on another computer.
    """
    if os.path.lexists(subject):
        return compat_of(session, Path(os.path.abspath(subject)), provider, wish)
    try:
        here = session.index.find(subject)
    except NotFound as error:
        if wish is None:
            raise
        return foreseen(session, subject, provider, wish, error)
    found = _verdicts(session, here, provider, wish, lambda _, file: session.store.blobs.path(file.blake3))
    return found if wish is None else _elsewhere(session, subject, here, found)


def _elsewhere(session: Session, subject: str, here: Sequence[Variant], found: list[Verdict]) -> list[Verdict]:
    """The verdicts on what is here; where none does, and a conversion would, the form of a well-known model that needs
    none."""
    try:
        entry = catalogue(session).find(subject)
    except NotFound:
        return found
    runs = {one.provider for one in found if one.answer == "yes"}
    other = set(entry.formats) - {variant.format for variant in here}
    command = f"helixstore models download {entry.name} --provider"
    return [replace(one, reason=f"{one.reason}; it is published in another form: {command} {one.provider}")
            if one.answer == "after conversion" and one.provider not in runs
            and other & set(session.layout(one.provider).formats) else one for one in found]


def foreseen(
    machine: Machine, what: str, provider: str | None, wish: Wish, missing: NotFound | None = None,
) -> list[Verdict]:
    """Who can run what is not downloaded, by the best of the forms that there are for each; needs no store.

    Args:
        machine: whose layouts, catalogue and hardware.
        what: a reference, or a name of the catalogue.
        provider: only this one.
        wish: the context and memory that count.
        missing: what is said where the catalogue does not know it either; None: what the catalogue says.

    Raises:
        Failed: there is no layout at all.
        NotFound, Passing: nobody knows it, or nobody can be asked.
    """
    providers = [machine.layout(provider).name] if provider else list(machine.layouts)
    if not providers:
        raise Failed("no program is known: no layout could be loaded", "helixstore layouts list")
    missed: list[Missed] = []
    best: dict[str, Verdict] = {}
    try:
        where = places(machine, what, wish, providers)
    except (NotFound, Usage) as error:
        raise missing or error from None
    for prospect in prospects(machine, where, wish, providers, missed):
        for name, verdict in prospect.verdicts.items():
            if name not in best or _ANSWERS.index(verdict.answer) < _ANSWERS.index(best[name].answer):
                best[name] = verdict
    if not best:
        raise missed[0].error
    return [_with(best[name], closed_to(machine, name, [best[name].variant], missed)) for name in providers]


def _with(verdict: Verdict, closed: HelixError | None) -> Verdict:
    """With the place that could not be asked, where that may have what the provider can run."""
    if verdict.answer == "yes" or closed is None:
        return verdict
    return replace(verdict, reason=f"{verdict.reason}; {closed.message}")


def compat_of(machine: Machine, where: Path, provider: str | None, wish: Wish | None = None) -> list[Verdict]:
    """What each layout says of what lies in a file or folder; needs no store. Arguments as of `compat`.

    Raises:
        HelixError: it is no model, or there is no such provider.
    """
    found, places = [], dict[tuple[Key, str], str]()
    for one in given(DiskReader(machine.places.home), where):
        files = tuple(File(part.path, part.bytes, "0" * 64, part.role) for part in one.parts)
        key = Key(one.name, variant_id(one.format, one.quantization))
        found.append(Variant(key, "0" * 64, one.format, one.quantization, one.purpose, one.header, files))
        places |= {(key, part.path): os.fspath(part.location) for part in one.parts}
    return _verdicts(machine, found, provider, wish, lambda variant, file: places[variant.key, file.path])


def _verdicts(machine: Machine, variants: Iterable[Variant], provider: str | None, wish: Wish | None,
              where: Callable[[Variant, File], str]) -> list[Verdict]:
    layouts = [machine.layout(provider)] if provider else list(machine.layouts.values())
    if wish is not None:
        hardware, found = hardware_of(machine, wish.memory), []
        for variant in variants:
            demand = demand_here(variant, partial(where, variant), wish.context, hardware)
            found += [judge(machine, layout.name, variant, demand, hardware) for layout in layouts]
        return found
    return [_verdict(layout.name, variant, layout.accepts(variant, machine.facts))
            for variant in variants for layout in layouts]


def _verdict(provider: str, variant: Variant, refusal: Refusal | None) -> Verdict:
    if refusal is None:
        return Verdict(provider, variant.key.model, variant.key.variant, "yes")
    if refused_state(variant, refusal) is State.CONVERTIBLE:
        return Verdict(provider, variant.key.model, variant.key.variant, "after conversion", refusal.reason,
                       str(refusal.wants[0]))
    return Verdict(provider, variant.key.model, variant.key.variant, "no", refusal.reason)


def providers(session: Session) -> list[ProviderView]:
    """Every provider with its roots."""
    reader = DiskReader(session.places.home)
    views: dict[str, list[Any]] = {}
    for placed in session.roots(reader, session.farms):
        views.setdefault(placed.provider, []).append(placed)
    return [
        ProviderView(
            name, layout.title, session.is_on(name), any(map(session.installed, views.get(name, ()))),
            tuple({"path": str(p.root.path), "origin": p.root.origin, "owned": p.root.owned, "label": p.root.label,
                   "forbid": p.root.forbid} for p in views.get(name, ())),
            tuple(map(str, layout.formats)), layout.refresh,
            tuple(part.replace("{root}", str(views[name][0].root.path)) if name in views else part
                  for part in layout.launch),
            layout.checked,
        )
        for name, layout in session.layouts.items()
    ]


def provider(session: Session, name: str) -> ProviderDetail:
    """One provider in full: how each of its roots stands, and by which links its models lie there.

    Raises:
        Usage: no provider has that name.
        Failed: its layout does not work.
    """
    layout, on = session.layout(name), session.is_on(name)
    view = next((view for view in providers(session) if view.name == name), None)
    if view is None:
        raise Failed(f"the layout {name} cannot say where the program looks", f"helixstore layouts check {name}")
    roots = []
    for root in view.roots:
        ledger = session.farm.ledgers.of(str(root["path"]))
        links = Counter(record.kind for record in ledger.records.values()
                        if record.kind in _LINKS and any(claim.provider == name for claim in record.claims))
        state = "off" if not on else "forbidden" if root["forbid"] else root_state(ledger.root, ledger)[0]
        roots.append({**root, "state": state, "links": dict(sorted(links.items()))})
    linked = sum(row["providers"].get(name) == State.LINKED for row in session.index.rows())
    allowed = session.settings.provider(layout.name).links
    shown = {one.name: getattr(view, one.name) for one in fields(view)} | {"roots": tuple(roots)}
    return ProviderDetail(**shown, linked=linked, allowed=tuple(map(str, allowed)) if allowed is not None else None)


def status(session: Session) -> Status:
    """Figures, providers, disks, and everything that waits for the person."""
    from helixstore.commands.volume_views import views

    counted = session.index.figures()
    saved = figures(session)
    store = StoreFigures(str(session.store.path), counted.blobs, counted.bytes, saved.saved_bytes,
                         saved.copies_avoided_bytes, saved.not_fetched_bytes, saved.people, saved.hosts)
    linked: dict[str, int] = {}
    alone: list[Key] = []
    for row in session.index.rows():
        shown = [name for name, state in row["providers"].items() if state == State.LINKED and name != Library.name]
        for name in shown:
            linked[name] = linked.get(name, 0) + 1
        if not shown and State.AWAY not in row["providers"].values():
            alone.append(Key(row["model"], row["id"]))
    reader = DiskReader(session.places.home)
    placed = list(session.roots(reader, session.farms))
    why = {(place.provider, str(place.root.path)): place.why for place in placed}
    states, issues = root_states(session, placed)
    lines = tuple(ProviderStatus(name, session.is_on(name), root, state, linked.get(name, 0), reason=why[name, root])
                  for name, (root, state) in states.items())
    given = {key for path, record in session.farm.ledgers.of("").records.items() if os.path.lexists(path)
             for key in record.keys} if alone else set()
    return Status(store, lines, tuple(dict.fromkeys([*session.issues, *session.settings.issues, *issues])),
                  tuple(str(key) for key in alone if key not in given),
                  tuple(views(session)) if session.store.volumes.attached else (), tuple(waiting(session)),
                  unfinished_bytes(session))


def _models(session: Session, variants: Iterable[Variant]) -> list[Model]:
    variants = list(variants)
    standings = session.index.standings(variant.key for variant in variants)
    off = {name for name in session.layouts if not session.is_on(name)}
    grouped: dict[str, list[VariantView]] = {}
    for variant in variants:
        placements = {
            name: Placement(str(one.state), str(one.link) if one.link else None, one.paths, one.reason)
            for name, one in standings[variant.key].items() if name in session.layouts and name not in off
        } | {name: Placement(str(State.OFF)) for name in off}
        grouped.setdefault(variant.key.model, []).append(_view(variant, placements))
    return [Model(name, tuple(views)) for name, views in grouped.items()]


def _view(variant: Variant, placements: Mapping[str, Placement]) -> VariantView:
    return VariantView(
        variant.key.variant, str(variant.format), variant.quantization, variant.header.architecture,
        variant.header.parameters, variant.bytes, variant.manifest, str(variant.purpose),
        variant.header.context_length, tuple(source.described() for source in variant.sources),
        tuple(FileView(f.path, f.bytes, f.blake3, f.sha256) for f in variant.files), placements, variant.pinned,
    )
