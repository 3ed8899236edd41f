"""Two computers and their server on one machine: own mounts, network, host name, machine id and home for each.

Everything that a host mounts is in its own mount namespace, so it is gone when the host is, whatever a test did; and
a host is gone when the tests are.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nfslike
import pytest
import warm

from support.raw import model_gguf
from support.sandbox import environment

HELIXSTORE = str(Path(sys.executable).with_name("helixstore"))
_START = ('hostname "$1" && ip link set lo up && mount --bind "$2" /etc/machine-id && mount --bind "$3" /var/tmp && '
          "echo up && exec sleep 100000")


def _with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)          # PR_SET_PDEATHSIG


@dataclass
class Host:
    """One computer. `home` is the person's home on it, `nas` where it mounts the share."""

    name: str
    home: Path
    nas: Path
    process: subprocess.Popen[str]
    environ: dict[str, str]
    serving: subprocess.Popen[str] | None = None
    control: Path | None = None
    rules: dict[str, Any] = field(default_factory=dict)
    warm: subprocess.Popen[str] | None = None
    sent: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(cls, base: Path, name: str) -> Host:
        if os.geteuid() != 0 or not os.path.exists("/etc/machine-id"):
            pytest.skip("only root can make a host of its own")
        machine = base / f"{name}.machine-id"
        machine.write_text(secrets.token_hex(16) + "\n")
        home, nas, own = base / name, base / "nas", base / f"{name}.var-tmp"
        home.mkdir()
        own.mkdir()
        nas.mkdir(exist_ok=True)
        process = subprocess.Popen(
            ["unshare", "--mount", "--uts", "--net", "--propagation", "private", "sh", "-c", _START, "sh", name,
             str(machine), str(own)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_with_parent)
        assert process.stdout is not None
        if process.stdout.readline() != "up\n":
            assert process.stderr is not None
            pytest.skip(f"no namespaces here: {process.stderr.read()}")
        return cls(name, home, nas, process, environment(home) | {"PYTHONPATH": str(Path(__file__).parents[2])})

    def on(self, *command: str) -> list[str]:
        """The command line that runs a command on this host."""
        return ["nsenter", "-t", str(self.process.pid), "-m", "-u", "-n", "--", *command]

    def run(self, *command: str, expect: tuple[int, ...] = (0,), seconds: float = 60) -> str:
        done = subprocess.run(self.on(*command), env=self.environ, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=seconds, check=False)
        assert done.returncode in expect, f"{self.name}: {command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def begin(self, *command: str) -> subprocess.Popen[str]:
        """A command that goes on while the test does other things."""
        return subprocess.Popen(self.on(*command), env=self.environ, stdin=subprocess.DEVNULL, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_with_parent)

    def python(self, code: str) -> str:
        """Run a few lines on this host; what they print."""
        self._send({"code": code})
        return self.receive()

    @contextlib.contextmanager
    def holding(self, code: str) -> Iterator[Callable[[], str]]:
        """Run lines that say "open" and then wait for a line; what is yielded gives it and returns what they print."""
        process = subprocess.Popen(self.on(sys.executable, "-c", code), env=self.environ, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True, preexec_fn=_with_parent)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield lambda: process.communicate("\n", timeout=20)[0]
        finally:
            process.kill()
            process.communicate()

    def helix(self, *arguments: str, expect: tuple[int, ...] = (0,)) -> str:
        """`helixstore ARGUMENTS` in a process of its own, see `warm`."""
        self.send(*arguments)
        return self.receive(expect)

    def send(self, *arguments: str) -> None:
        """Begin a command; what others do until `receive` happens at the same time."""
        self._send({"arguments": arguments})

    def _send(self, request: dict[str, Any]) -> None:
        if self.warm is None:
            self.warm = subprocess.Popen(self.on(sys.executable, warm.__file__), env=self.environ, text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=_with_parent)
        assert self.warm.stdin is not None
        self.sent = request
        files = {name: str(self.home.parent / f"{self.name}.{name}") for name in ("out", "error")}
        self.warm.stdin.write(json.dumps(request | {"environ": self.environ, **files}) + "\n")
        self.warm.stdin.flush()

    def receive(self, expect: tuple[int, ...] = (0,)) -> str:
        assert self.warm is not None
        assert self.warm.stdout is not None
        code = int(self.warm.stdout.readline())
        said, error = ((self.home.parent / f"{self.name}.{name}").read_text() for name in ("out", "error"))
        assert code in expect, f"{self.name}: {self.sent}: {code}\n{said}\n{error}"
        return said

    def document(self, *arguments: str, expect: tuple[int, ...] = (0,)) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.helix(*arguments, "--json", expect=expect))
        return found

    def models(self) -> dict[str, str]:
        """Name -> state with LM Studio."""
        return {model["name"]: variant["providers"].get("lmstudio", {}).get("state", "")
                for model in self.document("list")["models"] for variant in model["variants"]}

    def seen(self, name: str) -> bytes:
        """The bytes of the model as LM Studio finds it on this host."""
        found = self.run("find", str(self.home / ".lmstudio"), "-name", f"{name}*.gguf").splitlines()
        assert len(found) == 1, f"{self.name}: {found}"
        return subprocess.run(self.on("cat", found[0]), capture_output=True, check=True).stdout

    def model(self, name: str, seed: int) -> Path:
        """A model on the host's own disk, outside every program's folder."""
        path = self.home / "downloads" / f"{name}.gguf"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model_gguf(seed=seed))
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return path

    def init(self) -> None:
        """The store on the share, and one program."""
        self.helix("init", "--store", str(self.nas / "store"), "--provider", "lmstudio")

    def well(self) -> None:
        """Nothing is damaged or missing, and the store has no problem."""
        found = self.document("verify")
        assert (found["bad"], found["issues"]) == ([], [])
        checks = self.document("doctor", expect=(0, 3))["checks"]
        assert [check for check in checks if check["state"] == "problem" and check["name"] == "store"
                and "everybody may write" not in check["message"]] == []     # /dev/shm is what everybody may write in

    # ---- the share -------------------------------------------------------------------------------------------------

    def mount(self, backing: Path, **rules: Any) -> None:
        """Mount a folder as a network's, see `nfslike`."""
        self.control = self.home.parent / f"{self.name}.json"
        self.set(**rules)
        self.serving = self.begin(sys.executable, nfslike.__file__, str(backing), str(self.nas), str(self.control))
        assert self.serving.stdout is not None
        said = self.serving.stdout.readline()
        if said != "mounted\n":
            assert self.serving.stderr is not None
            pytest.fail(self.serving.stderr.read())

    def set(self, **rules: Any) -> None:
        """Change what holds on this host's mount; faults are counted anew."""
        assert self.control is not None
        self.rules = {**self.rules, "faults": [], **rules}
        temporary = self.control.with_suffix(".new")
        temporary.write_text(json.dumps(self.rules))
        temporary.replace(self.control)

    def unmount(self) -> None:
        """Pull the cable: the mount is gone."""
        assert self.serving is not None
        self.serving.terminate()
        self.serving.wait(10)
        end(self.serving)
        self.serving = None

    def stop(self) -> None:
        for process in (self.serving, self.warm, self.process):     # first what serves: whoever waits gets an error
            if process is not None:
                end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Kill it and let go of its pipes, which children of its own may still hold."""
    process.kill()
    process.wait(10)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


@contextlib.contextmanager
def network(base: Path, *names: str) -> Iterator[list[Host]]:
    """Hosts that are gone at the end."""
    hosts: list[Host] = []
    try:
        for name in names:
            hosts.append(Host.start(base, name))
        yield hosts
    finally:
        for host in hosts:
            host.stop()


def wait_for(what: Callable[[], bool], seconds: float = 10) -> None:
    """Poll for something that gives no event: another host's change."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


class Ssh:
    """A real server: sshd in a host of its own, and sshfs on each host."""

    def __init__(self, base: Path, server: Host, clients: list[Host]) -> None:
        for tool in ("sshfs", "ssh-keygen", "/usr/sbin/sshd"):
            if shutil.which(tool) is None:
                pytest.skip(f"{tool} is not installed")
        self.base, self.server = base / "ssh", server
        self.sshd: subprocess.Popen[str] | None = None
        self.base.mkdir(mode=0o700)
        self.export = base / "export"
        self.export.mkdir()
        for name in ("host", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.base / name)], check=True)
        shutil.copy(self.base / "client.pub", self.base / "authorized")
        (self.base / "config").write_text("\n".join([
            "Port 2222", f"HostKey {self.base}/host", f"AuthorizedKeysFile {self.base}/authorized", "StrictModes no",
            "UsePAM no", f"PidFile {self.base}/pid", "Subsystem sftp internal-sftp", "PermitRootLogin yes", ""]))
        for number, client in enumerate(clients, 1):
            server.run("ip", "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns",
                       str(client.process.pid))
            server.run("ip", "address", "add", f"198.18.{number}.1/30", "dev", f"to{number}")
            server.run("ip", "link", "set", f"to{number}", "up")
            client.run("ip", "address", "add", f"198.18.{number}.2/30", "dev", "eth0")
            client.run("ip", "link", "set", "eth0", "up")
        self.start()
        for number, client in enumerate(clients, 1):
            client.serving = client.begin(
                "sshfs", "-f", "-p", "2222", "-o", f"IdentityFile={self.base}/client", "-o",
                "StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,reconnect,ServerAliveInterval=1,"
                "ServerAliveCountMax=2,no_contain_symlinks,allow_other,default_permissions,dcache_timeout=1",
                f"root@198.18.{number}.1:{self.export}", str(client.nas))
            wait_for(lambda client=client: "sshfs" in client.run("cat", "/proc/self/mountinfo"))

    def start(self) -> None:
        os.makedirs("/run/sshd", exist_ok=True)
        self.sshd = self.server.begin("/usr/sbin/sshd", "-D", "-e", "-f", str(self.base / "config"))
        wait_for(lambda: ":2222" in self.server.run("ss", "-ltn"))

    def stop(self) -> None:
        """The server dies with all its connections; `start` brings it back."""
        for line in self.server.run("ss", "-tnpH", expect=(0,)).splitlines():
            for part in line.split("pid=")[1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(part.split(",")[0]), signal.SIGKILL)
        if self.sshd is not None:
            end(self.sshd)
            self.sshd = None
