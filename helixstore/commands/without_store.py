"""What can be asked and done before there is a store: `HelixStore`'s static methods, by themselves.

They take the environment, open no store, and import what they need when they are called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helixstore.errors import NotFound
from helixstore.session import Machine, Session

if TYPE_CHECKING:
    from helixstore.commands.authoring import Checked, LayoutView, Scaffold
    from helixstore.commands.init import InitReport, Proposal
    from helixstore.commands.models.catalogue import CatalogueModel
    from helixstore.results import Survey, Verdict
    from helixstore.trial import MountReport
    from helixstore.values import Issue

__all__ = ["WithoutStore"]


class WithoutStore:
    """The part of `HelixStore` that needs no store."""

    @staticmethod
    def exists(path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> bool:
        """Whether there is a store at `path`, or a configured one."""
        from helixstore.store.store import Store

        session = Session(dict(os.environ if environ is None else environ), folder=Path(path) if path else None)
        try:
            return Store.is_in(session.store_folder)
        except NotFound:
            return False

    @staticmethod
    def survey(environ: Mapping[str, str] | None = None, seconds: float = 5.0) -> Survey:
        """What each program holds and how much is there twice; writes nothing, hashes nothing in full."""
        from helixstore.commands.survey import survey

        return survey(_machine(environ), seconds)

    @staticmethod
    def propose(environ: Mapping[str, str] | None = None) -> Proposal:
        """Where a store would best lie, and why."""
        from helixstore.commands.init import propose

        return propose(_machine(environ))

    @staticmethod
    def compat_of(
        path: str | Path, provider: str | None = None, environ: Mapping[str, str] | None = None, *, context: int = 0,
        memory: int | None = None,
    ) -> list[Verdict]:
        """Whether providers can run the models in a file or folder, or what a reference or a name of the catalogue
        leads to; `compat` for when there is no store."""
        from helixstore.commands.models.prospects import Wish
        from helixstore.commands.queries import compat_of, foreseen

        machine = _machine(environ)
        if os.path.lexists(path):
            return compat_of(machine, Path(os.path.abspath(path)), provider, Wish(context=context, memory=memory))
        return foreseen(machine, os.fspath(path), provider, Wish(context=context, memory=memory))

    @staticmethod
    def search_models(
        words: str = "", *, can: Sequence[str] = (), format: str = "", licence: str = "", max_parameters: int = 0,
        environ: Mapping[str, str] | None = None,
    ) -> list[CatalogueModel]:
        """The well-known models for which all of it holds; asks no network. See `commands.models.catalogue.search`."""
        from helixstore.commands.models.catalogue import search

        return search(_machine(environ), words, can=can, format=format, licence=licence, max_parameters=max_parameters)

    @staticmethod
    def describe_model(
        name: str, environ: Mapping[str, str] | None = None, *, context: int = 0, memory: int | None = None,
    ) -> CatalogueModel:
        """One well-known model: what it is, what it needs, and where it is published; asks no network. Context and
        memory as of `prospects.Wish`."""
        from helixstore.commands.models.catalogue import describe
        from helixstore.commands.models.prospects import Wish

        return describe(_machine(environ), name, Wish(context=context, memory=memory))

    @staticmethod
    def layouts(environ: Mapping[str, str] | None = None) -> tuple[list[LayoutView], list[Issue]]:
        """Every layout, and what is wrong with those that could not be loaded."""
        from helixstore.commands.authoring import layouts

        return layouts(_machine(environ))

    @staticmethod
    def new_layout(name: str, *, dry_run: bool = False, environ: Mapping[str, str] | None = None) -> Scaffold:
        """Write a first layout of the person's own into their configuration; see `commands.authoring.new`."""
        from helixstore.commands.authoring import new

        return new(_machine(environ), name, dry_run=dry_run)

    @staticmethod
    def check_layout(
        name: str, only: Sequence[str] | None = None, environ: Mapping[str, str] | None = None
    ) -> Checked:
        """Try a layout with every check of `helixstore.testing`, or with some."""
        from helixstore.commands.authoring import check

        return check(_machine(environ), name, only)

    @staticmethod
    def try_mount(
        path: str | Path, *, with_other_host: bool = False, note: Callable[[str], None] = lambda text: None
    ) -> MountReport:
        """Try what a mounted file system can do, and what that means here; see `helixstore.trial`."""
        from helixstore.trial import try_mount

        return try_mount(path, with_other_host=with_other_host, note=note)

    @staticmethod
    def init(
        path: str | Path | None = None, *, providers: Sequence[str] | None = None, every: bool = False,
        scan: Sequence[str | Path] = (), share: str | None = None, group: str = "", site: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> InitReport:
        """Make the store and turn providers on; see `helixstore.commands.init.init`."""
        from helixstore.commands.init import init

        return init(_machine(environ), Path(path) if path is not None else None, providers=providers, every=every,
                    scan=[Path(one) for one in scan], share=share, group=group, site=site)


def _machine(environ: Mapping[str, str] | None) -> Machine:
    return Machine(os.environ if environ is None else environ)
