"""Which models people mean by well-known names, how exact references are read, and how much memory a model needs.

    catalogue    find, search, suggest: our entries, with the person's own over them
    entry        one model in one size, and where it is published
    form         the form of a catalogue's file, read one table at a time
    links        addresses as references
    memory       weights, cache and working memory, computed
    names        names as people type them: folded, and the near ones
    references   exact references: text -> typed value, and back
    shapes       what memory follows from, read from a GGUF's header or a config.json

`models.toml` is the catalogue itself. `Catalogue().find("llama3:8b")` gives an entry with its sources;
`parse_reference("hf:org/name:Q4_K_M")` a typed reference, without the catalogue; `needed(...)` the memory.
"""

from __future__ import annotations

from helixstore.catalogue.catalogue import Catalogue
from helixstore.catalogue.entry import Capability, Entry, Offer
from helixstore.catalogue.memory import (
    Need,
    Shape,
    bits_of,
    bytes_of_cache,
    bytes_of_weights,
    bytes_of_working,
    needed,
)
from helixstore.catalogue.references import (
    HubReference,
    OciReference,
    OllamaReference,
    PathReference,
    Reference,
    UrlReference,
    parse_reference,
    quantization_of,
)
from helixstore.catalogue.shapes import shape_of_config, shape_of_gguf

__all__ = [
    "Capability", "Catalogue", "Entry", "HubReference", "Need", "OciReference", "Offer", "OllamaReference",
    "PathReference", "Reference", "Shape", "UrlReference", "bits_of", "bytes_of_cache", "bytes_of_weights",
    "bytes_of_working", "needed", "parse_reference", "quantization_of", "shape_of_config", "shape_of_gguf",
]
