"""What names a model in a registry, and what does not."""

from __future__ import annotations

import pytest

from helixstore.errors import Usage
from helixstore.oci.reference import Reference, is_loopback, noted_reference, read_reference

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(("text", "reference"), [
    ("oci://registry.example/team/llama:q4", Reference("registry.example", "team/llama", "q4")),
    ("registry.example/llama", Reference("registry.example", "llama", "latest")),
    ("oci://localhost/a/b/c:v1", Reference("localhost", "a/b/c", "v1")),
    ("oci://localhost:5000/a__b-c.d", Reference("localhost:5000", "a__b-c.d", "latest")),
    ("oci://[::1]:5000/a:Q4_K_M", Reference("[::1]:5000", "a", "Q4_K_M")),
    (f"oci://r.example:443/a@sha256:{HEX}", Reference("r.example:443", "a", None, HEX)),
    (f"oci://r.example/a:v1@sha256:{HEX}", Reference("r.example", "a", "v1", HEX)),
])
def test_names_that_are(text: str, reference: Reference) -> None:
    assert read_reference(text) == reference
    assert read_reference(str(reference)) == reference


@pytest.mark.parametrize("text", [
    "", "oci://", "oci:///a", "llama", "team/llama", "oci://registry.example", "oci://registry.example/",
    "oci://registry.example/Team/Llama", "oci://registry.example/a//b", "oci://registry.example/../b:v",
    "oci://registry.example/a:", "oci://registry.example/a:-x", "oci://registry.example/a:" + "x" * 129,
    "oci://registry.example/a@sha256:12", f"oci://registry.example/a@sha512:{HEX}{HEX}", "oci://user:pw@r.example/a",
    "oci://registry.example/" + "a" * 256, "https://registry.example/a", "oci://registry.example/a?x=1",
    "oci://registry.example/a b", "oci://registry.exa\x1bmple/a", "oci://-x.example/a", "oci://r.example:port/a",
])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(Usage) as caught:
        read_reference(text)
    assert "\x1b" not in str(caught.value)
    assert caught.value.remedy.startswith("write it as ")


def test_capitals_are_told_how_to_be_written() -> None:
    with pytest.raises(Usage) as caught:
        read_reference("oci://registry.example/Team/Llama-3:Q4")
    assert caught.value.remedy == "write it as oci://registry.example/team/llama-3:Q4"


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
