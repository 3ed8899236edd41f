"""The models that a layout is asked about: an assortment of every format, and the same under names that go wrong."""

from __future__ import annotations

import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from helixstore.formats import Part, describe
from helixstore.store.manifests import Manifest, ManifestFile
from helixstore.testing.models import Shelf, hub, json_bytes, safetensors_bytes
from helixstore.values import File, Format, Header, Key, Purpose, Role, Source, Variant

__all__ = ["STRANGE", "Samples", "assortment", "described", "hostile", "manifest_of", "renamed",
           "strange"]

#: builds a layout's own samples over a shelf
Samples = Callable[[Shelf], Sequence[Variant]]

#: Model names that some program, some system or some shell cannot bear, several of them alike but for case or form.
STRANGE = (
    "x" * 300, "x" * 299 + "y", "Qwen3-8B", "qwen3-8b", "QWEN3-8B",
    unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café"),
    "模型", "\U0001f999 llama", "модель-" + "ж" * 120, "a\nb", "a\x1b[31mb", "a\x00b", "a\u202eb", "con", "NUL.gguf",
    "com1", "aux.Q4", ".hidden", "..", "...", "-rf", "--help", "trailing.", "trailing ", " leading", "a/b", "a\\b",
    "../../climbs", "/etc/passwd", "C:\\models", "llama3.1:8b", "org/repo", "a:b/c:d", "quo'te", 'quo"te',
    "a|b?c*d<e>f",
    "$HOME", "%PATH%", "~", "a#b;c", "{root}", "a,b=c", "models--org--name", "a--b", "a.b..c", "mmproj-model-f16",
    "incomplete-x", "x.gguf", "x.GGUF", "model", "models", "blobs", "manifests", "latest", "config.json",
    "a-00001-of-00003", "sha256-" + "0" * 64, "name~2", "name", "1", "é", "ﬁ", "ß", "SS", "İ", "i",
)


def assortment() -> tuple[list[Variant], Mapping[str, bytes]]:
    """Some thirty variants of every format and shape, as the store would have them, and digest -> bytes of their files.

    The header, the quantisation and the purpose of each are what `helixstore.formats` reads from its files.
    """
    variants, contents = _assortment()
    return list(variants), contents


@lru_cache(maxsize=1)
def _assortment() -> tuple[tuple[Variant, ...], Mapping[str, bytes]]:
    folder = Path(tempfile.mkdtemp(prefix="helixstore-samples-"))
    try:
        shelf = Shelf(folder)
        variants = tuple(described(variant, shelf.blobs) for variant in (*_gguf(shelf), *_folders(shelf)))
        return variants, {digest: blob.read_bytes() for digest, blob in shelf.blobs.items()}
    finally:
        shutil.rmtree(folder)


def described(variant: Variant, blobs: Mapping[str, Path]) -> Variant:
    """The variant with header, quantisation and purpose as they are read from its files.

    Args:
        variant: any.
        blobs: digest -> file.
    """
    found = describe([Part(file.path, blobs[file.blake3], file.bytes, file.role) for file in variant.files])
    named = f"{found.format.value}:{found.quantization}" if found.quantization else found.format.value
    return replace(variant, key=Key(variant.key.model, named), format=found.format, quantization=found.quantization,
                   purpose=found.purpose, header=found.header,
                   manifest=manifest_of(found.format, found.quantization, found.purpose, variant.files))


def manifest_of(format_: Format, quantization: str, purpose: Purpose, files: Iterable[File]) -> str:
    """The digest of the manifest that the store would make."""
    return Manifest(format_, quantization, purpose, tuple(
        ManifestFile(file.path, file.bytes, file.blake3, file.role)
        for file in sorted(files, key=lambda file: file.path))).digest


def _gguf(shelf: Shelf) -> Iterator[Variant]:
    yield shelf.gguf("alpha", "Q4_K_M", seed=1)
    yield shelf.gguf("alpha", "Q8_0", seed=2)
    yield shelf.gguf("beta", "F16", seed=3, template=False, sources=[Source("file", name="beta-F16.gguf")])
    yield shelf.gguf("gamma", "Q6_K", seed=4, architecture="qwen2", stem="model")
    yield shelf.gguf("delta", "Q4_K_M", seed=5, shards=3)
    yield shelf.gguf("epsilon", "Q8_0", seed=6, projector=True, architecture="gemma3")
    yield shelf.gguf("zeta", "IQ2_XXS", seed=7)
    yield shelf.gguf("eta", "BF16", seed=8, architecture="bert", template=False)
    yield shelf.gguf("flux-picture", "Q8_0", seed=10, architecture="flux", template=False)
    yield shelf.gguf("theta", "Q4_K_M", seed=9, sources=[
        replace(hub("acme/theta-GGUF"), name="theta-Q4_K_M.gguf")])


def _folders(shelf: Shelf) -> Iterator[Variant]:
    yield shelf.hf("iota", seed=20)
    yield shelf.hf("kappa", "F16", seed=21, shards=3)
    yield shelf.hf("lambda", seed=22, sources=[replace(hub("acme/lambda"), name="acme/lambda")])
    yield shelf.hf("mu", "F32", seed=23, without=["chat_template.jinja"])
    yield shelf.hf("nu", seed=24, extra={"modeling_nu.py": b"print('code')\n", "docs/notes.md": b"notes\n"})
    yield shelf.hf("xi", seed=25, without=["tokenizer.json", "tokenizer_config.json"])
    yield shelf.gptq("omicron")
    yield shelf.gptq("omicron-3bit", 3)
    yield shelf.awq("pi")
    yield shelf.mlx("rho")
    yield shelf.exl3("sigma")
    for number, (name, format_, said) in enumerate((
        ("tau", Format.FP8, {"quant_method": "fp8", "activation_scheme": "dynamic"}),
        ("upsilon", Format.COMPRESSED_TENSORS, {
            "quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {
                "group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "group_size": 8}}}}),
        ("phi", Format.BITSANDBYTES, {"quant_method": "bitsandbytes", "load_in_4bit": True,
                                      "bnb_4bit_quant_type": "nf4"}),
        ("chi", Format.QUANTIZED, {"quant_method": "mxfp4"}),
        ("sigma-exl2", Format.EXL2, {"quant_method": "exl2", "version": "0.2.4", "bits": 4.0}),
    )):
        yield shelf.hf(name, format=format_, seed=30 + number, config={"quantization_config": said})
    yield shelf.hf("psi-embed", seed=40, config={"architectures": ["BertModel"], "model_type": "bert"})
    yield shelf.hf("clip-text", "F16", seed=41, config={
        "architectures": ["CLIPTextModel"], "model_type": "clip_text_model"})
    adapter = json_bytes({"peft_type": "LORA", "base_model_name_or_path": "acme/lambda", "task_type": "CAUSAL_LM"})
    yield shelf.variant("omega-lora", {
        "adapter_config.json": adapter,
        "adapter_model.safetensors": safetensors_bytes({"base_model.q_proj.lora_A.weight": ("F32", (2, 8))}, 50),
    }, Format.SAFETENSORS, "", purpose=Purpose.ADAPTER)
    yield shelf.variant("loose-tensors", {
        "loose.safetensors": safetensors_bytes({"model.diffusion_model.weight": ("F16", (8, 8))}, 51),
    }, Format.SAFETENSORS, "F16")
    spec = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora", "format": "pt"}
    yield shelf.variant("picture-lora", {
        "picture-lora.safetensors": safetensors_bytes({"lora_unet_down.weight": ("F16", (8, 8))}, 52, spec),
    }, Format.SAFETENSORS, "F16")
    yield shelf.variant("pickled", {"pytorch_model.bin": b"\x80\x04N.", "config.json": json_bytes({})},
                        Format.PYTORCH, "")


def renamed(variant: Variant, name: str, number: int) -> Variant:
    """Another model of the same shape, under another name: its weights are other ones, which lie nowhere.

    Args:
        variant: any.
        name: of the model.
        number: different for each.
    """
    def other(digest: str) -> str:
        return f"{number:08x}{digest[8:]}"

    files = tuple(
        replace(file, blake3=other(file.blake3), sha256=other(file.sha256 or ""), gitsha1=other(file.gitsha1 or ""),
                xet=other(file.xet) if file.xet else None)
        if file.role in (Role.WEIGHTS, Role.PROJECTOR) else file for file in variant.files)
    return replace(variant, key=Key(name, variant.key.variant), manifest=other(variant.manifest), files=files,
                   sources=())


def strange(variants: Iterable[Variant]) -> Iterator[list[Variant]]:
    """For each of the variants: the same under every strange name."""
    for variant in variants:
        yield [renamed(variant, name, number + 1) for number, name in enumerate(STRANGE)]


def hostile(variants: Sequence[Variant]) -> Iterator[Variant]:
    """Variants that no scan should give, and that a layout must refuse or bear: without files, headers, weights."""
    file = File("model.gguf", 0, "0" * 64, Role.WEIGHTS)
    for format_ in Format:
        key = Key("hostile", format_.value)
        for header in (Header(), Header("\0", -1, -1, True, -1, 0, "middle", "", 0, ""),
                       Header("x" * 9000, 1 << 80, 1 << 80, True, 1 << 40, 1 << 40, shards=1 << 30,
                              tensor_types=(("?", 1),))):
            yield Variant(key, "0" * 64, format_, "", Purpose.MODEL, header, ())
            yield Variant(key, "0" * 64, format_, "\n", Purpose.MODEL, header, (replace(file, role=Role.OTHER),))
            yield Variant(key, "0" * 64, format_, "Q9_Z", Purpose.VOCABULARY, header, (file,))
    for variant in variants:
        yield replace(variant, files=())
        yield replace(variant, header=Header())
        yield replace(variant, quantization="", key=Key("", ""))
        yield replace(variant, files=tuple(file for file in variant.files if file.role is not Role.WEIGHTS))
        yield replace(variant, sources=(Source("unheard-of"), Source("hub"), Source("program", program="x", name="")))
        yield replace(variant, sources=(Source("hub", "../..", "main", name="\0"),
                                        Source("program", "a/b/c", None, "x", "../../../etc/passwd")))
