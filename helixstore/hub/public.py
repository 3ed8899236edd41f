"""Whether everybody may read a repository of the hub: asked of it without a token, once, and remembered."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from helixstore.fs import kernel
from helixstore.hub.listing import listing

__all__ = ["PublicRepositories", "offline"]

_SECONDS = 5.0                  # without an answer
_AGAIN = 24 * 3600.0            # seconds after which a repository is asked about again
_TRUE = frozenset({"1", "on", "yes", "true"})


def offline(environ: Mapping[str, str]) -> bool:
    """Whether the hub is not to be asked, as huggingface_hub reads its switches."""
    words = (environ.get(name, "").strip().casefold() for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(word in _TRUE for word in words)


class PublicRepositories:
    """What is known of repositories.

    Args:
        patterns: of repositories that are public whatever the hub says: "org/*".
        file: where the answers are kept, absolute; private to the person, since it tells what they have.
        environ: HF_ENDPOINT, HF_HUB_OFFLINE.
    """

    def __init__(self, patterns: Sequence[str], file: str, environ: Mapping[str, str]) -> None:
        self._patterns = [pattern.casefold() for pattern in patterns]
        self._file = file
        self._endpoint = environ.get("HF_ENDPOINT") or None
        self._silent = offline(environ)
        self._now = time.time()
        self._answers = self._read()

    def known(self, repository: str) -> bool | None:
        """Whether it is public, without asking; None where that is not known."""
        if self._named(repository):
            return True
        public, at = self._answers.get(self._key(repository), (None, 0.0))
        return None if public is False and self._now - at > _AGAIN else public

    def ask(self, repository: str, fresh: bool = False) -> bool | None:
        """The same, asking the hub where its last word is a day old: a repository may have been closed since. Once it
        does not answer, it is not asked again in this run, and its last word counts.

        Args:
            repository: `org/name`.
            fresh: however young its last word is.
        """
        known, (_, at) = self.known(repository), self._answers.get(self._key(repository), (None, 0.0))
        if self._silent or self._named(repository) or (not fresh and self._now - at <= _AGAIN):
            return known
        answer = self._asked(repository)
        if answer is None:
            self._silent, answer = True, known
        else:
            self._answers[self._key(repository)] = (answer, self._now)
            os.makedirs(os.path.dirname(self._file), mode=0o700, exist_ok=True)
            kernel.replace_file(self._file, json.dumps({"schema": 1, "repositories": self._answers}).encode(), 0o600,
                                durable=False)
        return answer

    def _named(self, repository: str) -> bool:
        return any(fnmatchcase(repository.casefold(), pattern) for pattern in self._patterns)

    def _asked(self, repository: str) -> bool | None:
        """What the hub says to anybody; a gated repository is not for everybody. None: it does not say."""
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

        try:
            info = listing(repository, endpoint=self._endpoint, login=False, seconds=_SECONDS)
        except (RepositoryNotFoundError, HFValidationError):
            return False
        except Exception:  # noqa: BLE001 - the errors of two HTTP clients; without an answer nothing is concluded
            return None
        return info.get("private") is False and not info.get("gated") and not info.get("disabled")

    def _key(self, repository: str) -> str:
        return f"{self._endpoint or ''} {repository}"

    def _read(self) -> dict[str, tuple[bool, float]]:
        try:
            with open(self._file, "rb") as file:
                rows = json.loads(file.read())["repositories"]
            return {str(name): (bool(row[0]), float(row[1])) for name, row in rows.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return {}               # asked again
