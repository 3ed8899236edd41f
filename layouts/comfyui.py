"""ComfyUI: files by kind below a models folder, or below any folder that an `extra_model_paths.yaml` names.

Contract (Comfy-Org/ComfyUI 1df2885 of 2026-10: `folder_paths.py`, `utils/extra_config.py`, `cli_args.py`; the loader of
city96/ComfyUI-GGUF of 2026):
- `<installation>/models/<kind>/...`; every folder below is searched, names are what is left of the path, and links are
  followed; one that leads nowhere is listed and left out with a warning when it is used.
- `--extra-model-paths-config FILE`, beside the installation's own `extra_model_paths.yaml`: sections of kind -> folder,
  relative ones counted from the file (since 2024-08). So a folder of helixstore's own needs no more than that argument.
- the same kind may have several folders, and a name that is in two of them is the first one's: the installation's.
- it loads single files, told apart by the names of their tensors: never a folder in shards. Core reads no GGUF;
  ComfyUI-GGUF adds it to `diffusion_models` and `text_encoders`, for the architectures below.

What is for it. It makes pictures, video and sound; a language model is of no use to it but as the text encoder of the
image model that was trained with that very one, which no header says. So a file is taken when it lay in ComfyUI, where
the person has said what it is by the folder, or when its own header says the kind: `modelspec.architecture` of a
safetensors file (Stability's ModelSpec, which trainers and merging tools write), `architectures` of an encoder's
configuration, `general.architecture` of a GGUF. A checkpoint that does not say so is shared by putting it there once.

ComfyUI deletes nothing. Pickles stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from helixstore.providers.layout import Entry, Env, Facts, Found, Layout, Reader, Refusal, Root, Text
from helixstore.values import Format, Purpose, Variant

from .parts import yaml_lines
from .parts.gguf_files import stem, weight
from .parts.names import distinct, label, legal
from .parts.own import below, found_own, own_places

__all__ = ["ComfyUI"]

_KINDS = ("checkpoints", "clip_vision", "controlnet", "diffusion_models", "embeddings", "hypernetworks", "loras",
          "style_models", "text_encoders", "upscale_models", "vae")
#: folders by which older installations call a kind
_OLDER = {"clip": "text_encoders", "unet": "diffusion_models", "t2i_adapter": "controlnet"}
#: what stands behind the base model's name in `modelspec.architecture`, after a slash (or, at first, a hyphen)
_SPEC = {"lora": "loras", "lycoris": "loras", "controlnet": "controlnet", "textual-inversion": "embeddings",
         "hypernetwork": "hypernetworks", "vae": "vae"}
_CLASSES = {
    "CLIPTextModel": "text_encoders", "CLIPTextModelWithProjection": "text_encoders",
    "T5EncoderModel": "text_encoders", "UMT5EncoderModel": "text_encoders",
    "CLIPVisionModel": "clip_vision", "CLIPVisionModelWithProjection": "clip_vision",
    "SiglipVisionModel": "clip_vision", "Dinov2Model": "clip_vision",
}
_ARCHITECTURES = {
    **dict.fromkeys(("aura", "cosmos", "flux", "hidream", "hyvid", "ltxv", "lumina2", "qwen_image", "sd1", "sd3",
                     "sdxl", "wan"), "diffusion_models"),
    "t5": "text_encoders", "t5encoder": "text_encoders",
}
_SECTION = "helixstore"
_YAML = "extra_model_paths.yaml"
_INSTALLED = "models"                   # label of a root in an installation, which needs no YAML
_PLACES = ("ComfyUI", "comfy/ComfyUI", "Documents/ComfyUI")
_PART = re.compile(rf".*[/-]({'|'.join(_SPEC)})")


class ComfyUI(Layout):
    """The models of a ComfyUI installation, or a folder of helixstore's own beside them."""

    name = "comfyui"
    title = "ComfyUI"
    checked = ("0.3", "2026-10")
    formats = (Format.SAFETENSORS, Format.GGUF, Format.HF)
    refresh = "press R in ComfyUI, which reads its lists again"
    bears_dangling = True
    launch = ("{python}", "main.py", "--extra-model-paths-config", f"{{root}}/{_YAML}")

    def roots(self, env: Env) -> Sequence[Root]:
        """The person's setting, else the models of an installation in the home, else a folder of our own."""
        if env.setting:
            if env.reader.exists(env.setting / "main.py"):
                return (Root(env.setting / "models", "setting", label=_INSTALLED, present=(env.setting,)),)
            known = env.setting.name == "models" or env.reader.exists(env.setting / "checkpoints")
            return (Root(env.setting, "setting", label=_INSTALLED if known else ""),)
        for place in _PLACES:
            installation = env.home / place
            if env.reader.exists(installation / "models"):
                return (Root(installation / "models", f"installed in {installation}", label=_INSTALLED),)
        return (Root(env.farms / self.name, "helixstore's own", owned=True),)

    def accepts(self, variant: Variant, facts: Facts) -> Refusal | None:
        """What lay in ComfyUI, and what says by itself that it is for it."""
        if _kind(variant):
            return None
        if variant.format is Format.GGUF:
            return Refusal("it is no image model, and ComfyUI uses a language model only as the text encoder that an "
                           "image model was made with")
        if variant.format is Format.SAFETENSORS:
            if len(variant.weights) != 1:
                return Refusal("ComfyUI loads single files, and this is in shards")
            return Refusal("its header does not say what it is (modelspec.architecture); put it once into the folder "
                           "of ComfyUI that it belongs to")
        if variant.format is Format.HF and any(name in _CLASSES for name in variant.header.classes):
            return Refusal("ComfyUI loads an encoder from a single file, and this is in shards")
        if variant.purpose is Purpose.ADAPTER:
            return Refusal("it is an adapter of a language model")
        return Refusal("it is a language model, and ComfyUI makes pictures, video and sound")

    def project(self, variants: Sequence[Variant], root: Root, facts: Facts) -> Iterable[Entry]:
        """Each file in the folder of its kind, under its own name; in a folder of our own the list of kinds too."""
        lies = {variant.key: _lies(variant) for variant in variants}
        others = [variant for variant in variants if not lies[variant.key]]
        names = distinct(others, {variant.key: f"{_kind(variant)}/{_stem(variant)}{_ending(variant)}"
                                  for variant in others}, taken=[path for paths in lies.values() for path in paths])
        for variant in variants:
            for path in lies[variant.key] or [names[variant.key]]:
                yield Entry(path, weight(variant.weights[0]), variant.key, witness=True)
        if variants and root.label != _INSTALLED:
            yield Entry(_YAML, Text(_list().encode(), _merge), None, order=2)

    def discover(self, root: Root, reader: Reader) -> Iterator[Found]:
        """Every whole safetensors file and GGUF in the folder of a kind."""
        for kind in (*_KINDS, *_OLDER):
            for inspection in reader.models(root.path / kind, -1):
                if inspection.format is Format.PYTORCH:
                    reader.note(inspection.location, "a pickle, which only ComfyUI opens")
                elif len(inspection.parts) == 1:
                    yield found_own(inspection, self.name, below(root.path, inspection.location), root.path)

    def left_of(self, path: str, text: bytes, gone: Callable[[str], bool]) -> bytes | None:
        """The sections of others, without ours."""
        try:
            rest = yaml_lines.remove(text.decode(), _SECTION) if path == _YAML else None
        except UnicodeDecodeError:
            return None
        return None if rest is None else rest.encode() if rest.strip() else b""


def _kind(variant: Variant) -> str:
    """The folder that the variant belongs to, or ""."""
    if places := _lies(variant):
        kind = places[0].partition("/")[0]
        return _OLDER.get(kind, kind)
    if len(variant.weights) != 1:
        return ""
    header = variant.header
    if variant.format is Format.GGUF:
        return _ARCHITECTURES.get(header.architecture or "", "")
    if variant.format is Format.SAFETENSORS:
        said = (header.architecture or "").casefold()
        if part := _PART.fullmatch(said):
            return _SPEC[part[1]]
        whole = re.fullmatch(r"stable-diffusion-(v1|v2|xl)[\w.-]*", said)
        return "checkpoints" if whole else ""       # of later models the parts come apart as often as together
    if variant.format is Format.HF:
        return next((_CLASSES[name] for name in header.classes if name in _CLASSES), "")
    return ""


def _lies(variant: Variant) -> list[str]:
    """Where the variant lies in ComfyUI itself, in the folder of a kind."""
    if len(variant.weights) != 1:
        return []
    return [path for path, _ in own_places(variant, ComfyUI.name)
            if path.endswith(_ending(variant)) and path.partition("/")[0] in (*_KINDS, *_OLDER)]


def _ending(variant: Variant) -> str:
    return ".gguf" if variant.format is Format.GGUF else ".safetensors"


def _stem(variant: Variant) -> str:
    """The file's own name, which workflows refer to; of a folder's `model.safetensors` the model's."""
    if variant.format is Format.GGUF:
        return stem(variant)
    if variant.format is Format.HF:
        return label(variant)
    return legal(variant.weights[0].path.rpartition("/")[2].removesuffix(".safetensors"))


def _list() -> str:
    return f"{_SECTION}:\n" + "".join(f"  {kind}: {kind}\n" for kind in _KINDS)


def _merge(base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes | None:
    """Theirs with our section in it, as it is now; sections of others stay."""
    if theirs is None or theirs == base:
        return ours
    try:
        text = theirs.decode()
    except UnicodeDecodeError:
        return None
    if text.strip() and not list(yaml_lines.keys(text)):
        return None
    if yaml_lines.block(text, _SECTION) == ours.decode():
        return theirs
    text = yaml_lines.remove(text, _SECTION)
    return (text if not text or text.endswith("\n") else f"{text}\n").encode() + ours
