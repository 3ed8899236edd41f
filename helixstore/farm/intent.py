"""What the person does not want: models hidden in a program, and paths that are to be left alone.

Truth, not derived: two small JSON files in the person's state folder, replaced whole. Kept by (root or provider,
model, variant), never by digest, so that a new version of a hidden model stays hidden.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from helixstore.errors import ConfigError
from helixstore.fs import kernel
from helixstore.values import Key, Variant

__all__ = ["Intent"]

_SCHEMA = 1


class Intent:
    """The hidden and the declined of one person for one store.

    Args:
        state: the person's state folder for the store, absolute; must exist.
    """

    def __init__(self, state: str) -> None:
        self._hidden_file = os.path.join(state, "hidden")
        self._declined_file = os.path.join(state, "declined")
        self._stamps: tuple[Any, Any] = ((), ())
        self._hidden: dict[tuple[str, str, Key], dict[str, Any]] = {}
        self._declined: dict[str, dict[str, Any]] = {}
        self._refresh()

    def _refresh(self) -> None:
        stamps = (_stamp(self._hidden_file), _stamp(self._declined_file))
        if stamps == self._stamps:
            return
        self._stamps = stamps
        self._hidden = {
            (row["root"], row["provider"], Key(row["model"], row["variant"])): row
            for row in _rows(self._hidden_file, "hidden")
        }
        self._declined = {row["path"]: row for row in _rows(self._declined_file, "declined")}

    # ---- hidden ------------------------------------------------------------------------------------------------

    def hide(self, key: Key, *, root: str = "", provider: str = "", providers: Iterable[str] = (),
             why: str = "") -> None:
        """Do not show a variant any more, until `unhide`.

        Args:
            key: the variant.
            root: in this root, for whoever reads it; "" for everywhere.
            provider: for this provider; "" for all.
            providers: who reads the root, when `root` is given.
            why: for people.
        """
        self._refresh()
        row = {"root": root, "provider": provider, "model": key.model, "variant": key.variant, "why": why,
               "providers": sorted(providers)}
        self._hidden[root, provider, key] = row
        self._save_hidden()

    def unhide(self, key: Key, *, root: str | None = None, provider: str = "") -> bool:
        """Show a variant again.

        Args:
            key: the variant.
            root: lift what was said about this root; None: about any root.
            provider: lift what was said about this provider, and about roots that it reads; "": about any.

        Returns:
            Whether it was hidden.
        """
        self._refresh()
        gone = [
            place for place, row in self._hidden.items()
            if place[2] == key and (root is None or place[0] == root)
            and (not provider or place[1] == provider or provider in row.get("providers", ()))
        ]
        for place in gone:
            del self._hidden[place]
        if gone:
            self._save_hidden()
        return bool(gone)

    def in_root(self, root: str, providers: Iterable[str], only_root: bool = False) -> dict[tuple[str, Key], str]:
        """What is hidden in a root: (provider, variant) -> why.

        Args:
            root: absolute; "" for what the person hid by command alone.
            providers: who reads it.
            only_root: without what the person hid by command.
        """
        self._refresh()
        readers = list(providers)
        hidden: dict[tuple[str, Key], str] = {}
        for (where, provider, key), row in self._hidden.items():
            if where == root or (where == "" and not only_root):
                for reader in readers:
                    if provider in ("", reader):
                        hidden[reader, key] = row["why"]
        return hidden

    def withheld(self, variants: Iterable[Variant], restore: bool = False,
                 present: Mapping[str, Collection[Key]] = MappingProxyType({})) -> Mapping[str, set[Key]]:
        """Provider -> variants that its layout is not to be asked about, so that its lists do not name them.

        Args:
            variants: every current variant; what is hidden everywhere is withheld from "" (all providers).
            restore: deletions in programs are being lifted, so only what the person hid by command counts.
            present: root -> variants that are back there.
        """
        self._refresh()
        current = {variant.key for variant in variants}
        found: dict[str, set[Key]] = {}
        for (root, provider, key), row in self._hidden.items():
            if key in current and not (root and (restore or key in present.get(root, ()))):
                for reader in row.get("providers", ()) if root else (provider,):
                    found.setdefault(reader, set()).add(key)
        return found

    def hidden(self) -> list[Mapping[str, Any]]:
        """Every record: root, provider, model, variant, why."""
        self._refresh()
        return list(self._hidden.values())

    def _save_hidden(self) -> None:
        self._save(self._hidden_file, "hidden", list(self._hidden.values()))

    # ---- declined ----------------------------------------------------------------------------------------------

    def decline(self, paths: Iterable[str], why: str = "") -> None:
        """Leave these absolute paths alone until `accept`."""
        self._refresh()
        fresh = {path: {"path": path, "why": why} for path in paths if path not in self._declined}
        if fresh:
            self._declined.update(fresh)
            self._save(self._declined_file, "declined", list(self._declined.values()))

    def accept(self, paths: Iterable[str]) -> None:
        """Lift `decline` for these absolute paths."""
        self._refresh()
        known = [path for path in paths if self._declined.pop(path, None) is not None]
        if known:
            self._save(self._declined_file, "declined", list(self._declined.values()))

    def is_declined(self, path: str | Path) -> bool:
        """Whether the person took this absolute path back."""
        self._refresh()
        return os.fspath(path) in self._declined

    def declined(self) -> list[str]:
        """Every declined path."""
        self._refresh()
        return list(self._declined)

    def declined_in(self, root: str) -> frozenset[str]:
        """The declined paths below a root, relative to it."""
        self._refresh()
        prefix = root + "/"
        return frozenset(path[len(prefix):] for path in self._declined if path.startswith(prefix))

    def _save(self, file: str, name: str, rows: list[Any]) -> None:
        kernel.replace_file(file, json.dumps({"schema": _SCHEMA, name: rows}, indent=1).encode(), 0o600)
        self._stamps = (_stamp(self._hidden_file), _stamp(self._declined_file))


def _stamp(file: str) -> tuple[int, ...]:
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return (0,)
    return status.st_ino, status.st_size, status.st_mtime_ns


def _rows(file: str, name: str) -> list[dict[str, Any]]:
    try:
        with open(file, "rb") as stream:
            rows: list[dict[str, Any]] = json.load(stream)[name]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}",
                          f"restore it from a backup, or delete it: nothing is {name} then", file) from error
    return rows
