"""Registries on loopback: Debian's docker-registry as a process, one of our own that can misbehave, and a relay that
counts bytes and cuts connections."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from .programs import free_port

__all__ = ["Relay", "StandIn", "authority", "docker_registry", "serve"]


@contextlib.contextmanager
def docker_registry(folder: Path, *, login: tuple[str, str] | None = None,
                    tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """A real registry: its host and port.

    Args:
        folder: for what it holds, its configuration and its log.
        login: user and password that it wants.
        tls: certificate and key.
    """
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry (the Debian package of that name) is not installed")
    folder.mkdir(exist_ok=True)
    host = f"127.0.0.1:{free_port()}"
    http_part: dict[str, object] = {"addr": host, "secret": "the same after a restart"}
    if tls:
        http_part["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    settings: dict[str, object] = {
        "version": 0.1, "log": {"level": "warn"}, "http": http_part,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}}}
    if login:
        line = subprocess.run(["htpasswd", "-Bbn", *login], check=True, capture_output=True, text=True).stdout
        (folder / "htpasswd").write_text(line)
        settings["auth"] = {"htpasswd": {"realm": "here", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(settings))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "HOME": str(folder)})
    try:
        _await(f"{'https' if tls else 'http'}://{host}/v2/", process, folder / "log")
        yield host
    finally:
        process.terminate()
        process.wait(timeout=15)


def _await(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=5, context=ssl._create_unverified_context()).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            ended = None
            with contextlib.suppress(subprocess.TimeoutExpired):
                ended = process.wait(timeout=0.05)
            assert ended is None, f"it ended with {ended}\n{log.read_text()[-2000:]}"
            continue
        return
    raise AssertionError(f"{address} does not answer\n{log.read_text()[-2000:]}")


def authority(folder: Path, name: str = "127.0.0.1") -> tuple[Path, Path, Path]:
    """A private authority, and a certificate and key that it vouches for: ca.crt, server.crt, server.key."""
    folder.mkdir(exist_ok=True)
    ca, crt, key = folder / "ca.crt", folder / "server.crt", folder / "server.key"

    def openssl(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key",
            "-out", ca, "-days", "30", "-subj", "/CN=our own authority", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", "req",
            "-subj", f"/CN={name}")
    (folder / "ext").write_text(f"subjectAltName=IP:{name}\nkeyUsage=digitalSignature\n"
                                "extendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", "req", "-CA", ca, "-CAkey", "ca.key", "-CAcreateserial", "-out", crt, "-days", "30",
            "-extfile", "ext")
    return ca, crt, key


class Relay:
    """Passes bytes on to a host, counting them.

    Attributes:
        up, down: bytes that were passed to the host and back.
        cuts: where the next connections are cut: ("up" or "down", bytes of that connection).
        reached: is set when one was cut.
    """

    def __init__(self, host: str) -> None:
        name, _, port = host.rpartition(":")
        self._to = (name, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.up = self.down = 0
        self.cuts: list[tuple[str, int]] = []
        self.reached = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """End every connection."""
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _start(self, action: object, *arguments: object) -> None:
        thread = threading.Thread(target=action, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._to)
                self._open += [client, server]
                cut = self.cuts.pop(0) if self.cuts else ("", 0)
                self._start(self._pass, client, server, "up", cut)
                self._start(self._pass, server, client, "down", cut)

    def _pass(self, source: socket.socket, target: socket.socket, way: str, cut: tuple[str, int]) -> None:
        left = cut[1] if cut[0] == way else None
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                part = data if left is None else data[:left]
                target.sendall(part)
                setattr(self, way, getattr(self, way) + len(part))
                if left is not None:
                    left -= len(part)
                    if not left:
                        self.reached.set()
                        break
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class StandIn:
    """A registry of our own: it does what the distribution specification says, and what it is told to do wrong.

    Args:
        tls: certificate and key.
        clients: the authority that has to vouch for who asks.

    Attributes:
        blobs, manifests, tags: what it holds.
        seen: (method, path, headers) of every request.
        sent: bytes of each blob that it has sent.
        uploads: bytes so far of each upload.
        received: bytes of bodies of PATCH and PUT.
        answers: (what the path has in it, status, headers), used up in order, instead of a right answer.
        redirect: blobs are sent on to this host.
        ranges: whether it knows them.
        realm: where tokens are given out; then it wants one.
        user: user:password that the giver of tokens wants; any where it is "".
        token, lasts: the one that is valid now, and seconds that it says.
        told: path -> what is answered there instead.
        given: the one that is given out instead, which is not accepted.
        rotten: digests whose bytes come changed.
        cut_after: bytes of the next answers with a blob, after which the connection is cut.
        lost: methods whose next answers do not arrive, though what was asked is done.
        part: largest body that it takes.
        whole_only: it takes no parts.
        hung: an upload stops to read after so many bytes, says so in `waiting`, and goes on after `dead`.
    """

    def __init__(self, tls: tuple[Path, Path] | None = None, clients: Path | None = None) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.tags: dict[str, str] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.sent: Counter[str] = Counter()
        self.uploads: dict[str, bytearray] = {}
        self.received = 0
        self.answers: list[tuple[str, int, dict[str, str]]] = []
        self.redirect = ""
        self.ranges = True
        self.realm = ""
        self.user = ""
        self.told: dict[str, bytes] = {}
        self.token, self.lasts, self.given = "first-token", 300, ""
        self.rotten: set[str] = set()
        self.cut_after: list[int] = []
        self.lost: list[str] = []
        self.part = 1 << 40
        self.whole_only = False
        self.hung: int | None = None
        self.waiting, self.dead = threading.Event(), threading.Event()
        self.writing = threading.Lock()
        handler = type("Handler", (_Handler,), {"registry": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            if clients:
                context.load_verify_locations(clients)
                context.verify_mode = ssl.CERT_REQUIRED
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_address[1]}"

    def put(self, data: bytes) -> str:
        """A blob, and its digest without the algorithm."""
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def tag(self, name: str, manifest: object, media_type: str = "application/vnd.oci.image.manifest.v1+json") -> str:
        """A manifest under a tag, and its digest."""
        raw = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        digest = hashlib.sha256(raw).hexdigest()
        self.manifests[digest] = raw, media_type
        self.tags[name] = digest
        return digest


@contextlib.contextmanager
def serve(registry: StandIn) -> Iterator[StandIn]:
    """It answers as long as the `with` lasts."""
    thread = threading.Thread(target=registry.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield registry
    finally:
        registry.server.shutdown()
        thread.join()
        registry.server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    registry: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _any(self) -> None:
        registry = self.registry
        registry.seen.append((self.command, self.path, dict(self.headers)))
        for number, (part, status, headers) in enumerate(registry.answers):
            if part in f"{self.command} {self.path}":
                del registry.answers[number]
                self._answer(status, b'{"errors":[{"code":"TOLD","message":"as told"}]}', headers)
                self.close_connection = True
                return
        path = urlsplit(self.path).path
        if path in registry.told:
            self._answer(200, registry.told[path], {})
        elif path == "/token":
            self._token()
        elif registry.realm and "/store/" not in path and \
                self.headers.get("Authorization") != f"Bearer {registry.token}":
            challenge = f'Bearer realm="{registry.realm}",service="here",scope="x:y:z"'
            self._answer(401, b"", {"WWW-Authenticate": challenge})
            self.close_connection = True
        elif path == "/v2/":
            self._answer(200, b"{}", {})
        elif path.endswith("/tags/list"):
            self._listing()
        elif found := re.fullmatch(r"/v2/(.+)/manifests/(.+)", path):
            self._manifest(found[2])
        elif found := re.fullmatch(r"/(?:v2|store)/(.+)/blobs/sha256:([0-9a-f]{64})", path):
            self._blob(path, found[2])
        elif found := re.fullmatch(r"/v2/(.+)/blobs/uploads/([0-9a-f]*)", path):
            self._upload(found[1], found[2])
        else:
            self._answer(404, b"", {})

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _any

    def _token(self) -> None:
        import base64

        registry = self.registry
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        wanted = "Basic " + base64.b64encode(registry.user.encode()).decode()
        if registry.user and self.headers.get("Authorization") != wanted:
            self._answer(401, b"", {})
        else:
            given = {"token": registry.given or registry.token, "expires_in": registry.lasts}
            self._answer(200, json.dumps(given).encode(), {})

    def _listing(self) -> None:
        """Two tags a page, in order, whatever was asked for."""
        after = parse_qs(urlsplit(self.path).query).get("last", [""])[0]
        left = [tag for tag in sorted(self.registry.tags) if tag > after]
        headers = {"Link": '</elsewhere?last=x>; rel="next"'} if len(left) > 2 else {}
        self._answer(200, json.dumps({"name": "any", "tags": left[:2] or None}).encode(), headers)

    def _manifest(self, wanted: str) -> None:
        registry = self.registry
        if self.command == "PUT":
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            digest = hashlib.sha256(raw).hexdigest()
            registry.manifests[digest] = raw, self.headers["Content-Type"]
            registry.tags[wanted] = digest
            self._answer(201, b"", {"Docker-Content-Digest": f"sha256:{digest}"})
            return
        digest = registry.tags.get(wanted, wanted.removeprefix("sha256:"))
        if digest not in registry.manifests:
            self._answer(404, b"", {})
            return
        raw, kind = registry.manifests[digest]
        self._answer(200, raw, {"Content-Type": kind})

    def _blob(self, path: str, digest: str) -> None:
        registry = self.registry
        if digest not in registry.blobs:
            self._answer(404, b"", {})
            return
        if registry.redirect and path.startswith("/v2/") and self.command == "GET":
            self._answer(307, b"", {"Location": f"{registry.redirect}/store/{path[4:]}?signature=very-secret"})
            return
        data = registry.blobs[digest]
        if digest in registry.rotten:
            data = bytes([data[0] ^ 1]) + data[1:]
        headers, status = {"Accept-Ranges": "bytes"}, 200
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found and registry.ranges:
            first, size, status = int(found[1]), len(data), 206
            last = int(found[2] or size - 1)
            data = data[first:last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        if self.command == "GET" and registry.cut_after:
            after = registry.cut_after.pop(0)
            self._head(status, {**headers, "Content-Length": str(len(data))})
            self.wfile.write(data[:after])
            registry.sent[digest] += len(data[:after])
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.command == "GET":
            registry.sent[digest] += len(data)
        self._answer(status, data, headers)

    def _upload(self, repository: str, number: str) -> None:
        registry = self.registry
        query = parse_qs(urlsplit(self.path).query)
        if self.command == "POST":
            if query.get("mount") and query.get("from") == ["team/there"] and query["mount"][0][7:] in registry.blobs:
                self._answer(201, b"", {"Location": self.path})
                return
            number = os.urandom(8).hex()
            registry.uploads[number] = bytearray()
            self._answer(202, b"", {"Location": f"/v2/{repository}/blobs/uploads/{number}?state=secret"})
            return
        if number not in registry.uploads:
            self._answer(404, b"", {})
            self.close_connection = True
            return
        with registry.writing:                          # one connection at a time has a say about an upload
            self._write(repository, number, registry.uploads[number], query)

    def _write(self, repository: str, number: str, upload: bytearray, query: dict[str, list[str]]) -> None:
        registry = self.registry
        length = int(self.headers.get("Content-Length", 0))
        start = re.match(r"\d+", self.headers.get("Content-Range", ""))
        if length > registry.part or (self.command == "PATCH" and registry.whole_only) or \
                (start and int(start[0]) != len(upload)):
            status = 413 if length > registry.part else 405 if registry.whole_only else 416
            self._answer(status, b"", self._state(repository, number))
            self.close_connection = True
            return
        while length:
            if registry.hung is not None and registry.received >= registry.hung:
                registry.waiting.set()
                registry.hung = None
                registry.dead.wait(30)
            before = 1 << 16 if registry.hung is None else max(1, registry.hung - registry.received)
            data = self.rfile.read1(min(length, 1 << 16, before))
            if not data:
                return
            upload += data
            registry.received += len(data)
            length -= len(data)
        if self.command == "PUT":
            digest = hashlib.sha256(upload).hexdigest()
            good = query["digest"] == [f"sha256:{digest}"]
            if good:
                registry.blobs[digest] = bytes(registry.uploads.pop(number))
            body = b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}'
            self._answer(201 if good else 400, b"" if good else body, {})
            return
        self._answer(202 if self.command == "PATCH" else 204, b"", self._state(repository, number))

    def _state(self, repository: str, number: str) -> dict[str, str]:
        return {"Location": f"/v2/{repository}/blobs/uploads/{number}?state=secret",
                "Range": f"0-{max(0, len(self.registry.uploads[number]) - 1)}"}

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        if self.command in self.registry.lost:
            self.registry.lost.remove(self.command)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._head(status, {**headers, "Content-Length": str(len(data))})
        if self.command != "HEAD":
            self.wfile.write(data)
