"""Whether a saved plan still fits the world: everything it rests on is looked at before its first step."""

from __future__ import annotations

import os

from helixstore.errors import PlanOutdated
from helixstore.farm.compare import holds
from helixstore.farm.ledger import Ledgers
from helixstore.farm.plan import Action, Plan
from helixstore.farm.scan import identity_of, look_at
from helixstore.fs import kernel

__all__ = ["check_plan"]

_SHOWN = 3              # differences that the message names
_LOOKED_AT = frozenset({"make", "replace", "record", "refresh", "restore", "remove", "own"})


def check_plan(plan: Plan, ledgers: Ledgers) -> None:
    """Compare every precondition with the disk and the ledgers.

    Raises:
        PlanOutdated: something differs; the message names the first of them.
    """
    wrong = [f"{root}: another folder lies there" if identity else f"{root}: it exists now"
             for root, identity in plan.roots.items() if identity != identity_of(root)]
    adopted = {adoption.path for adoption in plan.adoptions}
    for adoption in plan.adoptions:
        try:
            now = kernel.fingerprint(adoption.path)
        except OSError as error:
            wrong.append(f"{adoption.path}: {error.strerror}")
            continue
        if not now.same_content(adoption.expect):
            wrong.append(f"{adoption.path}: it was changed")
    for action in plan.actions:
        if action.absolute not in adopted and (why := _differs(action, ledgers)):
            wrong.append(f"{action.absolute}: {why}")
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise PlanOutdated(f"the world has changed since the plan was made: {'; '.join(wrong[:_SHOWN])}{more}",
                           "make a new plan: helixstore sync --plan FILE")


def _differs(action: Action, ledgers: Ledgers) -> str:
    """What is not as the action expects; "" when all is."""
    if action.op in _LOOKED_AT:
        try:
            look = look_at(action.absolute)
        except OSError as error:
            return error.strerror or str(error)
        if not holds(action, look):
            return "it was changed" if look is not None else "it has gone"
        if ledgers.of(action.root).records.get(action.path) != action.was:
            return "helixstore has been at work there since"
    elif action.op == "hide" and action.path and os.path.lexists(action.absolute):
        return "it is back"
    return ""
