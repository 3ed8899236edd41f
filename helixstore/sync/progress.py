"""How far long work has come, told while it lasts."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "counting", "linking"]

#: (what, path, bytes done, bytes in all)
Progress = Callable[[str, str, int, int], None]


def counting(progress: Progress | None, what: str, path: str, total: int, done: int = 0) -> Callable[[int], None]:
    """What is called with the bytes done since the last call, and tells `progress` of all that are done.

    Args:
        progress: None: nobody is told.
        what, path, total: as it is told them.
        done: bytes before the first call.
    """
    def step(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(what, path, min(done, total), total)

    return step


def linking(progress: Progress | None) -> Callable[[int, int], None] | None:
    """What the farm calls with (steps done, steps in all)."""
    return (lambda done, total: progress("link", "", done, total)) if progress else None
