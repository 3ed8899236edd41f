"""What a process that stays knows of the last pass, so that the next one looks only where something happened.

A pass over some folders is the same pass: it looks for models there, projects all variants, and plans the folders in
which something happened, and in the others the entries that are not wanted as they were. What it does not look at it
does not touch; each step looks once more at what it is about to change. Whatever is not known for certain is planned
whole: a folder that is new, or where something is to go, or that was planned with trouble; and when another process has
changed the farm meanwhile, everything is.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from helixstore.store.xet import XetHasher
from helixstore.sync.shown import Shown
from helixstore.values import Issue, Key

if TYPE_CHECKING:
    from helixstore.farm.desired import WantedRoot
    from helixstore.farm.outcome import Outcome
    from helixstore.farm.plan import Deviation, Plan

__all__ = ["Still", "Within"]

#: root or loose folder -> the absolute paths in it at which something new has come to lie; None: it may be anything
Within = Mapping[str, Collection[str] | None]


@dataclass
class Still:
    """See the module.

    Attributes:
        shown: what the layouts answered.
        hasher: of Xet hashes; its process stays for a while.
        latest: the last operation that was known of; see `Journal.latest`.
        drifted: roots that did not look as their layout expects -> why.
        wanted: root -> what lies there, as it was planned and done.
    """

    shown: Shown = field(default_factory=Shown)
    hasher: XetHasher = field(default_factory=XetHasher)
    latest: tuple[int, bool] | None = None
    drifted: Mapping[str, str] = field(default_factory=dict)
    wanted: dict[str, WantedRoot] = field(default_factory=dict)

    def holds(self, latest: tuple[int, bool]) -> bool:
        """Whether no other process has changed the farm since."""
        return self.latest == latest and bool(self.wanted)

    def forget(self) -> None:
        """Everything is looked at, and planned."""
        self.latest, self.drifted, self.wanted = None, {}, {}
        self.shown.forget()

    def planning(
        self, roots: Iterable[WantedRoot], touched: Within
    ) -> tuple[list[WantedRoot], dict[str, frozenset[str]]]:
        """The roots that must be planned, and of those of which not all must be, the paths.

        Args:
            roots: what must lie in each now.
            touched: the roots in which something happened; where only something came, its paths are planned.
        """
        planned, only = [], {}
        for root in roots:
            known = self.wanted.get(root.path)
            came = touched.get(root.path, ())
            if came is None or known is None or (known.providers, known.refused, known.withdrawn) != (
                    root.providers, root.refused, root.withdrawn):
                planned.append(root)
                continue
            if known.entries is root.entries and not came:
                continue
            changed = frozenset(path[len(root.path) + 1:] for path in came).union(
                name for name, entry in root.entries.items()
                if (there := known.entries.get(name)) is not entry and there != entry)
            if known.entries.keys() - root.entries.keys():
                planned.append(root)
            elif changed:
                planned.append(root)
                only[root.path] = changed
        return planned, only

    def done(self, roots: Sequence[WantedRoot], plan: Plan, outcome: Outcome, latest: tuple[int, bool],
             drifted: Mapping[str, str]) -> None:
        """A pass has been carried out: remember what lies in its roots, but for those where it had trouble."""
        self.latest, self.drifted = latest, dict(drifted)
        trouble = {root for root, *_ in outcome.failed} | {one.root for one in plan.states if one.state == "away"}
        trouble |= {root.path for root in roots if any(_below(issue, root.path) for issue in outcome.issues)}
        self.wanted = {root.path: root for root in roots if root.path not in trouble}

    def issues_left(self, last: Iterable[Issue], planned: Sequence[WantedRoot], only: Collection[str],
                    touched: Within) -> list[Issue]:
        """Of the issues of the last pass, those that this one did not look into."""
        looked = {root for root, came in touched.items() if came is None}
        looked.update(root.path for root in planned if root.path not in only)
        again = {place for came in touched.values() for path in came or () for place in (path, os.path.dirname(path))}
        return [issue for issue in last if issue.path not in again and not any(_below(issue, root) for root in looked)]

    @staticmethod
    def concerned(plan: Plan, earlier: Mapping[str, Iterable[Deviation]]) -> set[Key]:
        """The variants of which a plan may change how they stand; `earlier`: root -> what was not simply linked."""
        keys = {one.key for root in plan.roots for one in earlier.get(root, ()) if one.key is not None}
        for action in plan.actions:
            same = action.was.claims if action.op == "refresh" and action.was is not None else ()
            keys |= {claim.key for claim in {*action.claims}.symmetric_difference(same) if claim.key is not None}
        return keys | {one.key for one in plan.states if one.key is not None}


def _below(issue: Issue, root: str) -> bool:
    return issue.path == root or issue.path.startswith(root + os.sep)
