"""What a registry is shown so that it lets one in: a plain login, or a token fetched for each repository.

A registry answers 401 and says how (RFC 9110, 11.6.1; distribution's token specification): `Basic`, or `Bearer` with an
address that gives tokens, to anybody for what is public. The login goes to that address too, as every client sends it;
so it has to be an encrypted one, and a registry elsewhere cannot send us to an address on this computer.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from helixstore.errors import Failed
from helixstore.fs.names import printable
from helixstore.oci.access import Access
from helixstore.oci.logins import Login
from helixstore.oci.reference import is_loopback

__all__ = ["Challenge", "Tokens", "read_challenges"]

#: method, address, headers, body -> status, body
Ask = Callable[[str, str, Mapping[str, str], bytes | None], tuple[int, bytes]]
_CHALLENGE = re.compile(r'([A-Za-z][A-Za-z0-9-]*)(?:[ \t]+|$)((?:[A-Za-z_]+[ \t]*=[ \t]*(?:"(?:[^"\\]|\\.)*"|[^\s,"]+)'
                        r'[ \t]*,?[ \t]*)*)')
_PAIR = re.compile(r'([A-Za-z_]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SHORTEST = 60.0                # seconds that a token is good for, where nothing is said
_EARLY = 10.0                   # seconds before its end, when another is fetched
_LONGEST = 64 << 10             # characters of a token


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in: `kind` in small letters, and what is said with it."""

    kind: str
    said: Mapping[str, str]


def read_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The ways that WWW-Authenticate names."""
    found = []
    for header in headers:
        for match in _CHALLENGE.finditer(header[:8192]):
            pairs = {pair[1].lower(): re.sub(r"\\(.)", r"\1", pair[2]) if pair[2] is not None else pair[3]
                     for pair in _PAIR.finditer(match[2])}
            found.append(Challenge(match[1].lower(), pairs))
    return found


class Tokens:
    """What one registry is shown.

    Args:
        host: the registry.
        access: where logins are looked for.
        login: of the person, looked for when it is first needed.
        ask: one request, without a redirect followed.
    """

    def __init__(self, host: str, access: Access, login: Callable[[], Login | None], ask: Ask) -> None:
        self._host, self._access, self._login, self._ask = host, access, login, ask
        self._basic = False
        self._bearer: Challenge | None = None
        self._known: dict[frozenset[str], tuple[str, float]] = {}
        self._secrets: set[str] = set()

    def header(self, scopes: frozenset[str]) -> str | None:
        """The Authorization header for a request, fetched anew when a token is near its end; None: none is needed yet.

        Args:
            scopes: `repository:name:pull` and the like.
        """
        if self._basic:
            login = self._login()
            return login.basic if login else None
        if self._bearer is None:
            return None
        token, until = self._known.get(scopes, ("", 0.0))
        if time.monotonic() > until - _EARLY:
            token = self._fetch(self._bearer, scopes)
        return f"Bearer {token}"

    def answer(self, challenges: Iterable[Challenge], scopes: frozenset[str]) -> bool:
        """After a refusal: whether another try has something to show."""
        for challenge in challenges:
            if challenge.kind == "bearer" and challenge.said.get("realm"):
                self._bearer, self._basic = challenge, False
                self._known.pop(scopes, None)
                return True
            if challenge.kind == "basic" and not self._basic:
                login = self._login()
                if login is not None and login.basic:
                    self._basic = True
                    self._secrets.update(login.secrets)
                    return True
        return False

    @property
    def logged_in(self) -> bool:
        """Whether a login was shown."""
        return (self._basic or bool(self._known)) and self._login() is not None

    def hidden(self, text: str) -> str:
        """`text` without anything that must not be shown."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _fetch(self, challenge: Challenge, scopes: frozenset[str]) -> str:
        login = self._login()
        if login is not None:
            self._secrets.update(login.secrets)
            if login.token:
                self._known[scopes] = login.token, time.monotonic() + 1e9
                return login.token
        realm = self._checked(challenge.said["realm"])
        told = challenge.said.get("scope", "").split()
        wanted = [("service", challenge.said["service"])] if challenge.said.get("service") else []
        all_scopes = sorted(scopes | set(told))
        if login is not None and login.identity:
            form = [*wanted, ("grant_type", "refresh_token"), ("client_id", "helixstore"),
                    ("scope", " ".join(all_scopes)), ("refresh_token", login.identity)]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            status, body = self._ask("POST", realm, headers, urlencode(form).encode())
        else:
            headers = {"Authorization": login.basic} if login is not None and login.basic else {}
            query = urlencode([*wanted, *(("scope", scope) for scope in all_scopes)])
            status, body = self._ask("GET", f"{realm}{'&' if '?' in realm else '?'}{query}", headers, None)
        return self._keep(status, body, scopes, login is not None)

    def _keep(self, status: int, body: bytes, scopes: frozenset[str], known: bool) -> str:
        if status in (400, 401, 403, 404):
            who = "does not accept the login that is kept for it" if known else "lets only known people in"
            raise Failed(f"{self._host} {who}", f"docker login {self._host}")
        try:
            said = json.loads(body)
            token = said.get("token") or said.get("access_token")
            lasts = float(said.get("expires_in") or _SHORTEST)
        except (ValueError, AttributeError, TypeError, RecursionError):
            token, lasts = None, 0.0
        if status != 200 or not isinstance(token, str) or len(token) > _LONGEST or not token.isprintable():
            raise Failed(f"{self._host} gave no token that can be used (status {status})", "try again later")
        self._secrets.add(token)
        self._known[scopes] = token, time.monotonic() + min(max(lasts, _SHORTEST), 24 * 3600.0)
        return token

    def _checked(self, realm: str) -> str:
        """The address that gives tokens, if a login may be sent there."""
        parts = urlsplit(realm)
        host = parts.netloc.rpartition("@")[2]
        inward = is_loopback(host) and not is_loopback(self._host)
        plain = parts.scheme != "https" and not (parts.scheme == "http" and self._access.may_be_plain(host))
        if inward or plain or not host:
            shown = printable(f"{parts.scheme}://{host}")
            raise Failed(f"{self._host} asks to log in at {shown}, which no login is sent to",
                         "tell those who run the registry: its address for tokens must be https and its own")
        return realm
