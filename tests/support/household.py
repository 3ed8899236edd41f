"""A home in which all thirteen programs have been used for a year: some sixty models, many of them several times over.

Each program's files are written as that program writes them (providers' sources, see the layouts' docstrings), by hand:
nothing of helixstore is asked.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from helixstore.testing.models import gguf_bytes, safetensors_bytes

__all__ = ["HOST", "Household", "gguf", "hf", "made"]

HOST = ".".join(("registry", "ollama", "ai"))
_TYPES = {"F16": (1, "F16"), "Q8_0": (7, "Q8_0"), "Q4_K_M": (15, "Q4_K"), "Q6_K": (18, "Q6_K"),
          "IQ2_XXS": (19, "IQ2_XXS")}
_IMAGE = "application/vnd.ollama.image."


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def gguf(name: str, quant: str = "Q4_K_M", seed: int = 0, architecture: str = "llama", tower: bool = False) -> bytes:
    """One whole GGUF; `tower`: with its projector inside, as Ollama's own conversions have it."""
    number, kind = _TYPES[quant]
    facts: dict[str, object] = {
        "general.architecture": architecture, "general.name": name, "general.file_type": number,
        f"{architecture}.context_length": 4096, f"{architecture}.embedding_length": 16,
        f"{architecture}.block_count": 1,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.tokens": ["a", "b", "c"],
        "tokenizer.chat_template": "{{ messages }}"}
    tensors = {"token_embd.weight": kind, "blk.0.attn_q.weight": kind, "blk.0.attn_norm.weight": "F32"}
    if tower:
        facts[f"{architecture}.vision.block_count"] = 1
        tensors |= {"v.blk.0.attn_q.weight": "F16", "mm.0.weight": "F16"}
    return gguf_bytes(facts, tensors, seed)


def projector(seed: int) -> bytes:
    return gguf_bytes(
        {"general.architecture": "clip", "general.type": "mmproj", "general.file_type": 1,
         "clip.has_vision_encoder": True, "clip.projector_type": "mlp"},
        {"v.blk.0.attn_q.weight": "F16", "mm.0.weight": "F16"}, seed)


def shards(name: str, count: int, seed: int) -> dict[str, bytes]:
    """A split GGUF: file name -> bytes."""
    number, kind = _TYPES["Q8_0"]
    files = {}
    for part in range(count):
        facts: dict[str, object] = {}
        if part == 0:
            facts = {"general.architecture": "llama", "general.name": name, "general.file_type": number,
                     "llama.context_length": 4096, "llama.embedding_length": 16, "llama.block_count": count,
                     "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe",
                     "tokenizer.ggml.tokens": ["a", "b"], "tokenizer.chat_template": "{{ messages }}"}
        facts |= {"split.no": part, "split.count": count, "split.tensors.count": count + 1}
        tensors = {f"blk.{part}.attn_q.weight": kind} | ({"token_embd.weight": kind} if part == 0 else {})
        files[f"{name}-Q8_0-{part + 1:05d}-of-{count:05d}.gguf"] = gguf_bytes(facts, tensors, seed + part)
    return files


def hf(name: str, seed: int, config: Mapping[str, object] | None = None, *, mlx: bool = False,
       tensors: Mapping[str, tuple[str, tuple[int, ...]]] | None = None, extra: Mapping[str, bytes] | None = None,
       ) -> dict[str, bytes]:
    """A model folder: file name -> bytes."""
    settings = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1,
                "num_attention_heads": 2, "vocab_size": 3, "max_position_embeddings": 2048, "torch_dtype": "bfloat16",
                **(config or {})}
    return {
        "config.json": json.dumps(settings, indent=2).encode(),
        "tokenizer.json": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}',
        "tokenizer_config.json": b'{"tokenizer_class": "PreTrainedTokenizerFast"}',
        "chat_template.jinja": b"{{ messages }}", "README.md": f"# {name}\n".encode(),
        "model.safetensors": safetensors_bytes(
            tensors or {"model.layers.0.self_attn.q_proj.weight": ("BF16", (8, 8))}, seed,
            {"format": "mlx" if mlx else "pt"}),
        **(extra or {})}


_Q = "model.layers.0.self_attn.q_proj"
GPTQ = {f"{_Q}.qweight": ("I32", (1, 8)), f"{_Q}.qzeros": ("I32", (1, 1)), f"{_Q}.scales": ("F16", (1, 8)),
        f"{_Q}.g_idx": ("I32", (8,))}
AWQ = {f"{_Q}.qweight": ("I32", (8, 1)), f"{_Q}.qzeros": ("I32", (1, 1)), f"{_Q}.scales": ("F16", (1, 8))}
EXL3 = {f"{_Q}.trellis": ("I16", (1, 1, 64)), f"{_Q}.suh": ("F16", (8,)), f"{_Q}.svh": ("F16", (8,))}
MLX = {f"{_Q}.weight": ("U32", (8, 1)), f"{_Q}.scales": ("F16", (8, 1)), f"{_Q}.biases": ("F16", (8, 1))}


def gptq(name: str, seed: int) -> dict[str, bytes]:
    said = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
    return hf(name, seed, {"quantization_config": said}, tensors=GPTQ,
              extra={"quantize_config.json": json.dumps(said).encode()})


def awq(name: str, seed: int) -> dict[str, bytes]:
    said = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
    return hf(name, seed, {"quantization_config": said}, tensors=AWQ)


def exl3(name: str, seed: int) -> dict[str, bytes]:
    said = {"quant_method": "exl3", "version": "0.0.6", "bits": 4.0, "head_bits": 6}
    return hf(name, seed, {"quantization_config": said}, tensors=EXL3,
              extra={"quantization_config.json": json.dumps({**said, "tensor_storage": {}}).encode()})


def mlx(name: str, seed: int) -> dict[str, bytes]:
    return hf(name, seed, {"quantization": {"group_size": 64, "bits": 4}}, mlx=True, tensors=MLX)


@dataclass
class Household:
    """One home and what its programs hold.

    Attributes:
        home: absolute.
        kinds: SHA-256 of the weights (all of them, in order) -> what kind of model it is.
        places: how many times each content of weights was put somewhere.
    """

    home: Path
    kinds: dict[tuple[str, ...], str] = field(default_factory=dict)
    copies: dict[str, int] = field(default_factory=dict)
    models: int = 0

    # ---- by program ------------------------------------------------------------------------------------------------

    def ollama(self, name: str, tag: str, weights: bytes, *, host: str = HOST, kind: str = "gguf",
               beside: bytes | None = None, **small: str) -> None:
        """As `ollama pull` leaves it. `small`: template, system, params, license, messages."""
        root = self.home / ".ollama/models"
        layers = [(_IMAGE + "model", weights)]
        if beside is not None:
            layers.append((_IMAGE + "projector", beside))
        layers += [(_IMAGE + what, text.encode()) for what, text in sorted(small.items())]
        config = json.dumps({"model_format": "gguf", "model_family": "llama", "model_families": ["llama"],
                             "model_type": "1B", "file_type": "Q4_K_M", "architecture": "amd64", "os": "linux",
                             "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha(data)}" for _, data in layers]},
                             }).encode()
        described = [{"mediaType": what, "digest": f"sha256:{sha(data)}", "size": len(data)} for what, data in layers]
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                    "config": {"mediaType": "application/vnd.docker.container.image.v1+json",
                               "digest": f"sha256:{sha(config)}", "size": len(config)}, "layers": described}
        for data in (config, *(data for _, data in layers)):
            self.put(root / "blobs" / f"sha256-{sha(data)}", data)
        namespace = "" if "/" in name else "library/"
        self.put(root / "manifests" / host / f"{namespace}{name}" / tag, json.dumps(manifest).encode())
        self.weigh(kind, weights)

    def hub(self, repository: str, commit: str, files: Mapping[str, bytes], *, kind: str, main: bool = True) -> None:
        """As huggingface_hub leaves it."""
        folder = self.home / ".cache/huggingface/hub" / f"models--{repository.replace('/', '--')}"
        for name, data in files.items():
            large = name.endswith((".safetensors", ".gguf"))
            etag = sha(data) if large else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            if not (folder / "blobs" / etag).exists():
                self.put(folder / "blobs" / etag, data)
            link = folder / "snapshots" / commit / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("../" * (2 + name.count("/")) + f"blobs/{etag}")
        if main:
            self.put(folder / "refs/main", commit.encode())
        self.weigh(kind, *_weights_of(files))

    def folder(self, place: str, files: Mapping[str, bytes], kind: str, mode: int = 0o644) -> None:
        """Files in a folder, as most programs have them."""
        for name, data in files.items():
            self.put(self.home / place / name, data, mode)
        self.weigh(kind, *_weights_of(files))

    def jan(self, id: str, files: Mapping[str, bytes], kind: str = "gguf", *, imported: str = "") -> None:
        """As Jan leaves a downloaded model, or (`imported`: the file's absolute path) one that it was shown."""
        folder = self.home / ".local/share/Jan/data/llamacpp/models" / id
        first = sorted(name for name in files if "mmproj" not in name)[0] if files else ""
        lines = [f"model_path: {imported or f'llamacpp/models/{id}/{first}'}", f"name: {id}",
                 f"size_bytes: {sum(map(len, files.values())) or 1}", "embedding: false", "ctx_size: 12345"]
        lines += [f"mmproj_path: llamacpp/models/{id}/{name}" for name in files if "mmproj" in name]
        self.put(folder / "model.yml", ("\n".join(lines) + "\n").encode())
        for name, data in files.items():
            self.put(folder / name, data)
        if files:
            self.weigh(kind, *_weights_of(files))

    def localai(self, name: str, file: str, files: Mapping[str, bytes], kind: str = "gguf") -> None:
        """As LocalAI's gallery leaves it: flat, with a YAML."""
        root = self.home / ".localai/models"
        for path, data in files.items():
            self.put(root / path, data)
        self.put(root / f"{name}.yaml", (f"name: {name}\nbackend: llama-cpp\ncontext_size: 4321\n"
                                         f"parameters:\n  model: {file}\n  temperature: 0.3\n").encode())
        self.weigh(kind, *_weights_of(files))

    def kobold(self, name: str, path: Path) -> None:
        """Settings that the person saved for a model that lies elsewhere."""
        self.put(self.home / "kobold" / f"{name}.kcpps",
                 json.dumps({"model_param": str(path), "contextsize": 8192, "gpulayers": 7}).encode())

    def llama_cache(self, owner: str, repository: str, file: str, data: bytes) -> None:
        """llama.cpp's flat cache of before March 2026."""
        folder = self.home / ".cache/llama.cpp"
        self.put(folder / f"{owner}_{repository}_{file}", data)
        url = f"https://example.invalid/{owner}/{repository}/resolve/main/{file}"
        told = json.dumps({"url": url, "etag": f'"{sha(data)}"'})
        self.put(folder / f"{owner}_{repository}_{file}.json", told.encode())
        self.weigh("gguf", data)

    # ---- what all of them share ------------------------------------------------------------------------------------

    def put(self, path: Path, data: bytes, mode: int = 0o644) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return path

    def weigh(self, kind: str, *weights: bytes) -> None:
        digests = tuple(sha(data) for data in weights)
        self.kinds.setdefault(digests, kind)
        self.models += 1
        for digest in digests:
            self.copies[digest] = self.copies.get(digest, 0) + 1


def _weights_of(files: Mapping[str, bytes]) -> list[bytes]:
    return [data for name, data in sorted(files.items())
            if name.endswith((".safetensors", ".gguf")) and "mmproj" not in name]


def made(home: Path) -> Household:
    """The home, filled."""
    house = Household(home)
    _ggufs(house)
    _hub(house)
    _folders(house)
    _strange(house)
    return house


def _ggufs(house: Household) -> None:
    """Plain GGUF models; a third of them lie in several programs."""
    quant = {number: ("Q4_K_M", "Q8_0", "F16", "Q6_K")[number % 4] for number in range(24)}
    data = {number: gguf(f"gem-{number}", quant[number], seed=number) for number in quant}
    file = {number: f"gem-{number}-{quant[number]}.gguf" for number in quant}
    house.ollama("gem-0", "latest", data[0], template="{{ .Prompt }}", params='{"num_ctx":8192,"stop":["<end>"]}')
    house.ollama("gem-0", "1b", data[0], template="{{ .Prompt }}", params='{"num_ctx":8192,"stop":["<end>"]}')
    house.ollama("mine", "latest", data[0], template="{{ .Prompt }}", system="You are a pirate.")
    house.ollama("gem-1", "1b-q8_0", data[1], license="Do as you please.\n")
    house.ollama("acme/gem-2", "latest", data[2], template="{{ .System }} {{ .Prompt }}")
    house.folder(".lmstudio/models/acme/gem-0-GGUF", {file[0]: data[0]}, "gguf")
    house.folder(".lmstudio/models/acme/gem-3-GGUF", {file[3]: data[3]}, "gguf", 0o600)
    house.folder(".lmstudio/models/acme/gem-family", {file[4]: data[4], }, "gguf")
    house.folder(".lmstudio/models/other/gem-5-GGUF", {file[5]: data[5]}, "gguf")
    house.jan("gem-0-q4", {file[0]: data[0]})
    house.jan("acme/gem-6/q6", {"model.gguf": data[6]})
    house.folder(".local/share/nomic.ai/GPT4All", {file[3]: data[3]}, "gguf")
    house.folder(".local/share/nomic.ai/GPT4All", {file[7]: data[7]}, "gguf")
    house.localai("gem-8", file[8], {file[8]: data[8]})
    house.localai("gem-zero", "models/zero.gguf", {"models/zero.gguf": data[0]})
    house.folder("textgen/user_data/models", {file[9]: data[9]}, "gguf")
    house.folder("textgen/user_data/models", {file[5]: data[5]}, "gguf")
    house.folder("llama-models", {file[10]: data[10]}, "gguf")
    house.folder("llama-models", {"renamed.gguf": data[5]}, "gguf")
    house.llama_cache("acme", "gem-11-GGUF", file[11], data[11])
    house.llama_cache("acme", "gem-3-GGUF", file[3], data[3])
    house.folder("mistralrs/gem-12", {file[12]: data[12]}, "gguf")
    house.folder("kobold/weights-of-mine/deep", {file[13]: data[13]}, "gguf")
    house.kobold("gem-13", house.home / "kobold/weights-of-mine/deep" / file[13])
    house.folder("Downloads", {file[14]: data[14]}, "gguf")
    house.folder("Downloads", {"copy of gem-0.gguf": data[0]}, "gguf")
    house.folder("Downloads/old", {file[7]: data[7]}, "gguf", 0o440)
    house.kobold("downloaded", house.home / "Downloads" / file[14])
    house.jan("imported-15", {}, imported=str(house.home / "Downloads" / file[15]))
    house.folder("Downloads", {file[15]: data[15]}, "gguf")
    for number in (17, 18, 19, 20, 21, 22, 23):
        house.folder("Downloads/collection", {file[number]: data[number]}, "gguf")
    house.ollama("gem-17", "8b", data[17])
    house.folder(".lmstudio/models/acme/gem-18-GGUF", {file[18]: data[18]}, "gguf")
    house.folder("textgen/user_data/models/sub", {file[19]: data[19]}, "gguf")
    house.folder(".lmstudio/models/acme/split-GGUF", shards("split", 3, 300), "shards")
    house.folder("llama-models/split", shards("split", 3, 300), "shards")
    house.folder("textgen/user_data/models/halves", shards("halves", 2, 320), "shards")
    eye = {"seer-Q4_K_M.gguf": gguf("seer", seed=40), "mmproj-seer-F16.gguf": projector(41)}
    house.folder(".lmstudio/models/acme/seer-GGUF", eye, "gguf")
    house.ollama("seer", "latest", eye["seer-Q4_K_M.gguf"], beside=eye["mmproj-seer-F16.gguf"])
    house.jan("looker", {"looker-Q8_0.gguf": gguf("looker", "Q8_0", 42), "mmproj.gguf": projector(43)})


def _hub(house: Household) -> None:
    """The Hugging Face cache: folders, GGUF, an older revision, what is quantised."""
    house.hub("acme/plain-a", "a" * 40, hf("plain-a", 50), kind="hf")
    house.hub("acme/plain-b", "b" * 40, hf("plain-b", 51), kind="hf")
    house.hub("acme/plain-b", "0" * 40, hf("plain-b", 52), kind="older", main=False)
    house.hub("acme/quant-GPTQ", "c" * 40, gptq("quant-GPTQ", 53), kind="gptq")
    house.hub("acme/quant-AWQ", "d" * 40, awq("quant-AWQ", 54), kind="awq")
    house.hub("mlx-community/small-4bit", "e" * 40, mlx("small-4bit", 55), kind="mlx")
    house.hub("acme/gem-16-GGUF", "f" * 40, {"gem-16-Q4_K_M.gguf": gguf("gem-16", seed=16)}, kind="gguf")
    house.hub("acme/gem-5-GGUF", "1" * 40, {"gem-5-Q8_0.gguf": gguf("gem-5", "Q8_0", 5)}, kind="gguf")


def _folders(house: Household) -> None:
    """Model folders of programs that are told where to look, and loose ones."""
    house.folder("textgen/user_data/models/plain-a", hf("plain-a", 50), "hf")
    house.folder("tabby/exl", exl3("exl", 60), "exl3")
    house.folder("tabby/plain-c", hf("plain-c", 61), "hf")
    house.folder("fastchat/vicuna-tiny", hf("vicuna-tiny", 62), "hf")
    house.folder("fastchat/plain-c", hf("plain-c", 61), "hf")
    house.folder("Downloads/plain-b", hf("plain-b", 51), "hf")
    house.folder("Downloads/small-4bit", mlx("small-4bit", 55), "mlx")


def _strange(house: Household) -> None:
    """What one program alone can run, and what none can."""
    house.ollama("inside", "latest", gguf("inside", seed=70, architecture="gemma3", tower=True), kind="tower")
    house.folder("Downloads", {"tight-IQ2_XXS.gguf": gguf("tight", "IQ2_XXS", 71)}, "iq")
    house.ollama("tight", "latest", gguf("tight", "IQ2_XXS", 71), kind="iq")
    house.folder("llama-models", {"new-Q8_0.gguf": gguf("new", "Q8_0", 72, architecture="gemma3")}, "new")
    house.ollama("hf-new", "q8", gguf("new", "Q8_0", 72, architecture="gemma3"), kind="new")
    tensor = b"\1" * 5000
    manifest = {"schemaVersion": 2, "config": {"mediaType": "application/vnd.docker.container.image.v1+json",
                                               "digest": f"sha256:{sha(b'{}')}", "size": 2},
                "layers": [{"mediaType": _IMAGE + "tensor", "digest": f"sha256:{sha(tensor)}", "size": 5000,
                            "name": "model.embed"}]}
    root = house.home / ".ollama/models"
    house.put(root / "blobs" / f"sha256-{sha(tensor)}", tensor)
    house.put(root / "blobs" / f"sha256-{sha(b'{}')}", b"{}")
    house.put(root / "manifests" / HOST / "library/cut-up/latest", json.dumps(manifest).encode())
    house.put(house.home / "Downloads/half.gguf", gguf("half", seed=73)[:-200])
    house.put(house.home / "Downloads/video.safetensors.part", b"not yet")
    house.put(house.home / "Downloads/notes.txt", b"remember the milk")
