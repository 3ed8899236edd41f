"""What is this file? Pure readers of model files: bounded memory and time, nothing mapped, nothing executed.

    inspecting, inspection          one path, one answer; the answer's values
    survey, folder, loose           every model below a folder; models that are a folder; models that are files
    listing, names, outward         one folder's names; what names say; links that lead out of a folder
    gguf, ggml, meaning             the header of a GGUF; its types; what it means
    safetensors, config, describe   the header of safetensors; the configuration beside it; what both mean together
    opened, sniff, jsonstream       reading what may be hostile: files, first bytes, JSON
"""

from __future__ import annotations

from helixstore.formats.describe import Description
from helixstore.formats.inspecting import describe, inspect, inspect_file
from helixstore.formats.inspection import Inspection, Part
from helixstore.formats.listing import Tree
from helixstore.formats.names import base_name, quantization_in_name
from helixstore.formats.survey import survey

__all__ = [
    "Description", "Inspection", "Part", "Tree", "base_name", "describe", "inspect", "inspect_file",
    "quantization_in_name", "survey",
]
