"""What is said where a registry cannot be reached: our words, not an HTTP client's."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from helixstore.errors import HelixError
from helixstore.oci import wire
from helixstore.oci.access import Patience
from helixstore.oci.registry import Registry

Opened = Callable[..., Registry]

HURRY = Patience(tries=2, wait=lambda _: None, silence=0.3)


def said(opened: Opened, host: str) -> str:
    with pytest.raises(HelixError) as error:
        opened(host, patience=HURRY).manifest()
    return error.value.message


def test_a_name_without_an_address(opened: Opened) -> None:
    assert said(opened, "registry.invalid") == (
        "registry.invalid has no address: this computer is offline, or the name is wrong")


def test_a_port_at_which_nobody_listens(opened: Opened) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    assert said(opened, nobody) == f"{nobody} refuses the connection"


def test_one_that_takes_the_connection_and_says_nothing(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_CONNECT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        assert said(opened, host) == f"{host} does not answer"
