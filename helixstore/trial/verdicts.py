"""What follows for helixstore from what a mount can do."""

from __future__ import annotations

from collections.abc import Iterable

from helixstore.fs.mounts import FLEETING, Mount
from helixstore.trial.report import Trial, Trials, Verdict

__all__ = ["verdicts"]

#: seconds after which what another host did is still not seen; the collector waits longer before it deletes anything
_LATE = 60.0


def verdicts(mount: Mount, found: Iterable[Trial]) -> tuple[Verdict, ...]:
    """For the store, programs' folders, the index and watch: yes, with care, or no, and why or how."""
    trials = Trials(found)
    return (_store(mount, trials), _programs(trials), _index(mount, trials), _watch(mount, trials))


def _failed(trials: Trials, *names: str) -> list[str]:
    return [name for name in names if trials[name].works is False]


def _store(mount: Mount, trials: Trials) -> Verdict:
    what = "store"
    if broken := _failed(trials, "exclusive_create", "create_race", "rename_over", "fsync"):
        return Verdict(what, "no", "; ".join(f"{name.replace('_', ' ')} fails: {trials[name].detail or 'tried'}"
                                             for name in broken))
    if trials["large_files"].works is False:
        return Verdict(what, "no", "it takes no files of 5 GB")
    care = []
    if mount.kind in FLEETING:
        care.append(f"{mount.kind} is memory: all that is on it is gone at the next restart")
    if not trials["hard_links"].works:
        care.append("models are copied into it, since no hard link can be made or told")
        if not trials["rename_no_replace"].works:
            care.append("two who publish one file at once both believe they were first, of the same bytes")
    if trials["publish_race"].works is False and trials["hard_links"].works:
        care.append(f"publishing: {trials['publish_race'].detail}")
    if trials["modes"].works is False:
        care.append("its files are not read-only, since modes are not kept")
    if trials["owner"].works is False:
        care.append("who added what is not seen: what you make belongs to somebody else")
    if trials["same_clock"].works is False:
        care.append(f"{trials['same_clock'].detail} (times are compared by its own only)")
    late = [trial.figure or _LATE for name in ("seen_name", "seen_listing", "seen_size")
            if (trial := trials[name]).works is not None]
    if mount.network and late and max(late) > 1:        # on a disk of this computer it was busy, no more
        care.append(f"another host's change is seen within {max(late):.0f} s")
    if not mount.network and trials["flock"].works is False:
        care.append("locks do not hold, so commands may do work twice")
    return Verdict(what, "care" if care else "yes", "; ".join(care))


def _programs(trials: Trials) -> Verdict:
    what = "program folders"
    kinds = [text for name, text in (("hard_links", "hard links"), ("symbolic_links", "symbolic links"),
                                     ("reflinks", "reflinks")) if trials[name].works]
    if not kinds:
        return Verdict(what, "care", "no kind of link works: take it up as a volume, whose files are referred to where "
                                     "they lie")
    from_elsewhere = "symbolic links" if trials["symbolic_links"].works else "copies"
    why = f"{' or '.join(kinds)} to a store on it, {from_elsewhere} to one elsewhere"
    if trials["leases"].works is not True:
        why += "; a new file is taken in after ten minutes without a change, since nobody can tell who writes it"
    return Verdict(what, "yes" if trials["symbolic_links"].works else "care", why)


def _index(mount: Mount, trials: Trials) -> Verdict:
    what = "index"
    if mount.network:
        return Verdict(what, "no", f"{mount.kind or 'a share'} is a network's, where LMDB's locks and map do not hold: "
                                   "it is kept on a local disk (HELIXSTORE_INDEX)")
    if broken := _failed(trials, "shared_maps", "record_locks"):
        return Verdict(what, "no", " and ".join(name.replace("_", " ") for name in broken) + " do not hold")
    return Verdict(what, "yes", "")


def _watch(mount: Mount, trials: Trials) -> Verdict:
    what = "watch"
    if trials["own_events"].works and trials["others_events"].works:
        if mount.network and trials["others_events"].detail == "":
            return Verdict(what, "care", "events of this host's programs; what other hosts do is found by looking")
        return Verdict(what, "yes", "by events")
    if trials["own_events"].works is None:
        return Verdict(what, "care", "not known: the other host was asked")
    return Verdict(what, "care", "by looking again and again: there are no events of what others do")
