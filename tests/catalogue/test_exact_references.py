"""Exact references: what each spelling means, that it comes back from its text, and that nothing else is taken."""

from __future__ import annotations

import re
import string

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from hypothesis import example, given
from hypothesis import strategies as st

from helixstore.catalogue import (
    HubReference,
    OciReference,
    OllamaReference,
    PathReference,
    Reference,
    UrlReference,
    parse_reference,
)
from helixstore.errors import Usage

SHA = "0123456789abcdef" * 4


@pytest.mark.parametrize(("text", "meant"), [
    ("hf:org/name", HubReference("org/name")),
    ("org/name", HubReference("org/name")),
    ("HF:Org/Name", HubReference("Org/Name")),
    ("hf://org/name", HubReference("org/name")),
    ("huggingface://org/name/file.gguf", HubReference("org/name", file="file.gguf")),
    ("hf.co/org/name:Q4_K_M", HubReference("org/name", quantization="Q4_K_M")),
    ("ollama:hf.co/org/name:q4_k_m", HubReference("org/name", quantization="Q4_K_M")),
    ("ollama:hf.co/org/name", HubReference("org/name")),
    ("org/name:q8_0", HubReference("org/name", quantization="Q8_0")),
    ("hf:org/name:UD-Q4_K_XL", HubReference("org/name", quantization="UD-Q4_K_XL")),
    ("hf:org/name:4bit", HubReference("org/name", quantization="4BIT")),
    ("hf:org/name@main", HubReference("org/name", "main")),
    ("hf:org/name@refs/pr/1:BF16", HubReference("org/name", "refs/pr/1", quantization="BF16")),
    ("hf:org/name@4.0bpw", HubReference("org/name", "4.0bpw")),
    ("hf:org/name:model-Q4_K_M.gguf", HubReference("org/name", file="model-Q4_K_M.gguf")),
    ("hf:org/name:BF16/model-00001-of-00002.gguf", HubReference("org/name", file="BF16/model-00001-of-00002.gguf")),
    ("https://huggingface.co/org/name", HubReference("org/name")),
    ("https://huggingface.co/org/name/", HubReference("org/name")),
    ("https://hf.co/org/name/tree/main", HubReference("org/name", "main")),
    ("https://huggingface.co/org/name/tree/refs%2Fpr%2F1", HubReference("org/name", "refs/pr/1")),
    ("https://huggingface.co/org/name/resolve/v1/a/b.gguf?download=true", HubReference("org/name", "v1", "a/b.gguf")),
    ("https://huggingface.co/org/name/blob/main/with%20space.md", HubReference("org/name", "main", "with space.md")),
    ("https://huggingface.co/org/name/discussions/3", HubReference("org/name")),
    ("ollama:llama3", OllamaReference("llama3")),
    ("ollama:llama3:8b", OllamaReference("llama3", "8b")),
    ("ollama://llama3:8b-instruct-q4_K_M", OllamaReference("llama3", "8b-instruct-q4_K_M")),
    ("ollama:someone/llama3:8b", OllamaReference("llama3", "8b", "someone")),
    ("ollama:registry.example/team/llama3:8b", OllamaReference("llama3", "8b", "team", "registry.example")),
    ("ollama:localhost:5000/team/llama3", OllamaReference("llama3", "latest", "team", "localhost:5000")),
    ("ollama:registry.ollama.ai/library/llama3:8b", OllamaReference("llama3", "8b")),
    ("https://ollama.com/library/llama3:8b", OllamaReference("llama3", "8b")),
    ("https://ollama.com/someone/llama3", OllamaReference("llama3", "latest", "someone")),
    ("oci://registry.example/team/name:v1", OciReference("registry.example", "team/name", "v1")),
    ("oci://localhost:5000/name", OciReference("localhost:5000", "name", "latest")),
    ("oci://[::1]:5000/name:v1", OciReference("[::1]:5000", "name", "v1")),
    ("oci://localhost:5000/a__b-c.d/e", OciReference("localhost:5000", "a__b-c.d/e", "latest")),
    (f"oci://registry.example/name@sha256:{SHA}", OciReference("registry.example", "name", "", f"sha256:{SHA}")),
    (f"oci://registry.example/name:v1@sha256:{SHA}", OciReference("registry.example", "name", "v1", f"sha256:{SHA}")),
    (f"https://example.org/a.gguf#sha256={SHA}", UrlReference("https://example.org/a.gguf", SHA)),
    (f"https://example.org/a.gguf?x=1#sha256={SHA.upper()}", UrlReference("https://example.org/a.gguf?x=1", SHA)),
    (f"HTTPS://Example.org:8443/a#sha256:{SHA}", UrlReference("https://example.org:8443/a", SHA)),
    (f"http://127.0.0.1:9/a#sha256={SHA}", UrlReference("http://127.0.0.1:9/a", SHA)),
    (f"http://[::1]/a#sha256={SHA}", UrlReference("http://[::1]/a", SHA)),
    ("/models/a.gguf", PathReference("/models/a.gguf")),
    ("./a", PathReference("./a")),
    ("../a", PathReference("../a")),
    ("~/models", PathReference("~/models")),
    (".", PathReference(".")),
    ("a.gguf", PathReference("a.gguf")),
    ("org/name:a.gguf", HubReference("org/name", file="a.gguf")),
    ("folder/a.safetensors", PathReference("folder/a.safetensors")),
    (r"C:\models\a.gguf", PathReference(r"C:\models\a.gguf")),
    ("file:///models/with%20space.gguf", PathReference("/models/with space.gguf")),
    ("file:///C:/models", PathReference("C:/models")),
    ("file:rel/a", PathReference("rel/a")),
])
def test_each_spelling_means_one_thing(text: str, meant: Reference) -> None:
    found = parse_reference(text)
    assert found == meant
    assert parse_reference(str(found)) == found


@pytest.mark.parametrize("name", ["llama-3-8b-instruct", "llama3:8b", "Llama 3 8B", "qwen2.5:0.5b", "mistral", "c"])
def test_a_plain_name_is_for_the_catalogue(name: str) -> None:
    assert parse_reference(name) is None


@pytest.mark.parametrize(("text", "says"), [
    ("", "empty"), (" hf:a/b", "spaces"), ("hf:a/b\n", "spaces"), ("hf:a/b\x00c", "invisible"),
    ("hf:a/\u202eb", "invisible"), ("hf:" + "a" * 5000, "longer"),
    ("hf:", "no repository"), ("hf:name", "no repository"), ("hf:../b", "no repository"), ("hf:a/..", "no repository"),
    ("hf:a/b.git", "no repository"), ("hf:a/b--c", "no repository"), ("hf:-a/b", "no repository"),
    ("hf:a/b/c/d", "no file"), ("hf:ä/b", "no repository"), ("hf:a//b", "is no file"),
    ("hf:a/b@", "no revision"), ("hf:a/b@../x", "no revision"), ("hf:a/b@a..b", "no revision"),
    ("hf:a/b@-x", "no revision"), ("hf:a/b@x y", "no revision"),
    ("hf:a/b:", "colon"), ("hf:a/b:nonsense", "neither a file nor"), ("hf:a/b:../x.gguf", "climbs"),
    ("hf:a/b:/etc/pass.wd", "absolute"), ("hf:a/b:c:d.gguf", "Windows"), ("hf:a/b:x\\y.gguf", "Windows"),
    ("hf:a/b:con.txt", "device"), ("hf:a/b:x/", "empty part"),
    ("models/llama/a.gguf", "may be a file here"),
    ("ollama:", "no model"), ("ollama:a b", "no model"), ("ollama:../../etc", "no model"),
    ("ollama:a/b/c/d", "no model"),
    ("ollama:host:99999/a/b", "no model"), ("ollama:a:", "no model"), ("ollama:/a", "no model"),
    ("ollama:a:b:c", "no model"), ("ollama:x/..:y", "no model"),
    ("oci://", "no registry"), ("oci:///name", "no registry"), ("oci://host/Name", "no name"),
    ("oci://host/a//b", "no name"), ("oci://host/../x", "no name"), ("oci://host/a:", "no tag"),
    ("oci://host/a:b c", "no tag"), ("oci://host/a@sha256:12", "no digest"), ("oci://host:0/a", "no registry"),
    ("oci://registry.example", "no name"), ("oci://host/a?x=1", "no name"), ("oci://host/" + "a" * 256, "no name"),
    ("oci://host/a:-x", "no tag"), ("oci://host/a:" + "x" * 129, "no tag"), ("oci://host/a@md5:12", "no digest"),
    ("oci://registry.exa\x1bmple/a", "invisible"), ("oci://-x.example/a", "no registry"),
    ("oci://host:port/a", "no registry"),
    ("oci://user:secret@host/a", "no registry"), ("oci://host/a@sha256:" + SHA.upper(), "no digest"),
    ("https://example.org/a.gguf", "no digest"), ("https://example.org/a#sha256=12", "no SHA-256"),
    (f"https://example.org/a#md5={SHA}", "no SHA-256"), (f"https://example.org/#sha256={SHA}", "names no file"),
    (f"http://example.org/a#sha256={SHA}", "not encrypted"), (f"https:///a#sha256={SHA}", "no server"),
    (f"https://user:secret@example.org/a#sha256={SHA}", "password"), (f"https://[::1/a#sha256={SHA}", "cannot be read"),
    (f"https://example.org:x/a#sha256={SHA}", "cannot be read"), (f"https://a\\b/c#sha256={SHA}", "no server"),
    ("https://huggingface.co/datasets/org/name", "no page of a model"), ("https://huggingface.co/org", "no page"),
    ("https://huggingface.co/spaces/org/name", "no page of a model"),
    ("https://huggingface.co/org/name/tree/main/folder", "folder"),
    ("https://huggingface.co/org/name/resolve/main", "no file"),
    ("https://huggingface.co/org/name/resolve/main/..%2F..%2Fx.gguf", "climbs"),
    ("https://huggingface.co/org/name/upload/main", "no page of files"),
    (f"https://huggingface.co/org/name#sha256={SHA}", "tells the digest"),
    ("ftp://example.org/a", "nobody knows"), ("s3://bucket/a", "nobody knows"), ("javascript://x", "nobody knows"),
    ("file://server/share", "another machine"), ("file:", "no file"), ("file:///a%00b", "invisible"),
    ("//x/y", "no file"),
])
def test_what_cannot_be_meant_is_refused_with_a_way_on(text: str, says: str) -> None:
    with pytest.raises(Usage, match=re.escape(says)) as caught:
        parse_reference(text)
    assert caught.value.message
    assert caught.value.remedy
    assert caught.value.message.isprintable()
    assert "secret" not in caught.value.message + caught.value.remedy
    assert len(caught.value.message) < 500


def test_capitals_in_the_name_of_a_repository_are_told_how_to_be_written() -> None:
    with pytest.raises(Usage) as caught:
        parse_reference("oci://registry.example/Team/Llama-3:Q4")
    assert caught.value.remedy == "in small letters: oci://registry.example/team/llama-3"


@given(st.text(max_size=200))
@example("hf:0/0@" + "a" * 300)
@example("https://[")
@example("file://\udcff")
def test_any_text_is_a_reference_a_name_or_refused(text: str) -> None:
    try:
        found = parse_reference(text)
    except Usage:
        return
    if found is not None:
        assert parse_reference(str(found)) == found


@given(st.sampled_from(["hf:", "ollama:", "oci://", "https://", "https://huggingface.co/", "file:", "", "hf.co/"]),
       st.text(alphabet=string.ascii_letters + string.digits + "-_./:@#%?= ", max_size=60))
def test_any_text_behind_a_scheme_too(scheme: str, rest: str) -> None:
    try:
        found = parse_reference(scheme + rest)
    except Usage:
        return
    if found is not None:
        assert parse_reference(str(found)) == found
        assert not isinstance(found, HubReference) or ".." not in (found.file or "").split("/")


_ANY = st.text(alphabet="abYZ09-_.é", min_size=1, max_size=12)


@given(st.builds("{}/{}".format, _ANY, _ANY))
@example("a" * 97 + "/b")
@example("a" * 96 + "/" + "b" * 96)
def test_repositories_are_those_that_the_hubs_client_takes(repository: str) -> None:
    try:
        validate_repo_id(repository)
        fine = True
    except HFValidationError:
        fine = False
    try:
        taken = parse_reference("hf:" + repository) == HubReference(repository)
    except Usage:
        taken = False
    assert taken == fine


_PART = st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)*", fullmatch=True).filter(
    lambda text: len(text) < 40 and "--" not in text and not text.endswith(".git"))
_FILES = st.lists(_PART, min_size=1, max_size=3).map(lambda parts: "/".join(parts) + ".gguf")
_REFERENCES = st.one_of(
    st.builds(HubReference, st.builds("{}/{}".format, _PART, _PART), st.none() | _PART, _FILES),
    st.builds(HubReference, st.builds("{}/{}".format, _PART, _PART), st.none() | _PART, st.none(),
              st.sampled_from(["", "Q4_K_M", "UD-IQ2_XXS", "BF16", "4BIT", "INT4", "MXFP4"])),
    st.builds(OllamaReference, _PART, _PART, _PART,
              st.sampled_from(["registry.ollama.ai", "a.example", "localhost:1"])),
    st.builds(OciReference, st.sampled_from(["a.example", "localhost:5000", "[::1]:5000"]), _PART, _PART,
              st.sampled_from(["", f"sha256:{SHA}", "sha512:" + SHA * 2])),
    st.builds(UrlReference, st.builds("https://{}.example/{}".format, _PART, _PART), st.just(SHA)),
    st.builds(PathReference, st.builds("/{}".format, _FILES)),
)


@given(_REFERENCES)
def test_a_reference_comes_back_from_its_text(reference: Reference) -> None:
    assert parse_reference(str(reference)) == reference
