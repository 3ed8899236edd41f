"""plan(desired, actual) for one root: pure. What it decides is in `format.md`, "States of a root" and after.

A variant of which one entry is in conflict gets no new entries in that root: half a model is worse than none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from helixstore.farm.desired import Claim, Joined, WantedRoot, folders_of
from helixstore.farm.kept import AGAIN
from helixstore.farm.ledger import FOLDER, Record
from helixstore.farm.parting import is_mixed, part
from helixstore.farm.plan import ADOPTED, LAY_THERE, STARTED_WITH, Action, Deviation, Look
from helixstore.farm.scan import Actual, digest_of, suits
from helixstore.providers.layout import Copy, Inner, Text, Weight
from helixstore.values import LIBRARY, Issue, Key, State

__all__ = ["Intentions", "RootPlan", "body_of", "plan_root", "visible"]

_DELETED = "deleted in the program"
_ASIDE = "move it aside, or hide the model there: helixstore hide MODEL --provider P"


@dataclass(frozen=True, slots=True)
class Intentions:
    """What the person said about one root.

    Attributes:
        hidden: (provider, variant) -> why it is not wanted here.
        vanished: variants deleted since the last time -> path of the witness that is gone, relative.
        declined: paths that are to be left alone, relative.
        lifted: variants that are hidden so far and are to be restored.
    """

    hidden: Mapping[tuple[str, Key], str] = field(default_factory=dict)
    vanished: Mapping[Key, str] = field(default_factory=dict)
    declined: frozenset[str] = frozenset()
    lifted: frozenset[Key] = frozenset()


@dataclass(slots=True)
class RootPlan:
    """What is to be done in one root, not yet in order; `texts` are the bytes that the actions name."""

    actions: list[Action] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)
    bases: set[str] = field(default_factory=set)
    states: list[Deviation] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    unchanged: int = 0


def visible(wanted: WantedRoot, intentions: Intentions) -> WantedRoot:
    """`wanted` without the claims of variants that are hidden or have vanished."""
    hidden, vanished = intentions.hidden, intentions.vanished
    if not hidden and not vanished:
        return wanted
    entries: dict[str, Joined] = {}
    for name, joined in wanted.entries.items():
        claims = tuple(claim for claim in joined.claims
                       if claim.key not in vanished and (claim.provider, claim.key) not in hidden)
        if claims:
            entries[name] = joined if len(claims) == len(joined.claims) else joined._replace(claims=claims)
    return replace(wanted, entries=entries)


def plan_root(wanted: WantedRoot, records: Mapping[str, Record], actual: Actual, intentions: Intentions,
              adopting: Mapping[str, str], coming: frozenset[str] = frozenset()) -> RootPlan:
    """Compare one root with what must lie in it.

    Args:
        wanted: already `visible`.
        records: the ledger.
        actual: what `scan` saw.
        intentions: what the person said.
        adopting: paths that this plan adopts, relative -> digest.
        coming: digests of blobs that this plan's adoptions bring into the store.
    """
    planner = _RootPlanner(wanted, records, actual, intentions, adopting, coming)
    if actual.state == "away":
        planner.away()
    else:
        planner.run()
    return planner.out


class _RootPlanner:
    def __init__(self, wanted: WantedRoot, records: Mapping[str, Record], actual: Actual, intentions: Intentions,
                 adopting: Mapping[str, str], coming: frozenset[str]) -> None:
        self.wanted, self.records, self.actual = wanted, records, actual
        self.intentions, self.adopting, self.coming = intentions, adopting, coming
        self.root = wanted.path
        self.out = RootPlan()
        self.blocked: dict[tuple[str, Key | None], tuple[State, str]] = {}
        self.work: list[Action] = []

    # ---- the whole root --------------------------------------------------------------------------------------

    def away(self) -> None:
        """Nothing is concluded from a root that is not there."""
        for claim in _distinct(self.wanted.entries.values()):
            self.out.states.append(Deviation(self.root, claim.provider, claim.key, State.AWAY, self.actual.reason))
        self.out.issues.append(Issue(
            "away", self.root, f"{self.actual.reason}; nothing is done there",
            "mount the disk; if the folder was deleted on purpose: helixstore sync --restore"))

    def run(self) -> None:
        """Every entry, then what is not wanted any more, then the person's intent."""
        out, intentions = self.out, self.intentions
        for name, joined in self.wanted.entries.items():
            self.entry(name, joined)
        for (provider, key), why in self.wanted.refused.items():
            out.states.append(Deviation(self.root, provider, key, State.CONFLICT, why))
        for (provider, key), why in intentions.hidden.items():
            out.states.append(Deviation(self.root, provider, key, State.HIDDEN, why))
        for key, path in intentions.vanished.items():
            claims = tuple(Claim(provider, key, False) for provider in self.wanted.providers)
            out.states += [Deviation(self.root, c.provider, key, State.HIDDEN, _DELETED) for c in claims]
            out.actions.append(Action("hide", self.root, path, (*key,), claims=claims, note=_DELETED))
        out.actions += [Action("unhide", self.root, "", (*key,), note="restored") for key in intentions.lifted]
        made = self.unblocked()
        out.actions += made
        self.folders(made)
        for record in self.records.values():
            if record.kind != FOLDER and record.path not in self.wanted.entries:
                self.no_longer(record)
        needed = folders_of(self.wanted.entries)
        if self.wanted.providers and not self.wanted.cache:
            needed.add("")                      # a program that was told this folder at its start fails without it
        for record in self.records.values():
            if record.kind == FOLDER and record.path not in needed:
                self.folder_no_longer(record)

    def unblocked(self) -> list[Action]:
        """The work that remains when variants in conflict get nothing new."""
        out = self.out
        for (provider, key), (state, why) in self.blocked.items():
            out.states.append(Deviation(self.root, provider, key, state, why))
        if not self.blocked:
            return self.work
        made = []
        for action in self.work:
            if action.op == "record":
                made.append(action)
                continue
            claims = tuple(claim for claim in action.claims if claim[:2] not in self.blocked)
            if claims:
                made.append(action._replace(claims=claims))
        return made

    def folders(self, made: Iterable[Action]) -> None:
        """Folders that are missing on the way to what is made, and one of ours that a program is started with."""
        missing = folders_of(action.path for action in made if action.op == "make")
        started = self.wanted.owned and any(provider != LIBRARY for provider in self.wanted.providers)
        if started:
            missing.add("")
        missing -= self.actual.folders
        self.out.actions += [Action("folder", self.root, name, order=name.count("/") + bool(name),
                                    note="" if name or not started else STARTED_WITH) for name in missing]

    # ---- one entry -------------------------------------------------------------------------------------------

    def entry(self, name: str, joined: Joined) -> None:
        """Decide about one path that is wanted."""
        actual = self.actual
        if name in self.intentions.declined:
            self.block(joined, State.HIDDEN, "given back by undo; helixstore sync --restore brings it back")
            return
        if name in actual.unknown:
            self.block(joined, State.AWAY, actual.unknown[name])
            self.out.issues.append(Issue("unreadable", f"{self.root}/{name}", actual.unknown[name], "make it readable"))
            return
        if name in actual.in_way:
            self.conflict(name, joined, actual.in_way[name])
            return
        look, record = actual.looks.get(name), self.records.get(name)
        if look is None:
            self.absent(name, joined, record)
        elif self.adopting.get(name, "") == getattr(joined.body, "blob", None):
            self.do("record", name, joined, look, record, ADOPTED)
        elif record is None:
            self.foreign(name, joined, look)
        elif not self.is_ours(record, look):
            self.changed(name, joined, look, record)
        elif type(joined.body) is Text:
            self.text(name, joined, look, record)
        elif self.is_right(joined, record, look):
            self.right(name, joined, look, record)
        elif record.origin != "made" and record.kind != "symlink":
            self.conflict(name, joined, f"it was adopted with other content ({record.digest[:8]})")
        elif not self.is_missing(name, joined):
            self.do("replace", name, joined, look, record, "other content or another kind of link is wanted")

    def absent(self, name: str, joined: Joined, record: Record | None) -> None:
        """Nothing lies there."""
        if self.is_missing(name, joined):
            return
        kept, body = self.actual.kept.get(name), joined.body
        if kept and isinstance(body, Text) and body.merge and any(claim.key in kept.keys for claim in joined.claims):
            merged = body.merge(kept.base, kept.text, body.data)
            if merged is not None:
                self.out.texts[digest_of(merged)] = merged
                self.do("make", name, joined, None, record, AGAIN, (digest_of(merged), self.actual.texts[name]))
                return
        self.do("make", name, joined, None, record, "repaired" if record is not None else "")

    def is_missing(self, name: str, joined: Joined) -> bool:
        """Whether the blob that the entry needs is not in the store; then the variant is incomplete."""
        blob: str = getattr(joined.body, "blob", "")
        if not blob or blob in self.actual.present or blob in self.actual.blobs or blob in self.coming:
            return False
        if why := self.actual.absent.get(blob):
            self.block(joined, State.AWAY, why)
            return True
        reason = f"blob {blob[:12]} is missing in the store"
        self.block(joined, State.INCOMPLETE, reason)
        self.out.issues.append(Issue("incomplete", f"{self.root}/{name}", reason, "helixstore verify --repair"))
        return True

    def foreign(self, name: str, joined: Joined, look: Look) -> None:
        """Something lies there that is not ours."""
        if name in self.actual.same:
            self.do("record", name, joined, look, None, LAY_THERE)
        elif type(joined.body) is Text and look.kind == "file" and joined.body.merge and name in self.actual.theirs:
            self.merge(name, joined, look, None)
        elif self.wanted.cache:
            self.state(joined, State.LINKED, "the program has it there by itself")
        else:
            alike = type(joined.body) is Weight and look.kind == "file" and look.bytes == joined.body.bytes
            self.conflict(name, joined, f"{_what(look)} lies there that helixstore did not make",
                          f"helixstore sync takes it in if it is the same; else {_ASIDE}" if alike else _ASIDE)

    def changed(self, name: str, joined: Joined, look: Look, record: Record) -> None:
        """It was ours, and somebody has changed or replaced it."""
        if name in self.actual.same:
            self.do("record", name, joined, look, record, "the same content again")
        elif look.kind == "file" and type(joined.body) is Text:
            self.merge(name, joined, look, record)
        elif look.kind == "file" and record.kind in ("copy", "reflink"):
            self.state(joined, State.MODIFIED, f"{name} was changed there; it is left as it is")
        else:
            if not self.wanted.cache:
                self.conflict(name, joined, f"what helixstore made there has been replaced by {_what(look)}")
            self.out.actions.append(Action("forget", self.root, name, claims=record.claims, was=record,
                                           note="replaced by somebody else"))

    def text(self, name: str, joined: Joined, look: Look, record: Record) -> None:
        """A sidecar that is as we left it, perhaps with the person's changes merged in."""
        wanted = self.actual.texts[name]
        if wanted == record.base:
            self.right(name, joined, look, record)
        elif record.digest == record.base and record.origin == "made":
            self.keep(name)
            self.do("replace", name, joined, look, record, "the model has changed")
        else:
            self.merge(name, joined, look, record)

    def merge(self, name: str, joined: Joined, look: Look, record: Record | None) -> None:
        """Somebody else has written this sidecar too: three-way, or a conflict."""
        body = joined.body
        assert isinstance(body, Text)
        theirs = self.actual.theirs.get(name)
        if theirs is None:
            self.conflict(name, joined, f"{_what(look)} lies there that is too large for a sidecar")
            return
        wanted, now = self.actual.texts[name], self.actual.content[name]
        as_taken = record is not None and now == record.digest == record.base
        base = theirs if as_taken else self.actual.bases.get(record.base) if record is not None else None
        merged = body.merge(base, theirs, body.data) if body.merge is not None else None
        if now == wanted and record is not None and record.digest != now:
            self.do("record", name, joined, look, record, ADOPTED)      # the program wrote what it says it has
            return
        if now == wanted or merged == theirs:
            self.out.texts[now] = theirs
            self.do("refresh" if record else "record", name, joined, look, record, "merged", (now, wanted))
            return
        if as_taken and record is not None and record.origin == "adopted" and merged == body.data:
            self.keep(name)
            self.do("replace", name, joined, look, record, "the model has changed")     # it came to lead elsewhere
            return
        if merged is None:
            self.conflict(name, joined, "it was changed there, and both changes do not fit together")
            return
        digest = digest_of(merged)
        original: tuple[str, ...] = ()
        self.out.texts[digest] = merged
        self.out.texts[now] = theirs
        if record is None or record.origin != "made":
            before = now if record is None or not record.original else record.original
            original = (before,)
            self.out.texts.setdefault(before, self.actual.bases.get(before, theirs))
            self.out.bases.add(before)
        self.do("replace", name, joined, look, record, "merged with the changes made there",
                (digest, wanted, *original))

    def right(self, name: str, joined: Joined, look: Look, record: Record) -> None:
        """As it must be; the ledger may have to follow."""
        stale = record.kind not in ("hard", "symlink", "inner") and look[1:4] != record[3:6]
        if record.claims != joined.claims or record.order != joined.order or stale:
            self.do("refresh", name, joined, look, record, "", (record.digest, record.base))
        else:
            self.out.unchanged += 1

    # ---- what is not wanted any more ---------------------------------------------------------------------------

    def no_longer(self, record: Record) -> None:
        """Remove what is still as we made it; forget the rest, which is the person's."""
        name = record.path
        if name in self.actual.unknown:
            return
        look = self.actual.looks.get(name)
        withdrawn = record.kind == "symlink" and any(claim[:2] in self.wanted.withdrawn for claim in record.claims)
        mixed = look is not None and is_mixed(record, self.actual)
        if look is not None and mixed and (
                action := part(self.wanted, self.records, self.actual, record, look, self.out.texts)):
            self.out.actions.append(action)
            return
        if look is not None and (record.origin == "made" or withdrawn) and self.is_ours(record, look) and not mixed:
            self.keep(name)
            self.out.actions.append(Action("remove", self.root, name, body_of(record), look, record.claims,
                                           record.order, record, "not wanted here any more"))
            return
        note = ""
        if look is not None and record.origin == "merged" and self.is_ours(record, look):
            self.keep(name)
            data = self.actual.bases.get(record.original)
            if data is not None:
                self.out.texts[record.original] = data
                self.out.actions.append(Action("restore", self.root, name, ("text", record.original, record.original),
                                               look, record.claims, record.order, record, "as it was before"))
                return
        if look is not None and record.origin != "adopted":
            note = "changed since helixstore made it: it stays"
            self.out.issues.append(Issue("modified", f"{self.root}/{name}", note, "delete it if it is not needed"))
        self.out.actions.append(Action("forget", self.root, name, claims=record.claims, was=record, note=note))

    def folder_no_longer(self, record: Record) -> None:
        look = self.actual.looks.get(record.path)
        if look is None or look.kind != "folder":
            if record.path not in self.actual.unknown:
                self.out.actions.append(Action("forget", self.root, record.path, was=record))
        elif record.path not in self.actual.crowded:
            self.out.actions.append(Action("unfolder", self.root, record.path, (), look, (),
                                           record.path.count("/") + bool(record.path), record))

    # ---- small questions ---------------------------------------------------------------------------------------

    def is_ours(self, record: Record, look: Look) -> bool:
        """Whether what lies there is still what we made."""
        kind = record.kind
        if kind == "hard":
            return look.kind == "file" and look.inode == record.inode
        if kind in ("symlink", "inner"):
            return look.kind == "link" and look.target == record.target
        if look.kind != "file":
            return False
        return look[1:4] == record[3:6] or self.actual.content.get(record.path) == record.digest

    def is_right(self, joined: Joined, record: Record, look: Look) -> bool:
        """Whether what is ours there is what is wanted."""
        body = joined.body
        lay_there = record.kind == "inner" and record.origin == "adopted"       # a link that a program made itself
        if isinstance(body, Inner):
            return record.kind == "inner" and (lay_there or look.target == body.target)
        if isinstance(body, Weight | Copy) and lay_there:
            return record.digest == body.blob
        if not isinstance(body, Weight | Copy) or not suits(record, body):
            return False
        if record.kind == "symlink":
            return record.path in self.actual.leads
        return record.origin != "made" or record.path not in self.actual.strays

    def do(self, op: str, name: str, joined: Joined, look: Look | None, record: Record | None, note: str,
           texts: tuple[str, ...] = ()) -> None:
        """One action for an entry; `texts`: digest of the bytes and of what is wanted, where they differ."""
        body = joined.body
        shape: tuple[Any, ...]
        if type(body) is Weight:
            shape = ("weight", body.blob, body.bytes, body.kinds)
        elif type(body) is Copy:
            shape = ("copy", body.blob, body.bytes)
        elif type(body) is Inner:
            shape = ("inner", body.target)
        else:
            assert isinstance(body, Text)
            wanted = self.actual.texts[name]
            shape = ("text", *(texts or (wanted, wanted)))
            self.out.texts[wanted] = body.data
            if body.merge is not None:
                self.out.bases.add(wanted)
        self.work.append(Action(op, self.root, name, shape, look, joined.claims, joined.order, record, note))

    def keep(self, name: str) -> None:
        """The bytes of a text that goes away enter the plan, so that undo can bring them back."""
        if name in self.actual.theirs:
            self.out.texts[self.actual.content[name]] = self.actual.theirs[name]

    def block(self, joined: Joined, state: State, reason: str) -> None:
        """Nothing new is made for the variants that claim this entry."""
        for claim in joined.claims:
            self.blocked.setdefault((claim.provider, claim.key), (state, reason))

    def state(self, joined: Joined, state: State, reason: str) -> None:
        """Say how the variants stand, without holding anything back."""
        self.out.states += [Deviation(self.root, claim.provider, claim.key, state, reason) for claim in joined.claims]

    def conflict(self, name: str, joined: Joined, theirs: str, remedy: str = _ASIDE) -> None:
        """Two sides want one path: name both, touch nothing."""
        ours = " and ".join(sorted({f"{c.key or 'the list of models'} for {c.provider}" for c in joined.claims}))
        self.block(joined, State.CONFLICT, theirs)
        self.out.issues.append(Issue("conflict", f"{self.root}/{name}", f"{theirs}; {ours} needs this path", remedy))


def body_of(record: Record) -> tuple[Any, ...]:
    """What would make this record's entry again: for the inverse of removing it."""
    if record.kind in ("symlink", "inner"):
        return ("inner", record.target) if record.kind == "inner" else ("weight", record.digest, record.bytes,
                                                                         ("symlink",))
    if record.kind == "text":
        return ("text", record.digest, record.base)
    if record.kind == "hard":
        return ("weight", record.digest, record.bytes, ("hard", "symlink", "reflink"))
    return ("copy", record.digest, record.bytes)


def _what(look: Look) -> str:
    if look.kind == "file":
        return f"a file of {look.bytes:,} bytes"
    if look.kind == "link":
        return f"a link to {look.target}"
    return "a folder" if look.kind == "folder" else "something that is no file"


def _distinct(entries: Iterable[Joined]) -> set[Claim]:
    return {claim._replace(witness=False) for joined in entries for claim in joined.claims}
