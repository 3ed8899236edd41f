"""The part of `HelixStore` that only looks: what there is, how it stands, and why.

An object opens what it needs when it is first needed; one call at a time goes through.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, update_wrapper
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from helixstore.hub.waiting import listening
from helixstore.session import FORBIDDEN, LAST_ISSUES, Session, disks_changed
from helixstore.sync.progress import in_turn
from helixstore.values import LIBRARY, Format

if TYPE_CHECKING:
    from helixstore.download.results import Version
    from helixstore.results import (
        Check,
        Difference,
        Explanation,
        Generation,
        Model,
        Mounts,
        ProviderDetail,
        ProviderView,
        Status,
        UsageTable,
        Verdict,
    )
    from helixstore.settings import Setting
    from helixstore.sync.progress import Progress

__all__ = ["Looking", "one_at_a_time"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Looking")


def one_at_a_time(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """The method under the object's lock."""
    def locked(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock, listening(self._waits):
            return method(self, *args, **kwargs)

    update_wrapper(locked, method)
    return locked


class Looking:
    """An open store, and this person's view of it; see `HelixStore` for the arguments."""

    def __init__(
        self, path: str | Path | None = None, *, environ: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        folder = Path(path) if path is not None else None
        self._session = Session(dict(os.environ if environ is None else environ), folder=folder,
                                create=folder is not None and _empty(folder))
        self._progress = in_turn(progress) if progress is not None else None
        self._waits = partial(self._progress, "wait") if self._progress is not None else None
        self._lock = threading.RLock()
        self.folder = self._session.store.path
        self.id = self._session.store.id

    def close(self) -> None:
        """Let go of the index; the object can be used again afterwards."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """One small mapping per variant, the fastest list; who gets nothing, whatever it is, is not named with each."""
        silent = {(name, "pending") for name in json.loads(self._informed().index.state(FORBIDDEN) or b"{}")}
        shown: dict[int, Mapping[str, str]] = {}        # most models stand alike, and share one mapping
        for row in self._informed().index.rows():
            states = row["providers"]
            if id(states) not in shown:
                shown[id(states)] = {name: state for name, state in states.items()
                                     if name != LIBRARY and (name, state) not in silent}
            row["providers"] = shown[id(states)]
            yield row

    @one_at_a_time
    def shared_models(self) -> list[Model]:
        """Every model with its variants, and how each stands with each provider."""
        from helixstore.commands.queries import models

        return models(self._informed())

    @one_at_a_time
    def show(self, ref: str) -> Model:
        """One model by any name a program uses for it."""
        from helixstore.commands.queries import show

        return show(self._informed(), ref)

    @one_at_a_time
    def path(self, ref: str, format: Format | str | None = None) -> Path:
        """Where a program can load the model from: a file with its real name, or a folder. Answers without the index.

        Raises:
            NotFound: no such model, or not in that format.
            Ambiguous: several variants fit; the message lists them.
        """
        from helixstore.commands.queries import path

        return path(self._session, ref, Format(format) if format is not None else None)

    @one_at_a_time
    def explain(self, subject: str) -> Explanation:
        """What a path or a model is, how it is linked, and why so."""
        from helixstore.commands.explain import explain

        return explain(self._informed(), subject)

    @one_at_a_time
    def status(self) -> Status:
        """The store's figures, each provider's state, and what is wrong."""
        from helixstore.commands.queries import status

        return status(self._informed())

    @one_at_a_time
    def du(self, by: str = "model") -> UsageTable:
        """Who uses what, and what each would free: by "model", "provider", "user" or "month", and the total."""
        from helixstore.commands.usage import usage

        return usage(self._informed(), by)

    @one_at_a_time
    def compat(
        self, subject: str, provider: str | None = None, *, context: int = 0, memory: int | None = None
    ) -> list[Verdict]:
        """Whether providers can run a model, a file or folder outside the store, or what is to be downloaded.

        Args:
            subject: a model, a path, a reference, or a name of the catalogue.
            provider: only this one.
            context: tokens that there must be room for; 0: 8,192.
            memory: bytes that it may take; None: what this computer has.
        """
        from helixstore.commands.models.prospects import Wish
        from helixstore.commands.queries import compat

        return compat(self._session, subject, provider, Wish(context=context, memory=memory))

    @one_at_a_time
    def doctor(self) -> list[Check]:
        """What holds and what does not, found out by trying."""
        from helixstore.commands.doctor import doctor

        return doctor(self._session)

    @one_at_a_time
    def providers(self) -> list[ProviderView]:
        """Every provider: on or off, installed or not, where its roots are."""
        from helixstore.commands.queries import providers

        return providers(self._session)

    @one_at_a_time
    def provider(self, name: str) -> ProviderDetail:
        """One provider in full: how its folders stand, and by which links its models lie there."""
        from helixstore.commands.queries import provider

        return provider(self._session, name)

    @one_at_a_time
    def mounts(self, provider: str) -> Mounts:
        """The folders that a container needs so that this program in it sees the same models, read only.

        Raises:
            NotFound: none of the program's folders is there.
        """
        from helixstore.commands.containers import mounts

        return mounts(self._session, provider)

    @one_at_a_time
    def log(self, limit: int = 20) -> list[Mapping[str, Any]]:
        """The latest operations first."""
        return [one.describe() for one in self._session.farm.operations()[:limit]]

    @one_at_a_time
    def config(self) -> list[Setting]:
        """Every setting with its value and where it comes from."""
        from helixstore.settings import listing

        return listing(self._session.settings)

    @one_at_a_time
    def generations(self) -> list[Generation]:
        """What all programs showed after each operation, as far as it can be compared or gone back to."""
        from helixstore.commands.generations import generations

        return generations(self._session)

    @one_at_a_time
    def difference(self, first: int, second: int | None = None) -> list[Difference]:
        """What programs show in the second generation (None: now) other than in the first."""
        from helixstore.commands.generations import difference

        return difference(self._session, first, second)

    @one_at_a_time
    def history(self, ref: str) -> list[Version]:
        """The versions that a model has had for this person, the latest first."""
        from helixstore.commands.models.versions import history

        return history(self._session, ref)

    @property
    def notes(self) -> Sequence[str]:
        """What a person should hear before anything else: that this computer was forgotten, and has come back."""
        return self._session.notes

    def _informed(self) -> Session:
        """The session, when its index knows how every variant stands: it may be new, or disks have come or gone."""
        self._session.store.volumes.refresh()
        if self._session.index.state(LAST_ISSUES) is None or disks_changed(self._session):
            from helixstore.sync.change import state_anew

            state_anew(self._session)
        return self._session


def _empty(folder: Path) -> bool:
    """Whether a store may be made in `folder`: it is missing, or holds nothing."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
