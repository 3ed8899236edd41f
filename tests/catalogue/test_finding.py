"""Names as people type them, the near ones, searching, and the person's own entries over ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helixstore.catalogue import Capability, Catalogue, HubReference, OllamaReference
from helixstore.errors import NotFound
from helixstore.values import Format

CATALOGUE = Catalogue()
MINE = """\
# mine
[cite]
page = "https://example.org/models"

["our-model-7b"]
aliases = ["ours"]
can = ["chat"]
parameters = 7_000_000_000
sources = [{ format = "gguf", at = "oci://registry.example/models/ours:v1" }]
"""


def own(folder: Path, text: str | bytes) -> Catalogue:
    file = folder / "models.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(0o600)
    return Catalogue(file)


@pytest.mark.parametrize(("typed", "name"), [
    ("llama-3-8b-instruct", "llama-3-8b-instruct"), ("Llama 3 8B Instruct", "llama-3-8b-instruct"),
    ("llama3:8b", "llama-3-8b-instruct"), ("LLAMA3:8B", "llama-3-8b-instruct"), ("llama3", "llama-3-8b-instruct"),
    ("llama_3_8b_instruct", "llama-3-8b-instruct"), ("Meta-Llama-3-8B-Instruct", "llama-3-8b-instruct"),
    ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3-8b-instruct"),
    ("hf:lmstudio-community/meta-llama-3-8b-instruct-gguf", "llama-3-8b-instruct"),
    ("llama3.1", "llama-3.1-8b-instruct"), ("llama-3.1-8b", "llama-3.1-8b-instruct"),
    ("llama 3.2:1b", "llama-3.2-1b-instruct"), ("llama3.2:latest", "llama-3.2-3b-instruct"),
    ("mistral", "mistral-7b-instruct"), ("Mistral-7B", "mistral-7b-instruct"), ("codellama", "codellama-7b-instruct"),
    ("CodeLlama 7B", "codellama-7b-instruct"), ("qwen2.5:7b", "qwen2.5-7b-instruct"),
    ("qwen25-7b", "qwen2.5-7b-instruct"), ("Qwen3:30b", "qwen3-30b-a3b"), ("qwen3-30b-a3b", "qwen3-30b-a3b"),
    ("gemma3:4b", "gemma-3-4b-it"), ("gemma-3-4b", "gemma-3-4b-it"), ("gemma 3 4b", "gemma-3-4b-it"),
    ("phi4", "phi-4"), ("phi4-mini", "phi-4-mini-instruct"), ("gpt-oss", "gpt-oss-20b"),
    ("gptoss:120b", "gpt-oss-120b"),
    ("deepseek-r1:14b", "deepseek-r1-distill-qwen-14b"), ("nomic-embed-text", "nomic-embed-text-v1.5"),
    # as LM Studio, vLLM and the hub write them
    ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct"), ("embeddinggemma", "embeddinggemma-300m"),
    ("Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct"),
    ("openai/gpt-oss-20b", "gpt-oss-20b"), ("qwen/qwen3-8b", "qwen3-8b"), ("Qwen/Qwen3.6-35B-A3B", "qwen3.6-35b-a3b"),
    ("google/gemma-3-12b-it", "gemma-3-12b-it"), ("microsoft/phi-4", "phi-4"),
    ("gemma4:31b", "gemma-4-31b-it"), ("qwen3-coder:30b", "qwen3-coder-30b-a3b-instruct"), ("smollm3", "smollm3-3b"),
    ("mixtral:8x7b", "mixtral-8x7b-instruct"), ("all-minilm", "all-minilm-l6-v2"), ("TinyLlama", "tinyllama-1.1b-chat"),
])
def test_spelling_does_not_count(typed: str, name: str) -> None:
    assert CATALOGUE.find(typed).name == name


@pytest.mark.parametrize(("typed", "meant"), [
    ("lama3:8b", "llama-3-8b-instruct"), ("llama-3-8b-instrct", "llama-3-8b-instruct"),
    ("llama-3-8b-insturct", "llama-3-8b-instruct"), ("llamma-3-8b", "llama-3-8b-instruct"),
    ("llama 8b", "llama-3-8b-instruct"), ("mistal-7b", "mistral-7b-instruct"),
    ("mistral-7b-instuct", "mistral-7b-instruct"),
    ("mixtrl 8x7b", "mixtral-8x7b-instruct"), ("codelama", "codellama-7b-instruct"),
    ("code-llama-7", "codellama-7b-instruct"), ("quen3-8b", "qwen3-8b"), ("qwen-3-8", "qwen3-8b"),
    ("qwen2.5-codr-7b", "qwen2.5-coder-7b-instruct"), ("gemma3-12", "gemma-3-12b-it"), ("gema3:4b", "gemma-3-4b-it"),
    ("deepsek-r1", "deepseek-r1"), ("deepseek r1 llama", "deepseek-r1-distill-llama-8b"),
    ("phi-4-min", "phi-4-mini-instruct"),
    ("gpt-os-20b", "gpt-oss-20b"), ("tinylama", "tinyllama-1.1b-chat"), ("smollm-1.7b", "smollm2-1.7b-instruct"),
    ("nomic", "nomic-embed-text-v1.5"), ("mxbai-embed", "mxbai-embed-large-v1"), ("devstrall", "devstral-small-2507"),
    ("codestrall-22b", "codestral-22b"), ("minicpm", "minicpm-v-2.6"), ("starcoder", "starcoder2-7b"),
])
def test_real_typos_find_what_was_meant(typed: str, meant: str) -> None:
    with pytest.raises(NotFound, match=re.escape(typed)) as caught:
        CATALOGUE.find(typed)
    near = CATALOGUE.suggest(typed)
    assert meant in near
    assert meant in caught.value.remedy
    assert len(near) <= 3


@pytest.mark.parametrize(("typed", "meant"), [
    # sizes that are left out, names of files, names with a quantisation, and another owner's repository
    ("qwen3.6", {"qwen3.6-27b", "qwen3.6-35b-a3b"}), ("gemma4", {"gemma-4-12b-it", "gemma-4-31b-it"}),
    ("granite3.3", {"granite-3.3-2b-instruct", "granite-3.3-8b-instruct"}),
    ("Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", {"llama-3.1-8b-instruct"}),
    ("llama3.1:8b-instruct-q4_K_M", {"llama-3.1-8b-instruct"}), ("google/gemma-3-4b", {"gemma-3-4b-it"}),
    ("meta/llama-3.3-70b", {"llama-3.3-70b-instruct"}), ("qwen3-4b-2507", {"qwen3-4b-instruct-2507"})])
def test_what_names_more_or_less_than_one_model_is_answered_with_those(typed: str, meant: set[str]) -> None:
    with pytest.raises(NotFound):
        CATALOGUE.find(typed)
    assert meant <= set(CATALOGUE.suggest(typed))


def test_what_is_much_less_like_it_is_not_suggested() -> None:
    assert set(CATALOGUE.suggest("minicpm-v")) == {"minicpm-v-2.6", "minicpm-v-4.5"}
    assert "smollm3-3b" in CATALOGUE.suggest("smollm-3b")


@pytest.mark.parametrize("typed", ["xyzzy", "", "   ", "???", "\x1b[31m", "a" * 5000, "-", "12345"])
def test_what_is_like_nothing_gets_no_guess(typed: str) -> None:
    with pytest.raises(NotFound) as caught:
        CATALOGUE.find(typed)
    assert "mean" not in caught.value.remedy
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


def test_an_entry_gives_references_to_fetch() -> None:
    entry = CATALOGUE.find("qwen3-8b")
    gguf, ollama = entry.offers_of(Format.GGUF)
    assert gguf.reference("q4_k_m") == HubReference("unsloth/Qwen3-8B-GGUF", quantization="Q4_K_M")
    assert gguf.reference() == HubReference("unsloth/Qwen3-8B-GGUF")
    assert ollama.reference() == OllamaReference("qwen3", "8b")
    (mlx,) = entry.offers_of(Format.MLX)
    assert mlx.reference("4BIT") == HubReference("mlx-community/Qwen3-8B-4bit")
    with pytest.raises(NotFound, match="repository for each"):
        mlx.reference()
    with pytest.raises(NotFound, match="has no Q9_K"):
        gguf.reference("Q9_K")
    assert entry.formats[0] is Format.HF


def test_a_repository_tells_its_entry() -> None:
    entry = CATALOGUE.of_repository("Qwen/Qwen3-8B")
    assert entry is not None
    assert entry.name == "qwen3-8b"
    assert CATALOGUE.of_repository("mlx-community/qwen3-8b-4BIT") == entry
    assert CATALOGUE.of_repository("mlx-community/qwen3-8b-5bit") is None
    assert CATALOGUE.of_repository("nobody/nothing") is None
    for one in CATALOGUE.entries():
        for offer in one.offers:
            for quantization in offer.quantizations or ("",):
                reference = offer.reference(quantization)
                if isinstance(reference, HubReference):
                    assert CATALOGUE.of_repository(reference.repository) == one


def test_searching() -> None:
    names = {entry.name for entry in CATALOGUE.search(can=[Capability.EMBEDDING])}
    assert {"bge-m3", "nomic-embed-text-v1.5", "qwen3-embedding-0.6b"} <= names
    assert not any("instruct" in name for name in names)
    small = CATALOGUE.search(can=[Capability.CODE, Capability.CHAT], at_most=8_000_000_000, licence="Apache")
    assert {"qwen2.5-coder-7b-instruct", "qwen2.5-coder-1.5b-instruct"} <= {entry.name for entry in small}
    assert all(entry.parameters <= 8_000_000_000 and entry.licence == "apache-2.0" for entry in small)
    assert {entry.name for entry in CATALOGUE.search("Llama 3.1")} == {
        f"llama-3.1-{size}-instruct" for size in ("8b", "70b", "405b")}
    assert all(Format.EXL2 in entry.formats for entry in CATALOGUE.search(format_=Format.EXL2))
    assert CATALOGUE.search(at_least=300_000_000_000, can=[Capability.VISION])
    assert CATALOGUE.search("no such words") == ()
    everything = CATALOGUE.search()
    assert everything == CATALOGUE.entries()
    assert [entry.name for entry in everything] == sorted(entry.name for entry in everything)


def test_looking_up_one_name_is_quick() -> None:
    """From nothing, in a new process: what is imported is not counted, the file is. Of the processor's time, since
    others use it too."""
    script = ("import time\nfrom helixstore.catalogue import Catalogue\n"
              "start = time.process_time()\nCatalogue().find('llama3:8b')\nprint((time.process_time() - start) * 1000)")
    times = [float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
             for _ in range(5)]
    assert min(times) < 20, f"{times} ms"


# ---- the person's own ---------------------------------------------------------------------------------------------

def test_own_entries_stand_beside_ours(tmp_path: Path) -> None:
    catalogue = own(tmp_path, MINE)
    assert catalogue.issues == ()
    entry = catalogue.find("Ours")
    assert (entry.name, entry.own, entry.parameters) == ("our-model-7b", True, 7_000_000_000)
    assert str(entry.offers[0].reference()) == "oci://registry.example/models/ours:v1"
    assert catalogue.find("llama3:8b").name == "llama-3-8b-instruct"
    assert len(catalogue.entries()) == len(CATALOGUE.entries()) + 1
    assert catalogue.suggest("our-modl-7b")[0] == "our-model-7b"


def test_theirs_wins(tmp_path: Path) -> None:
    catalogue = own(tmp_path, '["llama-3-8b-instruct"]\naliases = ["mistral"]\n'
                              'sources = [{ format = "gguf", at = "hf:me/llama-GGUF" }]\n')
    assert catalogue.issues == ()
    entry = catalogue.find("llama-3-8b-instruct")
    assert [str(offer.reference()) for offer in entry.offers] == ["hf:me/llama-GGUF"]
    assert catalogue.find("mistral") == entry
    assert catalogue.find("mistral-7b-instruct").name == "mistral-7b-instruct"
    assert catalogue.of_repository("me/llama-GGUF") == entry
    assert catalogue.of_repository("meta-llama/Meta-Llama-3-8B-Instruct") is None
    assert len(catalogue.entries()) == len(CATALOGUE.entries())


BAD = {
    "toml": ('["x"]\ntitle = \n', 6, "Invalid value"),
    "unknown": ('["x"]\ntitel = "a"\nsources = [{ format = "gguf", at = "hf:a/b" }]\n', 5, "titel"),
    "none": ('["x"]\ntitle = "a"\n', 5, "no sources"),
    "format": ('["x"]\nsources = [{ format = "zip", at = "hf:a/b" }]\n', 5, "zip"),
    "place": ('["x"]\nsources = [{ format = "gguf", at = "hf:nonsense" }]\n', 5, "no repository"),
    "path": ('["x"]\nsources = [{ format = "gguf", at = "/etc/passwd" }]\n', 5, "no place"),
    "name": ('["X y"]\nsources = [{ format = "gguf", at = "hf:a/b" }]\n', 5, "name"),
    "quant": ('["x"]\nsources = [{ format = "gguf", at = "hf:a/b", quantizations = ["best"] }]\n', 5, "best"),
    "blank": ('["x"]\nsources = [{ format = "mlx", at = "hf:a/b-{quantization}" }]\n', 5, "quantizations too"),
    "can": ('["x"]\ncan = ["fly"]\nsources = [{ format = "gguf", at = "hf:a/b" }]\n', 5, "fly"),
    "number": ('["x"]\ncontext = -1\nsources = [{ format = "gguf", at = "hf:a/b" }]\n', 5, "context"),
    "text": ('["x"]\nparameters = "8b"\nsources = [{ format = "gguf", at = "hf:a/b" }]\n', 5, "parameters"),
    "shape": ('["x"]\nshape = { layers = 1 }\nsources = [{ format = "gguf", at = "hf:a/b" }]\n', 5, "shape"),
    "cite": ('["x"]\nsources = [{ format = "gguf", at = "hf:a/b", cite = "nowhere" }]\n', 5, "nowhere"),
    "seen": ('["x"]\nseen = ["page"]\nsources = [{ format = "gguf", at = "hf:a/b" }]\n', 5, "seen of another form"),
    "claim": ('["x"]\nseen = { litgpt = "price" }\nsources = [{ format = "gguf", at = "hf:a/b" }]\n', 5, "price"),
    "nothing": ('["x"]\nseen = { litgpt = "licence" }\nsources = [{ format = "gguf", at = "hf:a/b" }]\n', 5,
                "not what it is"),
    "page": ('["x"]\nlicence = "mit"\nseen = { nowhere = "licence" }\n'
             'sources = [{ format = "gguf", at = "hf:a/b" }]\n', 5, "nowhere"),
    "switch": ('["x"]\ngated = "no"\nsources = [{ format = "gguf", at = "hf:a/b" }]\n', 5, "gated"),
    "nested": ('["x"]\nsources = [{ format = "gguf", at = "hf:a/b" }]\n[y.z]\nq = 1\n', 5, "beside"),
    "twice": ('["first"]\nsources = [{ format = "gguf", at = "hf:c/d" }]\n', 5, "twice"),
}


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_entry_is_one_issue_and_the_rest_goes_on(tmp_path: Path, kind: str) -> None:
    bad, line, says = BAD[kind]
    catalogue = own(tmp_path, f'["first"]\nsources = [{{ format = "gguf", at = "hf:me/first" }}]\n\n\n{bad}\n'
                              '["last"]\nsources = [{ format = "gguf", at = "hf:me/last" }]\n')
    (issue,) = catalogue.issues
    assert issue.path == str(tmp_path / "models.toml")
    assert issue.message.startswith(f"line {line}")
    assert says in issue.message + issue.remedy
    assert issue.remedy
    assert str(catalogue.find("first").offers[0].reference()) == "hf:me/first"
    assert str(catalogue.find("last").offers[0].reference()) == "hf:me/last"
    assert catalogue.find("llama3:8b").name == "llama-3-8b-instruct"


@pytest.mark.parametrize(("content", "says"), [
    (b"\xff\xfe", "UTF-8"), (b"loose = 1\n", "belongs to no model"), (b"# only a remark\n" * 600_000, "bytes")])
def test_a_file_that_is_none_is_one_issue(tmp_path: Path, content: bytes, says: str) -> None:
    catalogue = own(tmp_path, content)
    (issue,) = catalogue.issues
    assert says in issue.message
    assert issue.remedy
    assert len(catalogue.entries()) == len(CATALOGUE.entries())


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\r\n", "\ufeff" + MINE, MINE.replace("\n", "\r\n")])
def test_files_as_editors_leave_them(tmp_path: Path, text: str) -> None:
    assert own(tmp_path, text).issues == ()


def test_no_file_is_no_issue(tmp_path: Path) -> None:
    assert Catalogue(tmp_path / "models.toml").issues == ()
    assert Catalogue(tmp_path / "a/b/models.toml").issues == ()
    assert Catalogue(tmp_path).issues[0].remedy


@pytest.mark.skipif(os.name != "posix", reason="modes of files are of POSIX")
def test_a_file_that_others_may_write_is_left_out(tmp_path: Path) -> None:
    catalogue = own(tmp_path, MINE)
    (tmp_path / "models.toml").chmod(0o666)
    assert "anybody may write" in catalogue.issues[0].message
    with pytest.raises(NotFound):
        catalogue.find("our-model-7b")


@given(st.text(max_size=300), st.sampled_from(['["x"]\n', "[cite]\n", "", '["x"]\nsources = [', '["a"]\n["a"]\n']))
def test_any_text_is_read_or_told(tmp_path_factory: pytest.TempPathFactory, text: str, start: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes((start + text).encode("utf-8", "surrogatepass"))
    file.chmod(0o600)
    catalogue = Catalogue(file)
    assert all(issue.message and issue.remedy and issue.message.isprintable() for issue in catalogue.issues)
    assert catalogue.find("llama3:8b").name
