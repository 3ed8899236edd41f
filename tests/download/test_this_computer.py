"""What is found of a computer: from the files of a system that is not this one, and tools that answer as real ones."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from helixstore.hardware import Gpu, detect
from helixstore.sizes import bytes_of

GIB, MIB = 1 << 30, 1 << 20


def put(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def tool(folder: Path, name: str, script: str) -> dict[str, str]:
    """A tool of the system, as a real command in a folder of its own."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_memory_of_linux_is_what_the_container_may_have(tmp_path: Path) -> None:
    root = put(tmp_path, proc__meminfo="MemTotal:       32768000 kB\nMemFree: 1 kB\n")
    assert detect("linux", "x86_64", {}, root=root).memory == 32768000 * 1024
    put(tmp_path, **{"sys__fs__cgroup__memory.max": "max\n"})
    assert detect("linux", "x86_64", {}, root=root).memory == 32768000 * 1024
    put(tmp_path, **{"sys__fs__cgroup__memory.max": f"{8 * GIB}\n"})
    here = detect("linux", "x86_64", {}, root=root)
    assert here.memory == 8 * GIB
    assert [(room.name, room.bytes) for room in here.rooms] == [("memory", 6 * GIB)]


def test_cards_of_nvidia_that_are_not_kept_for_something_else(tmp_path: Path) -> None:
    environ = tool(tmp_path / "bin", "nvidia-smi", """echo "0, GPU-aaaa, NVIDIA GeForce RTX 4090, 24564
1, GPU-bbbb, NVIDIA L4, 23034
2, GPU-cccc, NVIDIA GB10, [N/A]" """)
    root = put(tmp_path / "root", proc__meminfo="MemTotal: 1000000 kB\n")
    cards = (Gpu("cuda", "NVIDIA GeForce RTX 4090", 24564 * MIB), Gpu("cuda", "NVIDIA L4", 23034 * MIB),
             Gpu("cuda", "NVIDIA GB10", 0))
    assert detect("linux", "x86_64", environ, root=root).gpus == cards
    for visible, wanted in {"1": cards[1:2], "GPU-aaaa": cards[:1], "": (), "-1": (), "1,0": cards[:2]}.items():
        assert detect("linux", "x86_64", {**environ, "CUDA_VISIBLE_DEVICES": visible}, root=root).gpus == wanted
    here = detect("linux", "x86_64", environ, root=root)
    assert here.gpu == "cuda"
    assert [room.bytes for room in here.rooms] == [(24564 + 23034 - 2 * 768) * MIB, 750000 * 1024]


@pytest.mark.parametrize("script", ["exit 9", "echo NVIDIA-SMI has failed", "kill -9 $$"])
def test_a_driver_that_fails_is_no_card(tmp_path: Path, script: str) -> None:
    environ = tool(tmp_path / "bin", "nvidia-smi", script)
    assert detect("linux", "x86_64", environ, root=tmp_path).gpu == "none"


def test_a_card_of_amd_and_the_graphics_of_a_processor(tmp_path: Path) -> None:
    root = put(tmp_path, sys__class__drm__card0__device__mem_info_vram_total="536870912\n",
               sys__class__drm__card1__device__mem_info_vram_total=f"{16 * GIB}\n")
    assert detect("linux", "x86_64", {"PATH": ""}, root=root).gpus == (Gpu("rocm", "AMD", 16 * GIB),)


def test_a_mac_with_apple_silicon_gives_its_gpu_a_share(tmp_path: Path) -> None:
    environ = tool(tmp_path / "bin", "sysctl", f'[ "$2" = hw.memsize ] && echo {16 * GIB} || echo 0')
    here = detect("darwin", "arm64", environ)
    assert (here.memory, here.gpu) == (16 * GIB, "metal")
    assert [round(room.bytes / GIB, 1) for room in here.rooms] == [11.7]
    environ = tool(tmp_path / "more", "sysctl", f'[ "$2" = hw.memsize ] && echo {16 * GIB} || echo 14000')
    assert [room.bytes for room in detect("darwin", "arm64", environ).rooms] == [14000 * MIB]
    assert detect("darwin", "x86_64", environ).gpu == "none"


def test_the_person_knows_better(tmp_path: Path) -> None:
    root = put(tmp_path, proc__meminfo="MemTotal: 8000000 kB\n")
    here = detect("linux", "x86_64", {}, memory=64 * GIB, gpu="cuda", root=root)
    assert here.gpu == "cuda"
    assert [room.bytes for room in here.rooms] == [64 * GIB]
    environ = tool(tmp_path / "bin", "nvidia-smi", 'echo "0, GPU-a, L4, 23034"')
    assert detect("linux", "x86_64", environ, gpu="none", root=root).gpus == ()
    apple = detect("linux", "x86_64", {}, gpu="metal", root=root)
    assert (apple.gpu, [room.bytes for room in apple.rooms]) == ("metal", [5_980_160_000]), "73 % of the memory"


def test_a_system_that_says_nothing_has_no_rooms(tmp_path: Path) -> None:
    assert detect("linux", "riscv64", {"PATH": ""}, root=tmp_path).rooms == ()
    put(tmp_path, proc__meminfo="MemTotal: many kB\n")
    assert detect("linux", "riscv64", {"PATH": ""}, root=tmp_path).rooms == ()


def test_this_very_computer_has_memory() -> None:
    here = detect(sys.platform, platform.machine(), os.environ)
    assert GIB < here.memory < 1 << 50


@pytest.mark.parametrize(("text", "wanted"), [
    ("16GB", 16 * 10**9), ("24 GiB", 24 * GIB), ("8g", 8 * 10**9), ("1.5T", 15 * 10**11), ("123456", 123456),
    ("lots", None), ("", None), ("-1GB", None), ("1e9", None), ("5 GBs", None)])
def test_sizes_as_people_type_them(text: str, wanted: int | None) -> None:
    assert bytes_of(text) == wanted
