"""A Hugging Face hub on loopback: one repository at one commit, as much of it as the real client asks for."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from helixstore.store.xet import XetHasher

__all__ = ["Repository", "Trouble", "cached", "hub"]

_BYTES = re.compile(r"bytes=(\d+)-(\d*)")
_LFS = (".safetensors", ".gguf", ".bin")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong with one request for a file.

    Attributes:
        status: the answer; 200 stands for the right one.
        headers: more of them.
        cut: after so many bytes of the body the connection is closed.
        wrong: the bytes are others.
        wait: seconds before the answer, or until the hub stops.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    wrong: bool = False
    wait: float = 0.0


@dataclass(slots=True)
class Repository:
    """What the hub serves, and what was asked of it.

    Attributes:
        name: `org/name`.
        commit: 40 hex digits.
        files: path in the repository -> where its bytes lie.
        xet: the large files are in Xet: listing and headers have their hash. The storage behind it is not there, so a
            client that must fetch them so fails; one that knows no Xet, or has it switched off, gets them by HTTP.
        asked: "METHOD path" of each request, in order.
        ranges: it knows ranges of files, as the hub does.
        most: bytes of one answer; who asks for more of a file gets 400, as from the hub's storage beyond 50 GB.
        digests: path -> the digest that is told, of files too large to be read.
        sent: path in the repository -> bytes of its content that have gone out.
        trouble: asked about each GET of a file, with its path and its number among the requests for it, from 0.
        listing: asked about each request for what there is, with its number, from 0.
        gated: nobody may read files, or any of it with `private`.
        callers: addresses that connections came from.
        tokens: what came as a login with each request for a file; "" where none did.
    """

    name: str
    commit: str
    files: dict[str, Path]
    xet: bool = False
    ranges: bool = True
    most: int | None = None
    digests: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    trouble: Callable[[str, int], Trouble | None] = lambda path, number: None
    listing: Callable[[int], Trouble | None] = lambda number: None
    gated: bool = False
    private: bool = False
    tokens: list[str] = field(default_factory=list)
    callers: set[tuple[str, int]] = field(default_factory=set)
    _gets: dict[str, int] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _etags: dict[tuple[str, int, int], str] = field(default_factory=dict)
    _hashes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, commit: str, folder: Path, *, xet: bool = False) -> Repository:
        """A repository of all files below a folder."""
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        return cls(name, commit, files, xet)

    def etag(self, path: str) -> str:
        """SHA-256 for files that the hub keeps in LFS, else git's SHA-1 of a blob."""
        if path in self.digests:
            return self.digests[path]
        status = self.files[path].stat()
        key = path, status.st_mtime_ns, status.st_size
        if key not in self._etags:
            data = self.files[path].read_bytes()
            git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
            self._etags[key] = hashlib.sha256(data).hexdigest() if path.endswith(_LFS) else git.hexdigest()
        return self._etags[key]

    def next_trouble(self, path: str) -> Trouble:
        """What goes wrong with this GET of a file."""
        with self._guard:
            number = self._gets[path] = self._gets.get(path, -1) + 1
        return self.trouble(path, number) or Trouble()

    def next_listing(self) -> Trouble:
        """What goes wrong with this request for what there is."""
        return self.listing(sum("/api/models/" in line for line in self.asked)) or Trouble()

    def went(self, path: str, count: int) -> None:
        """So many bytes of a file have gone out."""
        with self._guard:
            self.sent[path] = self.sent.get(path, 0) + count

    def xet_hash(self, path: str) -> str | None:
        """The name of a large file in the hub's storage; None for others."""
        if not self.xet or not path.endswith(_LFS):
            return None
        if path not in self._hashes:
            with XetHasher() as hasher:
                self._hashes[path] = hasher.hash(str(self.files[path])) or ""
        return self._hashes[path]

    def tree(self) -> list[dict[str, Any]]:
        """The listing: path, size and hashes of each file."""
        rows = []
        for path, place in sorted(self.files.items()):
            size, etag = place.stat().st_size, self.etag(path)
            row = {"type": "file", "path": path, "size": size, "oid": etag[:40]}
            if path.endswith(_LFS):
                row["lfs"] = {"oid": etag, "size": size, "pointerSize": 134}
            if xet := self.xet_hash(path):
                row["xetHash"] = xet
            rows.append(row)
        return rows

    def info(self) -> dict[str, Any]:
        """The repository's description."""
        siblings = []
        for row in self.tree():
            sibling = {"rfilename": row["path"], "size": row["size"], "blobId": row["oid"]}
            if "lfs" in row:
                sibling["lfs"] = {"sha256": row["lfs"]["oid"], "size": row["size"], "pointerSize": 134}
            siblings.append(sibling)
        return {"id": self.name, "modelId": self.name, "sha": self.commit, "private": self.private,
                "gated": "manual" if self.gated else False,
                "disabled": False, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings}


def cached(cache: Path, name: str, files: Sequence[Path], commit: str = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2",
           ) -> Path:
    """A repository in the hub cache as a client leaves it that has downloaded these files: its snapshot's folder."""
    folder = cache / f"models--{name.replace('/', '--')}"
    served = Repository(name, commit, {file.name: file for file in files})
    snapshot = folder / "snapshots" / commit
    for part in (folder / "blobs", folder / "refs", snapshot):
        part.mkdir(parents=True, exist_ok=True)
    for path, file in served.files.items():
        shutil.copyfile(file, folder / "blobs" / served.etag(path))
        (snapshot / path).symlink_to(f"../../blobs/{served.etag(path)}")
    (folder / "refs" / "main").write_text(commit)
    return snapshot


def api(repository: Repository) -> str:
    """The path below which the hub tells about a repository."""
    return f"/api/models/{repository.name}"


class _Handler(BaseHTTPRequestHandler):
    """Answers one client. `repository`: the one of those `served` that is asked about; `stopped`: it is over."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True                          # as servers do; head and body are two writes
    served: tuple[Repository, ...]
    repository: Repository
    stopped: threading.Event

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):          # a client that was killed
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        self.repository.asked.append(f"{self.command} {self.path}")
        self.repository.callers.add(self.client_address)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.repository = next((one for one in self.served if f"/{one.name}/" in f"{path}/"), self.served[0])
        about, files = api(self.repository), f"/{self.repository.name}/resolve/"
        revisions = (self.repository.commit, "main")
        if self.repository.private and not self.headers.get("Authorization"):
            self._send(b"{}", body, 401, {"X-Error-Code": "RepoNotFound"})
            return
        trouble = self.repository.next_listing() if path.startswith(about) else Trouble()
        if trouble.cut is not None:
            self.log_message("")
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif trouble.status != 200:
            self._send(b"{}", body, trouble.status, dict(trouble.headers))
        elif path == about or path in [f"{about}/revision/{revision}" for revision in revisions]:
            said, packed = json.dumps(self.repository.info()).encode(), {"Content-Encoding": "gzip"}
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                self._send(gzip.compress(said), body, extra=packed)
            else:
                self._send(said, body)
        elif path in [f"{about}/tree/{revision}" for revision in revisions]:
            self._send(json.dumps(self.repository.tree()).encode(), body)
        elif path.startswith(f"{about}/tree/"):                     # a folder; there is none
            self._send(b"{}", body, 404, {"X-Error-Code": "EntryNotFound"})
        elif path.startswith(files) and path.removeprefix(files).split("/", 1)[0] in revisions:
            self._file(path.removeprefix(files).split("/", 1)[1], body)
        else:
            self._send(b"{}", body, 404, {"X-Error-Code": "RepoNotFound"})

    def _file(self, name: str, body: bool) -> None:
        if name not in self.repository.files:
            self._send(b"", body, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.repository.commit})
            return
        self.repository.tokens.append(self.headers.get("Authorization", ""))
        trouble = self.repository.next_trouble(name) if body else Trouble()
        if trouble.wait:
            self.stopped.wait(trouble.wait)
        if self.repository.gated:
            trouble = Trouble(403, {"X-Error-Code": "GatedRepo"})
        if trouble.status != 200:
            self._send(b"", body, trouble.status, dict(trouble.headers))
            return
        self._content(name, body, trouble)

    def _content(self, name: str, body: bool, trouble: Trouble) -> None:
        size, etag = self.repository.files[name].stat().st_size, self.repository.etag(name)
        extra = {"ETag": f'"{etag}"', "X-Repo-Commit": self.repository.commit, "Accept-Ranges": "bytes"}
        if name.endswith(_LFS):
            extra |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(size)}
        if xet := self.repository.xet_hash(name):
            route = f"http://{self.headers['Host']}{api(self.repository)}/xet-read-token/{self.repository.commit}"
            extra |= {"X-Xet-Hash": xet, "X-Xet-Refresh-Route": route}
        first, last, status = 0, size - 1, 200
        if (wanted := _BYTES.fullmatch(self.headers.get("Range", ""))) and body and self.repository.ranges:
            first, last, status = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1), 206
            extra["Content-Range"] = f"bytes {first}-{last}/{size}"
        if body and self.repository.most is not None and last + 1 - first > self.repository.most:
            self._send(b"", body, 400)
            return
        self._begin(status, {**extra, **trouble.headers}, last + 1 - first)
        if body:
            self._stream(name, first, last + 1, trouble)

    def _stream(self, name: str, offset: int, end: int, trouble: Trouble) -> None:
        cut = end if trouble.cut is None else min(end, offset + trouble.cut)
        with self.repository.files[name].open("rb") as file:
            file.seek(offset)
            while offset < cut and (data := file.read(min(1 << 20, cut - offset))):
                try:
                    self.wfile.write(bytes(len(data)) if trouble.wrong else data)
                except OSError:
                    self.close_connection = True
                    return                          # the client has gone
                self.repository.went(name, len(data))
                offset += len(data)
        if cut < end:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def _begin(self, status: int, headers: Mapping[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, data: bytes, body: bool, status: int = 200, extra: dict[str, str] | None = None) -> None:
        self._begin(status, extra or {}, len(data))
        if body:
            self.wfile.write(data)


@contextlib.contextmanager
def hub(*served: Repository) -> Iterator[str]:
    """Serve repositories; the value is the address for HF_ENDPOINT."""
    stopped = threading.Event()
    handler = type("Handler", (_Handler,), {"served": served, "repository": served[0], "stopped": stopped})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
