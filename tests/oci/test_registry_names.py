"""What a source names in a registry, and which hosts are this computer."""

from __future__ import annotations

import pytest

from helixstore.oci.reference import Reference, is_loopback, noted_reference


@pytest.mark.parametrize(("text", "reference"), [
    ("registry.example/team/llama:q4", Reference("registry.example", "team/llama", "q4")),
    ("127.0.0.1:5000/Ana/Model:Q8_0", Reference("127.0.0.1:5000", "Ana/Model", "Q8_0")),
    ("registry.example/llama", Reference("registry.example", "llama", None)),
])
def test_what_a_source_names(text: str, reference: Reference) -> None:
    assert noted_reference(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize("text", ["", "a", "a/", "a/../x", "a/x y", "a/b:", "h?t/a/b", "a/x/..:y", "a/b:c:d", "u@h/a"])
def test_what_a_source_cannot_name(text: str) -> None:
    assert noted_reference(text) is None


@pytest.mark.parametrize(("host", "here"), [
    ("localhost", True), ("localhost:5000", True), ("127.0.0.1", True), ("127.9.9.9:1", True), ("[::1]", True),
    ("[::1]:5000", True), ("localhost.example", False), ("127.0.0.1.example:80", False), ("10.0.0.1:5000", False),
    ("registry.example", False), ("[::2]:5000", False),
])
def test_this_computer(host: str, here: bool) -> None:
    assert is_loopback(host) is here
