"""The home of the README: one GGUF in two programs, a Hugging Face folder, and an Ollama that has neither."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.models import Shape, tiny_gguf, tiny_hf

SHAPE = Shape(hidden=256, layers=4, heads=4, feed_forward=1024)


def move_in(home: Path) -> None:
    """Put the models where a person would have them."""
    first = home / ".lmstudio/models/helix/story-8m-GGUF/story-8m-F16.gguf"
    tiny_gguf(first, name="story", shape=SHAPE)
    second = home / ".local/share/nomic.ai/GPT4All"
    second.mkdir(parents=True)
    shutil.copy(first, second)
    tiny_hf(home / "models/chat-tiny", shape=SHAPE)
    (home / ".ollama/models").mkdir(parents=True)
