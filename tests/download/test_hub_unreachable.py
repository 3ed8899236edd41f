"""What is said where the hub cannot be reached: our words, not its client's."""

from __future__ import annotations

import socket

import pytest

from helixstore.errors import Passing
from support.person import Person


def said(person: Person, endpoint: str) -> str:
    person.environ["HF_ENDPOINT"] = endpoint
    with person.open() as store, pytest.raises(Passing) as error:
        store.download("hf:acme/nothing")
    return error.value.message


def test_a_name_without_an_address(person: Person) -> None:
    assert said(person, "https://hub.invalid") == (
        "acme/nothing: hub.invalid has no address: this computer is offline, or the name is wrong")


def test_a_port_at_which_nobody_listens(person: Person) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    assert said(person, f"http://{nobody}") == f"acme/nothing: {nobody} refuses the connection"
