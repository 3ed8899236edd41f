"""Which providers a model was shared with by name: the person's intent, one small file in their state directory.

A model that was never named this way is shared with every compatible provider that is on. `share MODEL --provider P`
names P, and the model is withheld from the others; `share MODEL` lifts that again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from helixstore.errors import ConfigError
from helixstore.fs import kernel

__all__ = ["Choices"]


class Choices:
    """The choices of one person for one store.

    Args:
        folder: the state directory of that store, absolute.

    Raises:
        ConfigError: the file is there and cannot be understood: intent is never guessed.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "shared-with.json"
        self._only: dict[str, list[str]] = {}
        try:
            self._only = dict(json.loads(self._file.read_bytes())["only"])
        except FileNotFoundError:
            return                                  # nothing was chosen yet
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self._file} cannot be read: {error}",
                              "restore it from a backup, or delete it to share every model with every provider",
                              self._file) from error

    @property
    def all(self) -> Mapping[str, list[str]]:
        """Of every model that was shared with some providers by name, those."""
        return self._only

    def only(self, model: str) -> list[str] | None:
        """The providers that a model was shared with by name; None for all."""
        return self._only.get(model)

    def set(self, model: str, providers: Iterable[str] | None) -> None:
        """Share `model` with these providers only, or with all (None). On disk when it returns."""
        before = dict(self._only)
        if providers is None:
            self._only.pop(model, None)
        else:
            self._only[model] = sorted(set(providers))
        if self._only != before:
            os.makedirs(self._file.parent, mode=0o700, exist_ok=True)
            kernel.replace_file(self._file, json.dumps({"schema": 1, "only": self._only}).encode() + b"\n", 0o600)

    def withheld(self, provider: str) -> frozenset[str]:
        """The models that `provider` must not see."""
        return frozenset(model for model, allowed in self._only.items() if provider not in allowed)
