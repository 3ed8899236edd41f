"""The engine's answers as lines of text for people."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from helixstore.cli.output import count, homely, local_time, table
from helixstore.sizes import parameters, size

if TYPE_CHECKING:
    from helixstore.commands.init import InitReport, Proposal
    from helixstore.results import (
        Model,
        Mounts,
        Placement,
        ProviderDetail,
        ProviderView,
        Status,
        Survey,
        UsageTable,
        VariantView,
        Verdict,
    )

__all__ = [
    "USAGES", "USAGE_COLUMNS", "made", "model", "mounts", "operations", "proposed", "provider", "providers", "rows",
    "setting", "settings", "status", "survey", "usage", "usage_csv", "usages", "verdicts", "was_pinned", "was_set",
    "was_switched",
]

#: What `du --by` can count by.
USAGES = ("model", "provider", "user", "month")

#: Models that `status` names before the rest is only counted.
_NAMED = 10


def usages(incomplete: str) -> list[str]:
    """What `du --by` can count by, for the shell's completion."""
    return [name for name in USAGES if name.startswith(incomplete)]


def survey(found: Survey) -> Iterator[str]:
    """The bare command before there is a store."""
    if not found.holdings:
        yield "No models were found in the folders of any program that this version reads."
    else:
        yield from table(
            ("program", "models", "size", "disk", "folder"),
            [(h.title, str(h.models), size(h.bytes), h.disk, homely(h.root)) for h in found.holdings], right=(1, 2),
        )
        yield ""
        twice = found.duplicates
        if twice.up_to:
            yield (f"Likely duplicates: at least {size(twice.at_least)}, up to {size(twice.up_to)} "
                   f"({count(twice.groups, 'file')} there more than once).")
        else:
            yield "No likely duplicates."
    for one in found.unread:
        yield (f"Not counted: {one.title}, {size(one.bytes)} in {homely(one.root)}; this version shares models with "
               "it, and leaves its own as they are.")
    if not found.complete:
        yield f"This is what could be seen in {found.seconds:.0f} seconds; there may be more."
    yield "There is no store yet, and nothing has been written."
    yield ""
    yield f"Next: {found.next_command}"


def status(found: Status) -> Iterator[str]:
    """How things stand."""
    store = found.store
    yield f"Store  {homely(store.path)}"
    yield f"       {count(store.blobs, 'file')}, {size(store.bytes)}"
    yield f"       {size(store.saved_bytes)} of duplicates freed, {size(store.copies_avoided_bytes)} of copies avoided"
    if store.not_fetched_bytes:
        yield f"       {size(store.not_fetched_bytes)} not downloaded, since the store had it"
    if store.people > 1 or store.hosts > 1:
        yield f"       used by {count(store.people, 'person', 'people')} on {count(store.hosts, 'computer')}"
    yield ""
    yield from table(("program", "state", "models", "folder"),
                     [(p.name, p.state, str(p.linked), homely(p.root)) for p in found.providers if p.on], right=(2,))
    yield from (f"{p.name} is off: {p.reason}" for p in found.providers if p.on and p.reason)
    if off := [p.name for p in found.providers if not p.on]:
        yield f"Off: {' '.join(off)}"
    if found.volumes:
        from helixstore.cli.volume import volume_lines

        yield ""
        yield from volume_lines(found.volumes)
    yield from _unfinished(found.unfinished_bytes)
    if alone := found.only_in_store:
        yield ""
        yield f"Only the store holds {', '.join(alone[:_NAMED])}" + (
            f" and {len(alone) - _NAMED:,} more" if len(alone) > _NAMED else "")
        yield "  helixstore remove --unused"
    if found.waiting:
        yield ""
        yield f"Waiting for your word, since a group fills the store: {count(len(found.waiting), 'model')}"
        yield from (f"  helixstore share {shlex.quote(path)}" for path in found.waiting[:_NAMED])
        if (more := len(found.waiting) - _NAMED) > 0:
            yield f"  and {more:,} more"


def rows(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """`list`: one line for each variant."""
    every = list(found)
    seen = {id(row["providers"]): row["providers"] for row in every}        # most models stand alike
    words = {number: _seen_by(states) for number, states in seen.items()}
    lines = table(
        ("model", "variant", "params", "size", "programs"),
        ((row["model"], row["id"], parameters(row["parameters"]), size(row["bytes"]), words[id(row["providers"])])
         for row in every), right=(2, 3),
    )
    if lines:
        yield from lines
    else:
        yield "No models yet. `helixstore sync` takes in what your programs have, `helixstore add PATH` anything else."


def _seen_by(providers: Mapping[str, str]) -> str:
    """The programs that have the model; then those where a person should look."""
    linked = [name for name, state in providers.items() if state == "linked"]
    other = [f"{name} ({state})" for name, state in providers.items()
             if state not in ("linked", "incompatible", "convertible", "off")]
    return " ".join(linked) + ("; " if linked and other else "") + ", ".join(other)


def model(found: Model) -> Iterator[str]:
    """`show`: all of one model."""
    yield found.name
    for variant in found.variants:
        yield from _variant(variant)


def _variant(variant: VariantView) -> Iterator[str]:
    facts = [f"{parameters(variant.parameters)} parameters" if variant.parameters else "", size(variant.bytes),
             variant.architecture or "", f"context {variant.context_length:,}" if variant.context_length else "",
             variant.purpose if variant.purpose != "model" else "", "pinned" if variant.pinned else ""]
    yield ""
    yield f"  {variant.id}  {', '.join(fact for fact in facts if fact)}"
    yield f"    version  {variant.version}"
    for source in variant.sources:
        yield f"    from     {_source(source)}"
    yield ""
    yield from _indented(table(("file", "size", "blake3"), [(f.path, size(f.bytes), f.blake3) for f in variant.files],
                               right=(1,)))
    yield ""
    yield from _indented(table(("program", "state", "link", "where or why"),
                               [row for name, placed in variant.providers.items() for row in _placed(name, placed)]))


def _placed(name: str, placed: Placement) -> Iterator[tuple[str, str, str, str]]:
    shown = [*placed.paths, *([placed.reason] if placed.reason else [])] or [""]
    yield name, placed.state, placed.link or "", shown[0]
    for more in shown[1:]:
        yield "", "", "", more


def _source(source: Mapping[str, str | None]) -> str:
    """`hub org/repo at 1a2b3c4d`, `ollama llama3:8b`, `file model.gguf`."""
    where = source.get("repository") or source.get("name") or ""
    kind = source.get("program") or source.get("kind") or ""
    revision = source.get("revision")
    return f"{kind} {where}" + (f" at {revision}" if revision else "")


def usage(found: UsageTable) -> Iterator[str]:
    """`du`: the largest first, and the total, in which each file counts once."""
    if not found.usage:
        yield "No model is in the store."
        yield from _unfinished(found.unfinished_bytes)
        return
    counted, by_user = found.by != "model", found.by == "user"
    headers = (found.by, *(("models",) if counted else ()), "size", "only here", "share", "freed if removed",
               "duplicates freed", "copies avoided", *(("owns",) if by_user else ()))
    rows = [*found.usage, *((replace(found.total, label="total"),) if len(found.usage) > 1 else ())]
    yield from table(headers, [
        (row.label, *((str(row.models),) if counted else ()), size(row.bytes), size(row.only_bytes),
         size(row.share_bytes), size(row.freed_if_removed), size(row.saved_bytes), size(row.copies_avoided_bytes),
         *((size(row.owned_bytes or 0),) if by_user else ())) for row in rows
    ], right=range(1, len(headers)))
    yield from _unfinished(found.unfinished_bytes)


def _unfinished(count: int) -> Iterator[str]:
    """Downloads that were cut short."""
    if count:
        yield ""
        yield f"{size(count)} have come of downloads that are not finished: the same command goes on"
        yield "  helixstore gc lets go of them after a month, gc --now at once"


#: The columns of `du --csv`, in this order; more may come after them, none goes.
USAGE_COLUMNS = ("by", "row", "label", "models", "bytes", "only_bytes", "share_bytes", "freed_if_removed",
                 "saved_bytes", "copies_avoided_bytes", "owned_bytes", "uid", "hosts")


def usage_csv(found: UsageTable) -> Iterator[Sequence[str]]:
    """`du --csv`: the columns' names, the rows, and the total, of which `row` says so. Sizes in bytes."""
    yield USAGE_COLUMNS
    for kind, row in [*(("row", row) for row in found.usage), ("total", found.total)]:
        cells = {"by": found.by, "row": kind, **{name: getattr(row, name) for name in USAGE_COLUMNS[2:]},
                 "hosts": " ".join(row.hosts)}
        yield ["" if cells[name] is None else str(cells[name]) for name in USAGE_COLUMNS]


def verdicts(found: Mapping[str, Any]) -> Iterator[str]:
    """`compat`: one line for each variant and program."""
    listed: Sequence[Verdict] = found["verdicts"]
    yield from table(("model", "variant", "program", "runs", "why"),
                     [(v.model, v.variant, v.provider, v.answer, _why(v)) for v in listed])


def _why(verdict: Verdict) -> str:
    into = f"convert to {verdict.convert_to}" if verdict.convert_to else ""
    return "; ".join(part for part in (verdict.reason, into) if part)


def operations(found: Mapping[str, Any]) -> Iterator[str]:
    """`log`: one line for each operation."""
    lines = table(("n", "time", "command", "state", "did"), [
        (str(row["n"]), local_time(row["time"]), row["command"],
         row["state"], row["summary"]) for row in found["operations"]
    ], right=(0,))
    yield from lines or ["Nothing has been done yet."]


def providers(found: Mapping[str, Any]) -> Iterator[str]:
    """`providers`: one line for each."""
    listed: Sequence[ProviderView] = found["providers"]
    yield from table(("name", "program", "on", "installed", "formats", "folder"), [
        (p.name, p.title, "on" if p.on else "off", "yes" if p.installed else "no", " ".join(p.formats),
         homely(str(p.roots[0]["path"])) if p.roots else "") for p in listed
    ])


def provider(found: ProviderDetail) -> Iterator[str]:
    """`providers show`: all of one."""
    yield f"{found.name}  {found.title}"
    yield f"  on         {'yes' if found.on else 'no'}"
    yield f"  installed  {'yes' if found.installed else 'no'}"
    for root in found.roots:
        notes = [str(root.get(key) or "") for key in ("origin", "label", "forbid")]
        yield f"  folder     {root['path']}  ({', '.join(note for note in notes if note)})"
        links = ", ".join(f"{count} by {kind}" for kind, count in root["links"].items())
        yield f"             {root['state']}{f'; files put there: {links}' if links else ''}"
    yield f"  models     {found.linked}"
    if found.allowed is not None:
        yield f"  links      {' '.join(found.allowed)}  (providers.{found.name}.links)"
    yield f"  formats    {' '.join(found.formats)}"
    if found.launch:
        yield f"  start it   {' '.join(found.launch)}"
    if found.refresh:
        yield f"  to see new models: {found.refresh}"
    if found.checked:
        yield f"  checked against {', '.join(found.checked)}"


def mounts(found: Mounts) -> Iterator[str]:
    """`providers show --mounts`: one mount in a line, to be pasted before the image's name."""
    options = iter(found.options)
    return (f"{option} {shlex.quote(value)}" for option, value in zip(options, options, strict=True))


def settings(found: Mapping[str, Any]) -> Iterator[str]:
    """`config list`: each setting with its origin."""
    yield from table(("key", "value", "from"), [(s["key"], *setting(s), s["origin"]) for s in found["settings"]])


def setting(found: Mapping[str, Any]) -> tuple[str]:
    """`config get`: the value as `config set` takes it."""
    value = found["value"]
    if isinstance(value, bool):
        return (str(value).lower(),)
    if isinstance(value, list):
        return ((os.pathsep if found["key"] == "scan" else ",").join(value),)
    return ("" if value is None else str(value),)


def was_set(found: Mapping[str, Any]) -> Iterator[str]:
    """`config set`."""
    value = found["value"]
    several = isinstance(value, (list, tuple))
    yield f"{found['key']} {'would be' if found['dry_run'] else 'is'} {', '.join(value) if several else value}"
    for folder in value if several and found["key"] == "scan" else ():
        if not os.path.isdir(folder):
            yield f"{folder} is no folder that is there now: nothing is found in it until it is"


def was_pinned(found: Mapping[str, Any]) -> Iterator[str]:
    """`pin` and `unpin`."""
    would = "would be" if found["dry_run"] else "is"
    yield f"{found['model']} {would} {'pinned at its version' if found['pinned'] else 'free to follow its source'}"


def was_switched(found: Mapping[str, Any]) -> Iterator[str]:
    """`providers on`, `off` and `set`."""
    would = "would be" if found["dry_run"] else "is"
    state = f"looked for in {found['root']}" if found["root"] else "on" if found["on"] else "off"
    yield f"{found['name']} {would} {state}"
    if not found["dry_run"]:
        yield "The next `helixstore sync` acts on it."


def proposed(found: Proposal) -> Iterator[str]:
    """Where the store would be, and which programs would be turned on."""
    yield f"Store     {homely(str(found.store))}  ({found.why})"
    yield f"Programs  {' '.join(found.found) or 'none found; --all or --provider P turns them on'}"


def made(found: InitReport) -> Iterator[str]:
    """`init`: what there is now, and what to type next."""
    yield f"Store     {homely(str(found.store))}  ({'made' if found.created else 'was there'}: {found.why})"
    yield f"Programs  {' '.join(found.on) or 'none'}"
    if found.scan:
        yield f"Also      {' '.join(homely(str(folder)) for folder in found.scan)}"
    yield f"Settings  {homely(str(found.config))}"
    if found.group:
        yield f"Group     {found.group}: its members fill the store together"
    if found.site is not None and found.site.written:
        yield f"Site      {found.site.file}: the others type only: helixstore sync"
    elif found.site is not None:
        yield f"Site      you may not write {found.site.file}, which must hold:"
        yield ""
        yield from _indented(found.site.text.splitlines())
        yield ""
        yield f"          An administrator runs: {found.site.command}"
    for note in found.notes:
        yield f"Still     {note}"
    yield ""
    yield "No model has been touched. Next: helixstore sync --dry-run"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)
