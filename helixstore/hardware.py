"""What this computer can run models with: memory, graphics cards, Apple silicon. Found without any library.

Sources. Linux: `MemTotal` of /proc/meminfo [proc_meminfo(5)], the limit of the control group that a container has
[cgroups(7); `memory.max` of v2, `memory/memory.limit_in_bytes` of v1]. AMD: `mem_info_vram_total` of the amdgpu driver
[kernel documentation, "amdgpu Misc"]. NVIDIA: `nvidia-smi --query-gpu`, and CUDA_VISIBLE_DEVICES, by which people keep
cards for something else. macOS: `sysctl hw.memsize`; its GPU gets a share of the memory, 0.74 of 16 GB and 0.84 of 128
GB (AlexsJones/llmfit#754, antirez/ds4#893), or what `iogpu.wired_limit_mb` says. Windows: `Win32_ComputerSystem`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["Gpu", "Hardware", "Room", "detect"]

_MIB = 1 << 20
_SECONDS = 5.0                  # that a tool of the system has to answer
_REST = 0.25                    # of memory, for the system and other programs
_APPLE = 0.73                   # of its memory that a Mac's GPU gets
_DRIVER = 768 * _MIB            # of a card, for the driver and the screen
_CARD = 2 << 30                 # less is what a processor's own graphics set aside, no card


class Gpu(NamedTuple):
    """One graphics card, or several of one kind together. `kind`: "cuda", "rocm" or "metal"; bytes of its memory."""

    kind: str
    name: str
    bytes: int


class Room(NamedTuple):
    """A place where a model can lie while it runs: what people call it, and the bytes that a model can have of it."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Hardware:
    """What there is.

    Attributes:
        memory: bytes of the computer, or of the container; 0 where it cannot be told.
        gpus: the cards.
        limit: the person's word for how many bytes a model may have; None: what follows from the rest.
    """

    memory: int
    gpus: tuple[Gpu, ...] = ()
    limit: int | None = None

    @property
    def gpu(self) -> str:
        """The kind of the cards; "none"."""
        return self.gpus[0].kind if self.gpus else "none"

    @property
    def rooms(self) -> tuple[Room, ...]:
        """Where models can lie, the fastest first; several cards count together, as programs split models over them.
        Empty where nothing is known."""
        if self.limit is not None:
            return (Room("the memory that you named", self.limit),)
        cards = sum(max(0, gpu.bytes - (0 if gpu.kind == "metal" else _DRIVER)) for gpu in self.gpus)
        found = [Room("the memory of the GPU", cards)] if cards else []
        if self.memory and self.gpu != "metal":
            found.append(Room("memory", int(self.memory * (1 - _REST))))
        return tuple(found)


def detect(
    platform: str, machine: str, environ: Mapping[str, str], *, memory: int | None = None, gpu: str = "",
    root: Path = Path("/"),
) -> Hardware:
    """Look at this computer.

    Args:
        platform: "linux", "darwin" or "win32".
        machine: "x86_64", "arm64", ...
        environ: PATH says where tools are; CUDA_VISIBLE_DEVICES.
        memory: bytes that a model may have, instead of what is found.
        gpu: the kind of GPU instead of what is found: "cuda", "rocm", "metal" or "none".
        root: where /proc and /sys are.
    """
    here = _of_mac(machine, environ) if platform == "darwin" else (
        Hardware(_number(_told(environ, "powershell", "-NoProfile", "-Command",
                               "(Get-CimInstance Win32_ComputerSystem).TotalPhysicalMemory")), _nvidia(environ))
        if platform == "win32" else Hardware(_of_linux(root), _nvidia(environ) or _amd(root)))
    cards = here.gpus
    if gpu == "none":
        cards = ()
    elif gpu:
        share = int(here.memory * _APPLE) if gpu == "metal" else 0
        cards = tuple(one for one in cards if one.kind == gpu) or (Gpu(gpu, gpu, share),)
    return Hardware(here.memory, cards, memory)


def _of_linux(root: Path) -> int:
    """Bytes of memory; what the control group allows, where that is less."""
    sizes = []
    with suppress(OSError, ValueError, IndexError):
        line = next(line for line in (root / "proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
        sizes.append(int(line.split()[1]) * 1024)
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            sizes.append(int((root / name).read_text()))
    return min((size for size in sizes if size > 0), default=0)


def _of_mac(machine: str, environ: Mapping[str, str]) -> Hardware:
    memory = _number(_told(environ, "sysctl", "-n", "hw.memsize"))
    if machine not in ("arm64", "aarch64"):
        return Hardware(memory)
    wired = _number(_told(environ, "sysctl", "-n", "iogpu.wired_limit_mb")) * _MIB
    return Hardware(memory, (Gpu("metal", "Apple silicon", wired or int(memory * _APPLE)),))


def _nvidia(environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    found = []
    told = _told(environ, "nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")
    for line in told.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != 4:
            continue
        size = _number(parts[3])                        # none of its own where it shares the computer's: [N/A]
        chosen = [one.strip() for one in visible.split(",")] if visible is not None else [parts[0]]
        if any(one and (one == parts[0] or parts[1].startswith(one)) for one in chosen):
            found.append(Gpu("cuda", parts[2], size * _MIB))
    return tuple(found)


def _amd(root: Path) -> tuple[Gpu, ...]:
    found = []
    for file in sorted(root.glob("sys/class/drm/card[0-9]*/device/mem_info_vram_total")):
        with suppress(OSError, ValueError):
            size = int(file.read_text())
            if size >= _CARD:
                found.append(Gpu("rocm", "AMD", size))
    return tuple(found)


def _told(environ: Mapping[str, str], *command: str) -> str:
    """What a tool of the system prints; "" where it is not there or does not answer."""
    import shutil

    tool = shutil.which(command[0], path=environ.get("PATH"))
    if tool is None:
        return ""
    try:
        done = subprocess.run([tool, *command[1:]], capture_output=True, text=True, errors="replace",  # noqa: S603
                              timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL, env=dict(environ))
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _number(text: str) -> int:
    """A whole number, or 0."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
