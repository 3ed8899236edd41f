"""A check that cannot fail is none: layouts that are broken in one way each, and which checks say so."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helixstore.providers.layout import Copy, Entry, Env, Facts, Found, Inner, Reader, Refusal, Root, Text, Weight
from helixstore.testing import CHECKS, Outcome, run
from helixstore.values import Format, Key, Source, Variant

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "example-layout"))

from helixstore_loft import Loft

#: quick, and about everything that a layout says without a disk
PURE = {name for name, check in CHECKS.items() if check.group in ("answers", "placing", "projecting")} | {
    "same_models_same_entries", "deciding_never_looks_at_the_disk"}

BROKEN: dict[str, tuple[type[Loft], set[str]]] = {}


def breaks(*checks: str) -> Callable[[type[Loft]], type[Loft]]:
    """The layout is broken, and these checks say so."""
    def enter(layout: type[Loft]) -> type[Loft]:
        BROKEN[layout.__name__] = (layout, set(checks))
        return layout
    return enter


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_layout_fails_exactly_the_right_checks(name: str) -> None:
    layout, expected = BROKEN[name]
    outcomes = run(layout(), [check for check in CHECKS if check in PURE | expected])
    assert {outcome.name for outcome in outcomes if outcome.finding} == expected, [
        f"{outcome.name}: {outcome.finding}" for outcome in outcomes if outcome.finding]


def test_every_check_is_among_those_that_bite() -> None:
    bitten = {check for _, checks in BROKEN.values() for check in checks}
    assert bitten == set(CHECKS)


def test_a_layout_that_raises_is_a_finding_with_the_place() -> None:
    outcome, = run(BROKEN["Hasty"][0](), ["hostile_models_get_an_answer"])
    assert isinstance(outcome, Outcome)
    assert outcome.finding.startswith("IndexError")
    assert "test_suite_bites.py" in outcome.trace


class Altered(Loft):
    """Loft with its entries changed."""

    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        yield entry

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterator[Entry]:
        for number, entry in enumerate(super().project(variants, root, facts)):
            yield from self.alter(entry, number)


# ---- what it says ----------------------------------------------------------------------------------------------------

@breaks("it_says_what_it_is")
class Unchecked(Loft):
    checked = ()


@breaks("it_says_what_it_is")
class Placeholder(Loft):
    launch = ("loft", "{folder}")


@breaks("its_formats_are_those_it_accepts")
class Boastful(Loft):
    formats = (Format.GGUF, Format.EXL2)


@breaks("every_model_gets_an_answer", "hostile_models_get_an_answer")
class Curt(Loft):
    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        return replace(refusal, reason="No.") if (refusal := super().accepts(variant, facts)) else None


@breaks("every_model_gets_an_answer", "hostile_models_get_an_answer")
class Wishful(Loft):
    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        return replace(refusal, wants=(Format.MLX,)) if (refusal := super().accepts(variant, facts)) else None


@breaks("hostile_models_get_an_answer")
class Hasty(Loft):
    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        return Refusal("it is empty") if not variant.files[0].bytes else super().accepts(variant, facts)


@breaks("hostile_models_get_an_answer")
class Weightless(Loft):
    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        return None if variant.format is Format.GGUF and not variant.files else super().accepts(variant, facts)


@breaks("the_name_decides_nothing")
class Picky(Loft):
    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        return Refusal("its name is hidden") if variant.key.model.startswith(".") else super().accepts(variant, facts)


# ---- where it looks --------------------------------------------------------------------------------------------------

@breaks("its_roots_are_told_apart")
class Twice(Loft):
    def roots(self, env: Env) -> Sequence[Root]:
        return [*super().roots(env), Root(env.home / "loft-2", "default")]

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        return super().project(variants if root.path.name == "loft" else [], root, facts)


@breaks("its_roots_stay_at_home")
class Abroad(Loft):
    def roots(self, env: Env) -> Sequence[Root]:
        return [replace(root, present=(Path("/opt/loft"),)) for root in super().roots(env)]


@breaks("its_roots_stay_at_home")
class Owning(Loft):
    def roots(self, env: Env) -> Sequence[Root]:
        return [replace(root, owned=not env.setting) for root in super().roots(env)]


@breaks("the_setting_wins")
class Deaf(Loft):
    def roots(self, env: Env) -> Sequence[Root]:
        return super().roots(replace(env, setting=None))


@breaks("variables_lead_where_they_say")
class Literal(Loft):
    def roots(self, env: Env) -> Sequence[Root]:
        if env.setting is None and "LOFT_HOME" in env.environ:
            return [Root(env.home / env.environ["LOFT_HOME"], "LOFT_HOME")]
        return super().roots(env)


@breaks("broken_settings_files_are_borne")
class Trusting(Loft):
    def roots(self, env: Env) -> Sequence[Root]:
        if (text := env.reader.text(env.home / ".loft.json")) is not None:
            json.loads(text)
        return super().roots(env)


@breaks("looking_for_roots_asks_the_reader_only")
class Peeking(Loft):
    def roots(self, env: Env) -> Sequence[Root]:
        old = env.home / "attic"
        return [Root(old, "default")] if old.exists() and not env.setting else super().roots(env)


# ---- what it wants ---------------------------------------------------------------------------------------------------

@breaks("paths_are_safe", "every_path_is_one_file")
class Climbing(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        yield entry
        if isinstance(entry.body, Weight) and entry.key:
            yield replace(entry, path=f"../{entry.path}")


@breaks("paths_are_safe")
class HalfDone(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        yield entry
        if isinstance(entry.body, Weight):
            yield replace(entry, path=f"{entry.path}.part")


@breaks("every_path_is_one_file", "strange_names_stay_apart", "file_names_do_not_collide")
class Cramped(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        yield replace(entry, path="files/model.gguf") if isinstance(entry.body, Weight) else entry


@breaks("every_path_is_one_file")
class FileAndFolder(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        yield entry
        if isinstance(entry.body, Weight):
            yield replace(entry, path=entry.path.rpartition("/")[0])


@breaks("every_model_that_it_accepts_is_there")
class Forgetful(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        if not (isinstance(entry.body, Weight) and str(entry.key).endswith("Q8_0)")):
            yield entry


@breaks("bytes_are_the_models_own")
class Miscounting(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        body = entry.body
        yield replace(entry, body=replace(body, bytes=body.bytes + 1)) if isinstance(body, Weight) else entry


@breaks("bytes_are_the_models_own")
class Copying(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        body = entry.body
        yield replace(entry, body=Copy(body.blob, body.bytes)) if isinstance(body, Weight) else entry


@breaks("the_witness_is_known")
class Blind(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        yield replace(entry, witness=False)


@breaks("the_witness_is_known")
class TwoWitnesses(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        yield replace(entry, witness=True)


@breaks("sidecars_come_last", "nothing_dangles_on_the_way")
class Early(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        yield replace(entry, order=1 - entry.order)


@breaks("sidecars_are_plain_text")
class Telling(Loft):
    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterator[Entry]:
        blobs = {variant.key: variant.weights[0].blake3 for variant in variants}
        for entry in super().project(variants, root, facts):
            if isinstance(entry.body, Text) and entry.key:
                card = {**json.loads(entry.body.data), "blob": blobs[entry.key]}
                yield replace(entry, body=Text(json.dumps(card).encode(), entry.body.merge))
            else:
                yield entry


@breaks("sidecars_are_plain_text")
class Latin(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        yield entry
        if entry.witness:
            yield Entry(f"{entry.path}.txt", Text("ä".encode("latin-1")), entry.key, order=1)


@breaks("inner_links_lead_to_its_own_files")
class Leading(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        yield entry
        if entry.witness:
            yield Entry(f"{entry.path}.link", Inner("../../elsewhere"), entry.key)


@breaks("inner_links_lead_to_its_own_files", "every_path_reads_the_right_bytes")
class Dangling(Altered):
    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        yield entry
        if entry.witness:
            yield Entry(f"{entry.path}.link", Inner("nothing.json"), entry.key)


@breaks("nothing_gives_nothing")
class Pushy(Loft):
    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterator[Entry]:
        yield from super().project(variants, root, facts)
        if not variants:
            yield Entry("cards/none.json", Text(b"{}"), Key("none", "gguf"), witness=True)


# ---- the names it makes ----------------------------------------------------------------------------------------------

class Named(Loft):
    """Loft with other ids for what it makes itself."""

    def id(self, variant: Variant, number: int, many: Sequence[Variant]) -> str:
        raise NotImplementedError

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterator[Entry]:
        for number, variant in enumerate(variants):
            id, file = self.id(variant, number, variants), variant.weights[0]
            path = f"files/{id}/{id}.gguf"
            card = json.dumps({"file": path}).encode()
            yield Entry(path, Weight(file.blake3, file.bytes), variant.key)
            yield Entry(f"cards/{id}.json", Text(card), variant.key, witness=True, order=1)


def plain(variant: Variant) -> str:
    return "".join(c for c in variant.key.model if c.isascii() and c.isalnum())[:40] + variant.quantization


@breaks("strange_names_become_legal", "strange_names_stay_apart")
class Raw(Named):
    def id(self, variant: Variant, number: int, many: Sequence[Variant]) -> str:
        return f"{variant.key.model}-{variant.quantization}"


@breaks("strange_names_stay_apart", "a_namesake_renames_its_like_only")
class Careless(Named):
    def id(self, variant: Variant, number: int, many: Sequence[Variant]) -> str:
        folded = [plain(other).casefold() for other in many]
        return plain(variant) if len(set(folded)) == len(folded) else f"{plain(variant)}-x"


@breaks("file_names_do_not_collide")
class ByFile(Named):
    def id(self, variant: Variant, number: int, many: Sequence[Variant]) -> str:
        return variant.weights[0].path.rpartition("/")[2].removesuffix(".gguf") + (
            variant.manifest[:8] if variant.weights[0].path != "model.gguf" else "")


@breaks("same_models_same_entries", "a_newcomer_renames_nobody", "taking_one_away_leaves_the_others")
class Counting(Named):
    def id(self, variant: Variant, number: int, many: Sequence[Variant]) -> str:
        return f"model-{number}-of-{len(many)}"


@breaks("same_models_same_entries", "a_second_sync_does_nothing")
class Remembering(Altered):
    count = 0

    def alter(self, entry: Entry, number: int) -> Iterable[Entry]:
        Remembering.count += 1
        if isinstance(entry.body, Text):
            card = {**json.loads(entry.body.data), "count": Remembering.count}
            yield replace(entry, body=Text(json.dumps(card).encode(), entry.body.merge))
        else:
            yield entry


@breaks("removal_leaves_no_trace")
class Clinging(Loft):
    def needed(self, root: Path, reader: Reader) -> dict[str, list[str]]:
        files = [seen.name for seen in reader.entries(root / "files")]
        return {f"files/{name}/{name}.gguf": ["notes of the person 0.txt"] for name in files}


@breaks("only_those_alike_matter")
class Lonely(Loft):
    def alike(self, variant: Variant) -> Collection[str] | None:
        return {f"{variant.key.model}/{variant.key.variant}"}


@breaks("only_those_alike_matter")
class Selective(Loft):
    def alike(self, variant: Variant) -> Collection[str] | None:
        return None if variant.key.model.isascii() else {"all"}


@breaks("deciding_never_looks_at_the_disk")
class Writing(Loft):
    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        if variants and root.path.is_dir():
            (root.path / "trace.log").write_text("projected")
        return super().project(variants, root, facts)


# ---- what it finds ---------------------------------------------------------------------------------------------------

@breaks("what_it_wants_it_finds_by_hard_links", "what_it_wants_it_finds_by_symbolic_links", "names_lead_back",
        "strange_names_lead_back", "what_lies_there_keeps_its_place")
class Unseeing(Loft):
    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        yield from ()


@breaks("what_it_wants_it_finds_by_symbolic_links")
class FilesOnly(Loft):
    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        for found in super().discover(root, reader):
            if reader.link(found.inspection.location) is None:
                yield found


@breaks("what_it_finds_has_a_name_of_its_own", "names_lead_back")
class OneName(Loft):
    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        for found in super().discover(root, reader):
            yield replace(found, source=Source("program", program="loft", name="loft"))


@breaks("names_lead_back", "strange_names_lead_back")
class Moving(Loft):
    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        lying = [v for v in variants if v.sources and v.sources[0].program == "loft"]
        moved = [replace(v, key=Key(f"my-{v.key.model}", v.key.variant), sources=()) for v in lying]
        return super().project([v for v in variants if v not in lying] + moved, root, facts)


@breaks("strange_names_lead_back")
class Shy(Loft):
    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        return (found for found in super().discover(root, reader) if "gguf" not in str(found.source.name))


@breaks("broken_folders_are_borne")
class Brittle(Loft):
    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        for seen in reader.entries(root.path / "cards"):
            json.loads(reader.text(seen.path) or "{")
        return super().discover(root, reader)


@breaks("its_own_folder_has_not_drifted")
class Nervous(Loft):
    def drifted(self, root: Root, reader: Reader) -> str:
        return "it holds cards" if reader.entries(root.path / "cards") else ""


@breaks("whatever_lies_there_it_says_why_in_one_clause")
class Raising(Loft):
    def drifted(self, root: Root, reader: Reader) -> str:
        assert not (reader.exists(root.path) and not reader.entries(root.path)) or not reader.exists(root.path / "x")
        return "" if not reader.exists(root.path / "catalogue.json") else "It has a catalogue."


# ---- what is deleted -------------------------------------------------------------------------------------------------

@breaks("what_the_program_deletes_stays_deleted")
class Sweeping(Loft):
    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        shutil.rmtree(root / "cards", ignore_errors=True)


@breaks("what_the_program_deletes_stays_deleted")
class Sparing(Loft):
    def delete_as_program_does(self, root: Path, variant: Variant, entries: Sequence[Entry]) -> None:
        """The card stays."""


@breaks("what_the_person_deletes_stays_deleted", "what_the_program_deletes_stays_deleted",
        "taking_one_away_leaves_the_others", "a_newcomer_renames_nobody")
class Together(Loft):
    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterator[Entry]:
        for entry in super().project(variants, root, facts):
            yield replace(entry, path=f"{len(variants)}/{entry.path}")


# ---- how it merges ---------------------------------------------------------------------------------------------------

def merging(merge: Callable[[bytes | None, bytes | None, bytes], bytes | None]) -> dict[str, Any]:
    def alter(self: Altered, entry: Entry, number: int) -> Iterable[Entry]:
        yield replace(entry, body=Text(entry.body.data, merge)) if isinstance(entry.body, Text) else entry
    return {"alter": alter}


def appends(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes | None:
    return ours if theirs in (None, base, ours) else theirs + b"\n"     # type: ignore[operator]


def parses(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes | None:
    return ours if theirs in (None, base) else json.dumps({**json.loads(theirs), **json.loads(ours)}).encode()  # type: ignore[arg-type]


breaks("an_untouched_sidecar_is_written_anew")(type("Emptying", (Altered,), merging(
    lambda base, theirs, ours: b"" if theirs is None else theirs)))
breaks("merging_twice_changes_nothing_more")(type("Appending", (Altered,), merging(appends)))
breaks("a_foreign_key_survives", "garbage_is_declined")(type("Overwriting", (Altered,), merging(
    lambda base, theirs, ours: ours)))
breaks("garbage_is_declined")(type("Parsing", (Altered,), merging(parses)))
