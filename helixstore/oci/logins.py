"""Who the person is to a registry, as Docker, Podman and their like have kept it.

Read, in this order, the first that knows the registry wins: the file that REGISTRY_AUTH_FILE names; `config.json` of
Docker (DOCKER_CONFIG, else `~/.docker`); `auth.json` of Podman (XDG_RUNTIME_DIR, then the configuration folder). Their
keys: `auths`, and `credHelpers` and `credsStore`, which name a program `docker-credential-NAME` that is asked
(docker/cli `config/configfile`, docker-credential-helpers' protocol, containers-auth.json(5)).

Nothing here is ever written, printed or put into an error.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from helixstore.errors import ConfigError, Failed
from helixstore.fs.names import printable

__all__ = ["DOCKER_HUB", "Login", "Logins", "Nobody"]

DOCKER_HUB = ".".join(("docker", "io"))
_HUB_KEY = f"https://index.{DOCKER_HUB}/v1/"       # under this key Docker keeps the login of its own hub
_HELPER = re.compile(r"[A-Za-z0-9._-]+")
_SECONDS = 30                   # a helper may have to ask the person to unlock the keychain
_BYTES = 1 << 20                # of a configuration, and of a helper's answer
_NONE = "credentials not found in native keychain"


@dataclass(frozen=True, slots=True)
class Login:
    """What proves who the person is; nothing of it is shown.

    Attributes:
        user, password: of a plain login.
        identity: a token that gets others (OAuth 2 refresh token).
        token: one that is sent as it is.
    """

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The header of a plain login; "" where there is none."""
        if not self.user or self.identity:
            return ""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown, in every form."""
        return tuple(filter(None, (self.password, self.identity, self.token, self.basic.removeprefix("Basic "))))


class Logins:
    """The logins of one person.

    Args:
        environ: HOME, PATH and the variables above.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def find(self, host: str, repository: str = "") -> Login | None:
        """The login for a repository of a registry; None where there is none.

        Args:
            host: with its port.
            repository: Podman keeps logins for parts of a registry too.

        Raises:
            ConfigError: a configuration cannot be read.
            Failed: a credential helper does not run.
        """
        for path in self._files():
            content = _read(path)
            if content is not None and (login := self._of(path, content, host, repository)) is not None:
                return login
        return None

    def _files(self) -> Iterator[str]:
        environ = self._environ
        home = environ.get("HOME") or environ.get("USERPROFILE") or os.path.expanduser("~")
        if named := environ.get("REGISTRY_AUTH_FILE"):
            yield named
        yield os.path.join(environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json")
        if runtime := environ.get("XDG_RUNTIME_DIR"):
            yield os.path.join(runtime, "containers", "auth.json")
        config = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        yield os.path.join(config, "containers", "auth.json")

    def _of(self, path: str, content: Mapping[str, Any], host: str, repository: str) -> Login | None:
        helpers, entries = content.get("credHelpers"), content.get("auths")
        for key in _keys(host, repository):
            helper = helpers.get(key) if isinstance(helpers, dict) else None
            if isinstance(helper, str) and (login := self._ask(path, helper, key)) is not None:
                return login
            entry = entries.get(key) if isinstance(entries, dict) else None
            if isinstance(entry, dict) and (login := _entry(path, entry)) is not None:
                return login
        store = content.get("credsStore")
        if isinstance(store, str) and store:
            return self._ask(path, store, _HUB_KEY if host == DOCKER_HUB else host)
        return None

    def _ask(self, path: str, name: str, key: str) -> Login | None:
        """What a credential helper says: it is given the key and answers in JSON."""
        program = shutil.which(f"docker-credential-{name}", path=self._environ.get("PATH")) \
            if _HELPER.fullmatch(name) else None
        if program is None:
            raise Failed(f"{path} wants the program docker-credential-{printable(name)}, which is not there",
                         "install it, or log in anew: docker login, podman login", path)
        try:
            done = subprocess.run([program, "get"], input=key.encode(), capture_output=True,  # noqa: S603 - as configured
                                  env=dict(self._environ), timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            why = f"no answer in {_SECONDS} s" if isinstance(error, subprocess.TimeoutExpired) else str(error.strerror)
            raise Failed(f"docker-credential-{name} does not run: {why}",
                         f"try it: echo {key} | docker-credential-{name} get") from None
        if done.returncode:
            if _NONE in (done.stdout + done.stderr).decode(errors="replace"):
                return None
            raise Failed(f"docker-credential-{name} failed with status {done.returncode}",
                         f"try it: echo {key} | docker-credential-{name} get")
        return _answer(name, done.stdout)


class Nobody(Logins):
    """Somebody who is logged in nowhere."""

    def __init__(self) -> None:
        super().__init__({})

    def find(self, host: str, repository: str = "") -> Login | None:
        """None."""
        return None


def _keys(host: str, repository: str) -> Iterator[str]:
    """What may stand for a registry, the narrowest first."""
    parts = [part for part in repository.split("/") if part]
    for count in range(len(parts), 0, -1):
        yield "/".join((host, *parts[:count]))
    yield host
    if host == DOCKER_HUB:
        yield from (_HUB_KEY, f"index.{DOCKER_HUB}")
    yield from (f"{scheme}://{host}{end}" for scheme in ("https", "http") for end in ("", "/", "/v1/", "/v2/"))


def _read(path: str) -> Mapping[str, Any] | None:
    try:
        with open(path, "rb") as file:
            data = file.read(_BYTES + 1)
        content = json.loads(data) if len(data) <= _BYTES else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "see who may read it (ls -l)", path) from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is no configuration of Docker's kind", "log in anew: docker login, podman login",
                          path)
    return content


def _entry(path: str, entry: Mapping[str, Any]) -> Login | None:
    """One of `auths`; None for an empty one, which stands where a helper has the login."""
    said = {key: value for key in ("username", "password", "identitytoken", "registrytoken", "auth")
            if isinstance(value := entry.get(key), str)}
    user, password = said.get("username", ""), said.get("password", "")
    if said.get("auth"):
        try:
            user, colon, password = base64.b64decode(said["auth"], validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            colon = ""
        if not colon:
            raise ConfigError(f"a login in {path} cannot be read", "log in anew: docker login, podman login", path)
        password = password.rstrip("\0")
    login = Login(user, password, said.get("identitytoken", ""), said.get("registrytoken", ""))
    return login if login.user or login.identity or login.token else None


def _answer(name: str, data: bytes) -> Login | None:
    try:
        said = json.loads(data[:_BYTES])
        user, secret = str(said["Username"]), str(said["Secret"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Failed(f"docker-credential-{name} gave an answer that cannot be read",
                     f"see whether it works by hand: docker-credential-{name} list") from None
    if user == "<token>":                   # Docker's mark for a refresh token
        return Login(identity=secret)
    return Login(user, secret) if user else None
