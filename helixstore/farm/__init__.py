"""The farm: the links and sidecars that helixstore makes in the roots of providers. Plan is pure, apply acts.

    farm                            the farm of one person on one host: everything below, behind one door

What must be and what is:

    desired, library                the entries that providers want; our own folder with every model
    scan, snapshot                  what really lies there; whether anything has changed since
    intent, choice                  hidden and declined; shared with certain providers only
    ledger, states                  what we made; how every variant stands

From the one to the other, as plain values:

    plan, planner, compare          the actions; deciding them for one root; is what lies there what was expected
    gather, narrow                  the actions of all roots in order; only a part of a root
    moved, needed, parting, kept    moved by hand; still in use; texts in which two have written; their own part of them
    back                            `undo` and `leave`, as plans
    check, seal                     whether a saved plan still fits, and is this person's

Doing it:

    lock, journal, space            one at a time; written down first; is there room
    apply, handlers, outcome        the steps; those that make no links; what came of them
    place, adopt, mend              one link, of the kind that works; taking a file in; links in a file's place
    undo_keeps                      what undo needs of the store, and letting go of it
    last                            what is not taken away, since it may be the last there is
"""
