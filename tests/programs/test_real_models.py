"""Real models, not tiny ones: what is answered through a link makes sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.programs import python
from tests.support.real_gguf import mistralrs_answers
from tests.support.real_hub import repository
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.programs

# the server's code inside Python, for every processor: it starts on the file, and what it answers over HTTP is printed
_LLAMACPP = """
import json, sys, xllamacpp
from urllib.request import Request, urlopen
p = xllamacpp.CommonParams()
p.model.path, p.n_ctx, p.sampling.temp = sys.argv[1], 256, 0.0
server = xllamacpp.Server(p)
body = json.dumps({"prompt": "The capital of France is", "max_tokens": 6, "temperature": 0}).encode()
request = Request(server.listening_address + "/v1/completions", body, {"Content-Type": "application/json"})
text = json.load(urlopen(request))["choices"][0]["text"]
del server
print()
print(json.dumps(text))
"""

_LIKENESS = """
import json, sys, torch
from transformers import AutoModel, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained(sys.argv[1]), AutoModel.from_pretrained(sys.argv[1])
ids = tokenizer(sys.argv[2:], padding=True, return_tensors="pt")
with torch.no_grad():
    hidden, mask = model(**ids).last_hidden_state, ids["attention_mask"].unsqueeze(-1)
vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
print(json.dumps((vectors @ vectors.T)[0].tolist()))
"""


def test_llamacpp_and_mistralrs_answer_from_one_real_gguf(sandbox: Sandbox, smollm: Path) -> None:
    sandbox.place(smollm, ".lmstudio/models/HuggingFaceTB/SmolLM2-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf")
    sandbox.init()
    file = sandbox.linked("llamacpp", "SmolLM2").paths[0]
    assert file.is_relative_to(sandbox.root("llamacpp"))
    assert "Paris" in python("llamacpp", _LLAMACPP, file, environ=sandbox.environ)
    assert "Paris" in mistralrs_answers(sandbox, sandbox.home, "SmolLM2", "The capital of France is")


def test_transformers_makes_embeddings_by_name_offline(sandbox: Sandbox, minilm: Path) -> None:
    sandbox.place(minilm, "models/all-MiniLM-L6-v2")
    sandbox.init("models")
    name, _, _ = repository(sandbox, "all-MiniLM-L6-v2")
    words = ("A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose again in March.")
    itself, near, far = python("hub", _LIKENESS, name, *words, environ=sandbox.environ)
    assert itself > 0.999
    assert near > far + 0.3
