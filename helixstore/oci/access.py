"""How a person reaches registries: certificates, whether plain HTTP is allowed, proxies, how long to wait.

- Certificates lie where Docker and Podman look: `<host[:port]>/*.crt` are authorities, `*.cert` with its `*.key` is
  ours, below /etc/docker/certs.d, /etc/containers/certs.d, and the person's own folders (docker/docker
  `registry.ReadCertsDirectory`, containers-certs.d(5)).
- Plain HTTP and certificates that nobody vouches for: only for a registry that is said to be insecure, by us, or by
  Docker's or Podman's own configuration (`insecure`). On this computer itself plain HTTP is always allowed.
- Proxies: HTTPS_PROXY, HTTP_PROXY, NO_PROXY in small or capital letters.
"""

from __future__ import annotations

import os
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from helixstore.errors import ConfigError
from helixstore.fs.listing import listdir
from helixstore.oci.insecure import insecure_registries, is_among
from helixstore.oci.logins import Logins, Nobody
from helixstore.oci.reference import is_loopback

__all__ = ["Access", "Patience"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How a request that failed is tried again.

    Attributes:
        tries: in a row without a byte of progress.
        first: seconds before the second try; they double.
        longest: seconds, of one such wait.
        asked: seconds; a registry that asks for more (Retry-After) is not waited for.
        silence: seconds without a byte, after which a connection counts as cut.
        wait: waits for so many seconds; one that raises ends it all.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = 30.0
    asked: float = 300.0
    silence: float = 60.0
    wait: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Access:
    """What every request needs to know.

    Attributes:
        environ: HOME, PATH, proxies, where configurations lie.
        insecure: registries, `host[:port]` or a network, that may speak plain HTTP or have certificates that nobody
            vouches for.
        patience: see there.
        certificates: folders of `<host>/*.crt`.
        logins: who the person is.
        nameless: no certificate of the person is shown either.
    """

    environ: Mapping[str, str]
    insecure: frozenset[str] = frozenset()
    patience: Patience = Patience()
    certificates: tuple[str, ...] = ()
    logins: Logins = field(default_factory=lambda: Logins({}))
    nameless: bool = False

    @classmethod
    def of(cls, environ: Mapping[str, str], insecure: frozenset[str] = frozenset(),
           patience: Patience | None = None) -> Access:
        """The access of the person whose variables these are; `insecure` beside what Docker and Podman are told."""
        home = environ.get("HOME") or environ.get("USERPROFILE") or os.path.expanduser("~")
        config = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        docker = environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker")
        own = (os.path.join(config, name, "certs.d") for name in ("docker", "containers"))
        folders = (os.path.join(docker, "certs.d"), *own, "/etc/docker/certs.d", "/etc/containers/certs.d")
        return cls(environ, insecure | insecure_registries(environ), patience or Patience(), folders, Logins(environ))

    def is_insecure(self, host: str) -> bool:
        """Whether somebody has said that a registry is."""
        return is_among(host, self.insecure)

    def as_nobody(self) -> Access:
        """The access of somebody who is known nowhere."""
        return replace(self, logins=Nobody(), nameless=True)

    def certified(self, host: str) -> bool:
        """Whether a certificate tells a host who the person is."""
        return not self.nameless and any(name.endswith(".cert") for folder in self.certificates
                                         for name in _names(os.path.join(folder, host)))

    def may_be_plain(self, host: str) -> bool:
        """Whether plain HTTP is allowed with a host."""
        return self.is_insecure(host) or is_loopback(host)

    def trusted(self, host: str) -> tuple[ssl.SSLContext, bool]:
        """What a TLS connection to a host is checked with, and whether a folder of certificates is there for it.

        Raises:
            ConfigError: a certificate cannot be used.
        """
        context = ssl.create_default_context()
        if self.is_insecure(host):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        told = False
        for folder in self.certificates:
            told = _load(context, os.path.join(folder, host), self.nameless) or told
        return context, told

    def proxy(self, scheme: str, host: str) -> str | None:
        """The address of the proxy for a host, if there is one."""
        def said(name: str) -> str:
            return self.environ.get(name) or self.environ.get(name.upper()) or ""

        if is_loopback(host) or _bypassed(host, said("no_proxy")):
            return None
        return said(f"{scheme}_proxy") or said("all_proxy") or None


def _bypassed(host: str, no_proxy: str) -> bool:
    """Whether NO_PROXY names a host: the rules of the standard library, whose type stubs do not know them."""
    bypass: Callable[[str, Mapping[str, str]], bool] = getattr(urllib.request, "proxy_bypass_environment")  # noqa: B009
    return bool(bypass(host, {"no": no_proxy}))


def _names(folder: str) -> list[str]:
    try:
        return sorted(listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read: {error.strerror}", "see who may read it (ls -l)", folder) from None


def _load(context: ssl.SSLContext, folder: str, nameless: bool) -> bool:
    """Take the certificates of a folder; whether there are any. `nameless`: not those that say who the person is."""
    used = False
    for name in _names(folder):
        path = os.path.join(folder, name)
        try:
            if name.endswith(".crt"):
                context.load_verify_locations(path)
            elif name.endswith(".cert") and not nameless:
                context.load_cert_chain(path, path.removesuffix(".cert") + ".key")
            else:
                continue
        except (OSError, ValueError) as error:                  # ssl.SSLError is an OSError
            why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise ConfigError(f"the certificate {path} cannot be used: {why}",
                              "it must be in PEM form, with its key beside it", path) from None
        used = True
    return used
