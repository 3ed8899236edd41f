"""What is this file? Pure readers of model files: bounded memory and time, nothing mapped, nothing executed."""

from __future__ import annotations

from helixstore.formats.describe import Description
from helixstore.formats.inspecting import describe, inspect, inspect_file, read_header
from helixstore.formats.inspection import Inspection, Part
from helixstore.formats.listing import Tree
from helixstore.formats.names import base_name, quantization_in_name
from helixstore.formats.survey import survey

__all__ = [
    "Description", "Inspection", "Part", "Tree", "base_name", "describe", "inspect", "inspect_file",
    "quantization_in_name", "read_header", "survey",
]
