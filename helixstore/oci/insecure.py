"""Registries that Docker and Podman are told to reach without encryption, or whatever their certificate is.

Docker: `insecure-registries` of `daemon.json`, in /etc/docker, for Docker without root in the configuration folder, for
Docker Desktop in `~/.docker`; a `host[:port]`, or a network such as `10.1.0.0/16` (dockerd's documentation, "Insecure
registries"; moby `registry/config.go` `isSecureIndex`). Podman: `insecure = true` of a `[[registry]]` in
`containers/registries.conf` (containers-registries.conf(5)).
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping

from helixstore.errors import ConfigError

__all__ = ["insecure_registries", "is_among"]


def insecure_registries(environ: Mapping[str, str], system: str = "/etc") -> frozenset[str]:
    """What the person's and the computer's configurations name, as they spell it.

    Args:
        environ: HOME, XDG_CONFIG_HOME, DOCKER_CONFIG.
        system: where the computer's lie.

    Raises:
        ConfigError: one of them makes no sense. What may not be read says nothing.
    """
    home = environ.get("HOME") or environ.get("USERPROFILE") or os.path.expanduser("~")
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    docker = environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker")
    found: set[str] = set()
    for folder in (os.path.join(system, "docker"), os.path.join(config, "docker"), docker):
        found.update(_of_docker(os.path.join(folder, "daemon.json")))
    for folder in (system, config):
        found.update(_of_podman(os.path.join(folder, "containers", "registries.conf")))
    return frozenset(found)


def is_among(host: str, names: Collection[str]) -> bool:
    """Whether a registry is named, or its address lies in a network that is.

    Args:
        host: with its port where one is given.
        names: of `insecure_registries`.
    """
    if host in names:
        return True
    name = re.sub(r":\d+$", "", host).strip("[]") if not host.endswith("]") else host.strip("[]")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return any(address in network for one in names if "/" in one and (network := _network(one)) is not None)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _of_docker(path: str) -> Iterator[str]:
    try:
        said = json.loads(_text(path) or "{}")
        yield from (str(name).removeprefix("http://").removeprefix("https://").lower()
                    for name in said.get("insecure-registries") or ())
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise ConfigError(f"{path} cannot be read: it is no configuration of Docker", "mend it, or delete it",
                          path) from None


def _of_podman(path: str) -> Iterator[str]:
    try:
        for registry in tomllib.loads(_text(path)).get("registry", ()):
            if registry.get("insecure") is True:
                name = str(registry.get("location") or registry.get("prefix") or "")
                yield name.partition("/")[0].lower()
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise ConfigError(f"{path} cannot be read: it is no configuration of Podman", "mend it, or delete it",
                          path) from None


def _text(path: str) -> str:
    """A file's text; "" where there is none, or none for us."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(1 << 20)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ""
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "see what it is (ls -l)", path) from None
