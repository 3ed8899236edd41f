"""Checks of where a layout looks: on each system, under each setting, and with other people's files in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from helixstore.errors import UnsafeName
from helixstore.fs.names import check_relative
from helixstore.providers.layout import Facts, Root
from helixstore.testing.case import Case, check, require
from helixstore.testing.ground import GARBAGE, MACHINES, EmptyReader, GarbageReader, blind, sandbox

_ELSEWHERE = "/elsewhere"


class Asked(dict[str, str]):
    """Environment variables that remember which were asked for."""

    def __init__(self, known: dict[str, str]) -> None:
        super().__init__(known)
        self.names: set[str] = set()

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """As of any mapping."""
        self.names.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> str:
        self.names.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.names.add(str(key))
        return super().__contains__(key)


@check
def its_roots_are_told_apart(case: Case) -> None:
    """On every system it has a root; each is absolute, says where it is known from, and has a label of its own."""
    for facts in MACHINES:
        roots = _roots(case, facts)
        require(roots, f"on {facts.platform} it has no root")
        for root in roots:
            require(isinstance(root, Root), f"{root!r} is no Root")
            require(root.path.is_absolute(), f"on {facts.platform} the root {root.path} is not absolute")
            require(root.origin.strip(), f"the root {root.path} does not say where it is known from")
            require(all(path.is_absolute() for path in root.present), f"`present` of {root.path} is not absolute")
        for what in ({root.label for root in roots}, {root.path for root in roots}):
            require(len(what) == len(roots), f"on {facts.platform} two roots have one label or path: {_list(roots)}")
        for label in {root.label for root in roots} - {""}:
            require(_is_name(label), f"the label {label!r} is no name that can stand in a path")


@check
def its_roots_stay_at_home(case: Case) -> None:
    """By default it looks in the person's home or in a folder of helixstore's own, never elsewhere."""
    for facts in MACHINES:
        env = sandbox(case.home, platform=facts.platform, reader=EmptyReader())
        for root in case.layout.roots(env):
            for path in (root.path, *root.present):
                require(path.is_relative_to(case.home), f"on {facts.platform} it looks at {path}, outside of the home")
            mine = root.path.is_relative_to(env.farms)
            require(mine == root.owned, f"the root {root.path} is {'' if root.owned else 'not '}said to be "
                                        f"helixstore's own, and lies {'' if mine else 'not '}below its farms")


@check
def the_setting_wins(case: Case) -> None:
    """The folder that the person named for the program is a root, whatever variables and settings files say."""
    place = case.home / "else where" / "chosen"
    for facts in MACHINES:
        for environ in ({}, dict.fromkeys(_names(case, facts), _ELSEWHERE)):
            roots = _roots(case, facts, environ, place)
            require(any(root.path.is_relative_to(place) for root in roots),
                    f"on {facts.platform} the setting {place} is no root: {_list(roots)}")
            require(not any(root.owned and root.path.is_relative_to(place) for root in roots),
                    "it calls the person's own folder helixstore's")


@check
def variables_lead_where_they_say(case: Case) -> None:
    """A variable that it reads moves a root below the folder it names, or moves nothing."""
    for facts in MACHINES:
        before = {root.path for root in _roots(case, facts)}
        for name in _names(case, facts):
            for root in _roots(case, facts, {name: f"{_ELSEWHERE}/{name}"}):
                require(root.path in before or root.path.is_relative_to(f"{_ELSEWHERE}/{name}"),
                        f"{name}={_ELSEWHERE}/{name} makes it look at {root.path}")
            for value in ("~/there", "~", "relative/folder", "./x"):
                for root in _roots(case, facts, {name: value}):
                    require(root.path.is_absolute() and not root.path.is_relative_to(case.home / "~"),
                            f"{name}={value} gives the root {root.path}, which is no absolute path")
            for value in ("", "  "):
                after = {root.path for root in _roots(case, facts, {name: value})}
                require(after == before, f"{name} set to {value!r} counts as a folder: {_list(after - before)}")


@check
def broken_settings_files_are_borne(case: Case) -> None:
    """Whatever stands in the program's own settings files, it finds absolute roots and raises nothing."""
    for facts in MACHINES:
        for text in GARBAGE:
            env = sandbox(case.home, platform=facts.platform, reader=GarbageReader(text))
            roots = list(case.layout.roots(env))
            require(roots, f"with {text!r} in its settings files it has no root")
            for root in roots:
                require(root.path.is_absolute(), f"with {text!r} in its settings files its root is {root.path}")


@check
def looking_for_roots_asks_the_reader_only(case: Case) -> None:
    """It finds its roots, and what lies in them, through the reader alone; the same question has the same answer."""
    for facts in MACHINES:
        env = sandbox(case.home, platform=facts.platform, reader=EmptyReader())
        with blind("roots"):
            roots = list(case.layout.roots(env))
            again = list(case.layout.roots(env))
        require(roots == again, "the second time it has other roots")
        with blind("discover"):
            found = [item for root in roots for item in case.layout.discover(root, EmptyReader())]
        require(not found, f"it discovers {found[0].name if found else ''} where there is nothing")


def _roots(
    case: Case, facts: Facts, environ: dict[str, str] | None = None, setting: Path | None = None
) -> list[Root]:
    return list(case.layout.roots(sandbox(case.home, environ, facts.platform, EmptyReader(), setting)))


def _names(case: Case, facts: Facts) -> Iterator[str]:
    """The variables that the layout asks for, beside those that tell who the person is."""
    asked = Asked({})
    _roots(case, facts, asked)
    yield from sorted(asked.names - {"HOME", "USER", "USERNAME", "LOGNAME", "PATH"})


def _is_name(label: str) -> bool:
    try:
        return check_relative(label) == label and "/" not in label
    except UnsafeName:
        return False


def _list(what: object) -> str:
    assert isinstance(what, (list, set))
    return ", ".join(sorted(str(item.path if isinstance(item, Root) else item) for item in what)) or "nothing"
