"""One registry over HTTP: requests with the right login, redirects, and tries again. urllib3 does the HTTP.

- A login goes to the registry itself only (same scheme, host and port), never where it redirects to; nobody is sent
  to a plain address that is not said to be insecure.
- 408, 429, 500 and 502 to 504, and connections that fail or are cut, are tried again after a wait that doubles, or that
  the registry asks for (Retry-After).
- No error shows a query, a header or a token: addresses that a registry redirects to are signed in their queries.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit

from helixstore.errors import Failed, HelixError
from helixstore.hub.unreachable import unreachable
from helixstore.hub.waiting import waiting
from helixstore.oci import answers
from helixstore.oci.access import Access
from helixstore.oci.answers import AGAIN, Cut, brief, shown
from helixstore.oci.logins import DOCKER_HUB, Login
from helixstore.oci.reference import Reference, is_loopback
from helixstore.oci.tokens import Tokens, read_challenges

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

__all__ = ["Wire"]

_T = TypeVar("_T")
#: of a request: bytes, or what opens it anew for each try
Body = bytes | Callable[[], io.RawIOBase] | None
_MOVED = frozenset({301, 302, 303, 307, 308})
_REDIRECTS = 6
_CONNECT = 15.0                 # seconds
_ERROR_BYTES = 16 << 10         # of an error's text
_BLOCK = 1 << 20                # bytes that are read or sent at a time
_AT_ONCE = 8                    # connections to a host that are kept
_KNOCKS = 2                     # tries at a registry that nobody has answered for yet


class Wire:
    """The connection to one registry, for one repository.

    Args:
        reference: whose host and repository.
        access: see there.
    """

    def __init__(self, reference: Reference, access: Access) -> None:
        self.host, self.access = reference.host, access
        self._address = f"registry-1.{DOCKER_HUB}" if reference.host == DOCKER_HUB else reference.host
        self._repository = reference.repository
        self._pools: dict[tuple[str, str], PoolManager] = {}
        self._answered = False
        self._tokens = Tokens(self.host, access, lambda: self._login, self._for_token)

    @cached_property
    def _login(self) -> Login | None:
        return self.access.logins.find(self.host, self._repository)

    @property
    def logged_in(self) -> bool:
        """Whether the registry was shown who the person is."""
        return self._tokens.logged_in or self.access.certified(self._address)

    def address(self, rest: str) -> str:
        """The address of something of the repository: `blobs/sha256:...`."""
        return f"{self._base}/v2/{self._repository}/{rest}"

    def joined(self, location: str, base: str) -> str:
        """Where a registry says that an upload goes on; on itself always by the scheme that we speak with it."""
        address = urljoin(base, location)
        ours, theirs = urlsplit(self._base), urlsplit(address)
        if theirs.hostname == ours.hostname and theirs.scheme != ours.scheme and theirs.port in (ours.port, None):
            return theirs._replace(scheme=ours.scheme, netloc=ours.netloc).geturl()
        self._check_scheme(address)
        return address

    # ---- requests ----------------------------------------------------------------------------------------------------

    def ask(self, method: str, address: str, wanted: frozenset[int], *, headers: Mapping[str, str] | None = None,
            body: bytes | None = None, scopes: frozenset[str] = frozenset()) -> BaseHTTPResponse:
        """A request that may be made any number of times, tried until it is answered. The answer's body is not read.

        Args:
            method, address: see `address`.
            wanted: statuses that are no failure.
            headers, body: of the request.
            scopes: what a token has to be good for.

        Raises:
            NotFound: there is no such thing (404).
            Failed: it is refused, or not answered.
        """
        return self.trying(lambda: self.once(method, address, wanted, headers=headers, body=body, scopes=scopes))

    def trying(self, action: Callable[[], _T]) -> _T:
        """The same action until it is not `Cut`."""
        failed = 0
        while True:
            try:
                return action()
            except Cut as cut:
                failed += 1
                self.pause(cut, failed)

    def pause(self, cut: Cut, failed: int) -> None:
        """Wait after so many failures in a row; raise `cut` when they are enough."""
        patience = self.access.patience
        if failed >= (_KNOCKS if cut.strange else patience.tries) or (cut.pause or 0.0) > patience.asked:
            raise cut
        alone: float = min(patience.longest, patience.first * 2 ** (failed - 1)) * random.uniform(0.7, 1.3)  # noqa: S311
        for step in waiting(alone if cut.pause is None else max(cut.pause, alone), cut.message):
            patience.wait(step)

    def once(self, method: str, address: str, wanted: frozenset[int], *, headers: Mapping[str, str] | None = None,
             body: Body = None, scopes: frozenset[str] = frozenset(),
             silence: float | None = None) -> BaseHTTPResponse:
        """One try of a request, with what it takes to be let in; see `ask`. GET and HEAD follow redirects.

        Args:
            body: bytes, or what opens them anew where it is long; its length is in `headers`.
            silence: seconds without an answer; None: as `Patience` says.

        Raises:
            Cut: it is worth another try.
        """
        chances = 2                                     # to get in: with a token where none was known, with a fresh one
        while True:
            response = self._followed(method, address, dict(headers or {}), body, scopes, silence)
            if response.status in wanted:
                return response
            if response.status == 401 and chances and not self._elsewhere(address):
                challenges = read_challenges(response.headers.getlist("WWW-Authenticate"))
                chances -= 1
                if self._tokens.answer(challenges, scopes):
                    response.drain_conn()
                    continue
            raise self._refusal(response, method, address)

    def _followed(self, method: str, address: str, headers: dict[str, str], body: Body, scopes: frozenset[str],
                  silence: float | None) -> BaseHTTPResponse:
        for _ in range(_REDIRECTS):
            sent = {"Accept-Encoding": "identity", "User-Agent": "helixstore", **headers}
            if not self._elsewhere(address) and (let_in := self._tokens.header(scopes)):
                sent["Authorization"] = let_in
            response = self._raw(method, address, sent, body, silence)
            location = response.headers.get("Location")
            if response.status not in _MOVED or method not in ("GET", "HEAD") or not location:
                return response
            response.drain_conn()
            following = urljoin(address, location)
            self._check_scheme(following)
            address = following
        raise Failed(f"{self.host} sends one round in circles: more than {_REDIRECTS} redirects",
                     "tell those who run the registry")

    def _raw(self, method: str, address: str, headers: Mapping[str, str], body: Body,
             silence: float | None = None) -> BaseHTTPResponse:
        import urllib3
        from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError, SSLError

        opened = body() if callable(body) else body
        timeout = urllib3.Timeout(connect=_CONNECT, read=silence or self.access.patience.silence)
        try:
            response = self._pool(address).request(method, address, opened, headers=headers, redirect=False,
                                                   retries=False, timeout=timeout, preload_content=False,
                                                   decode_content=False)
        except SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise Failed(f"nobody that this computer trusts vouches for the certificate of {shown(address)}",
                             "put the certificate of its authority into "
                             f"/etc/docker/certs.d/{urlsplit(address).netloc}/ca.crt") from None
            raise Cut(f"no encrypted connection to {shown(address)}: {brief(error)}", "try again later") from None
        except (HTTPError, OSError) as error:
            cut = Cut(unreachable(address, error) or f"no answer from {shown(address)}: {brief(error)}",
                      "see whether this computer is online and the registry's name is right")
            unheard = isinstance(error, ConnectTimeoutError | NewConnectionError | ProxyError)
            cut.strange = unheard and not self._answered
            raise cut from None
        else:
            self._answered = True
            return response
        finally:
            if opened is not None and not isinstance(opened, bytes):
                opened.close()

    def _for_token(self, method: str, address: str, headers: Mapping[str, str],
                   body: bytes | None) -> tuple[int, bytes]:
        def one() -> tuple[int, bytes]:
            response = self._raw(method, address, {"Accept-Encoding": "identity", **headers}, body)
            if response.status in AGAIN:
                raise self._refusal(response, method, address)
            return response.status, self.text(response, 1 << 20)

        return self.trying(one)

    def text(self, response: BaseHTTPResponse, limit: int) -> bytes:
        """The whole body, if it is no longer than `limit` bytes.

        Raises:
            Failed: it is longer.
            Cut: it did not arrive.
        """
        from urllib3.exceptions import HTTPError

        data = bytearray()
        try:
            while len(data) <= limit and (part := response.read(min(_BLOCK, limit + 1 - len(data)))):
                data += part
        except (HTTPError, OSError) as error:
            raise Cut(f"{self.host} broke off: {brief(error)}", "try again later") from None
        finally:
            response.release_conn() if len(data) <= limit else response.close()
        if len(data) > limit:
            raise Failed(f"{self.host} sends more than {limit:,} bytes where it should be few",
                         "it may be no registry, or a hostile one")
        return bytes(data)

    # ---- where to ----------------------------------------------------------------------------------------------------

    @cached_property
    def _base(self) -> str:
        """`https://host`, or `http://host` where that is allowed and all that is spoken there."""
        if not self.access.may_be_plain(self.host) or self.access.trusted(self.host)[1]:
            return f"https://{self._address}"
        plain, secret = f"http://{self._address}", f"https://{self._address}"
        if is_loopback(self.host):
            try:
                response = self._raw("GET", f"{plain}/v2/", {}, None)
            except Cut as cut:
                if "refuses the connection" in cut.message:
                    raise
                return secret
            spoken = response.status != 400
            response.close()
            return plain if spoken else secret
        try:
            self._raw("GET", f"{secret}/v2/", {}, None).close()
        except Cut:
            return plain
        return secret

    def _elsewhere(self, address: str) -> bool:
        return not address.startswith(f"{self._base}/")

    def _check_scheme(self, address: str) -> None:
        """That nobody is sent to a plain address, nor from elsewhere to one on this computer."""
        scheme, host = urlsplit(address).scheme, urlsplit(address).netloc
        inward = is_loopback(host) and not is_loopback(self.host)
        if inward or scheme not in ("https", "http") or (scheme == "http" and not self.access.may_be_plain(host)):
            raise Failed(f"{self.host} sends one on to {shown(address)}, which is not followed",
                         "tell those who run the registry: what it redirects to must be https and its own")

    def _pool(self, address: str) -> PoolManager:
        from urllib3 import PoolManager, ProxyManager, disable_warnings
        from urllib3.exceptions import InsecureRequestWarning
        from urllib3.util import make_headers, parse_url

        parts = urlsplit(address)
        key = parts.scheme, parts.netloc
        if key not in self._pools:
            context = self.access.trusted(parts.netloc)[0]
            if self.access.is_insecure(parts.netloc):
                disable_warnings(InsecureRequestWarning)        # the person has said so
            if proxy := self.access.proxy(parts.scheme, parts.netloc):
                auth = parse_url(proxy).auth
                headers = make_headers(proxy_basic_auth=auth) if auth else None
                self._pools[key] = ProxyManager(proxy, proxy_headers=headers, ssl_context=context, blocksize=_BLOCK,
                                                maxsize=_AT_ONCE)
            else:
                self._pools[key] = PoolManager(ssl_context=context, blocksize=_BLOCK, maxsize=_AT_ONCE)
        return self._pools[key]

    def _refusal(self, response: BaseHTTPResponse, method: str, address: str) -> HelixError:
        try:
            said = self._tokens.hidden(answers.said(self.text(response, _ERROR_BYTES)))
        except Failed:
            said = ""
        again = answers.asked_for(response.headers.get("Retry-After"))
        return answers.refusal(response.status, f"{self.host}/{self._repository}", method, address, said, again)
