"""Putting the actions of all roots in the order in which they are done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from helixstore.farm.desired import Claim
from helixstore.farm.plan import Action, Adoption, Deviation, Original, Plan
from helixstore.farm.planner import RootPlan
from helixstore.values import Issue, Key

__all__ = ["HIDDEN", "Gathered"]

#: why a variant is hidden that no program deleted
HIDDEN = "hidden by command"

#: What the person wants, then adoption, folders, entries by their order, and in the reverse order what goes.
_PHASE = {
    "accept": 0, "unhide": 0, "hide": 1, "intake": 2, "swap": 3, "folder": 4, "make": 5, "replace": 5, "record": 5,
    "refresh": 5, "restore": 6, "own": 7, "remove": 7, "forget": 8, "unfolder": 9,
}
_DESCENDING = frozenset({"restore", "own", "remove", "forget", "unfolder"})


class Gathered:
    """Collects what the roots need, and makes one plan of it."""

    def __init__(self) -> None:
        self.issues: list[Issue] = []
        self._phases: dict[tuple[int, int], list[Action]] = {}
        self._originals: list[Original] = []
        self._texts: dict[str, bytes] = {}
        self._bases: set[str] = set()
        self._states: list[Deviation] = []
        self._roots: dict[str, tuple[str, int] | None] = {}
        self._unchanged = 0

    def intent(self, hide: Collection[tuple[str, Key]], unhide: Collection[tuple[str, Key]]) -> None:
        """What the person says about providers."""
        for op, places, note in (("hide", hide, HIDDEN), ("unhide", unhide, "shown again")):
            self.add(Action(op, "", "", (*key,), claims=(Claim(provider, key, False),), note=note)
                     for provider, key in places)

    def accept(self, paths: Iterable[str]) -> None:
        """Paths that need not be left alone any more."""
        self.add([Action("accept", "", path, note="restored") for path in paths])

    def adopt(self, index: int, adoption: Adoption, original: Original) -> None:
        """The adoption that will be the plan's `index`th."""
        claims = tuple(Claim(provider, adoption.key, False) for provider in adoption.providers or ("",))
        self._originals.append(original)
        note = "the same bytes are in the store" if adoption.replace else "into the store, where it lies"
        self.add([Action("swap" if adoption.replace else "intake", "", adoption.path, ("adopt", index), None, claims,
                         note=note)])

    def root(self, path: str, identity: tuple[str, int] | None, planned: RootPlan) -> None:
        """What one root needs."""
        self._roots[path] = identity
        self.add(planned.actions)
        self._texts |= planned.texts
        self._bases |= planned.bases
        self._states += planned.states
        self.issues += planned.issues
        self._unchanged += planned.unchanged

    def add(self, actions: Iterable[Action]) -> None:
        """Sort actions into their phases."""
        for action in actions:
            order = -action.order if action.op in _DESCENDING else action.order
            place = (_PHASE[action.op], order)
            there = self._phases.get(place)
            if there is None:
                there = self._phases[place] = []
            there.append(action)

    def plan(self, kind: str, adoptions: Sequence[Adoption], extra: Sequence[Mapping[str, Any]]) -> Plan:
        """All of it, in order."""
        actions = tuple(action for place in sorted(self._phases) for action in self._phases[place])
        return Plan(kind, actions, self._texts, frozenset(self._bases), tuple(adoptions), tuple(self._originals),
                    tuple(self._states), tuple(self.issues), self._roots, self._unchanged, tuple(extra))

    @staticmethod
    def together(plans: Sequence[Plan]) -> Plan:
        """Several plans as one, to be shown; they are carried out one by one."""
        space: dict[str, int] = {}
        for plan in plans:
            for point, needed in plan.space.items():
                space[point] = space.get(point, 0) + needed
        return Plan(plans[0].kind, tuple(a for plan in plans for a in plan.actions),
                    {digest: data for plan in plans for digest, data in plan.texts.items()},
                    issues=tuple(i for plan in plans for i in plan.issues),
                    extra=tuple(e for plan in plans for e in plan.extra), space=space,
                    undoes=tuple(n for plan in plans for n in plan.undoes))
