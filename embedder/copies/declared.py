"""What the owner of a descriptor declares beside it: `own.json` for `own.onnx`.

    {"height": 320, "width": 320, "resample": "bilinear",
     "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
     "licence": "MIT", "source": "https://example.org/own"}

Everything is optional where the network itself says it: one that reads uint8 pixels of a fixed size
needs no declaration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedder.copies.inputs import DescriptorInput
from embedder.errors import InvalidModelConfig
from embedder.jsonfile import read_json_object

_KEYS = frozenset({"height", "width", "resample", "mean", "std", "licence", "source"})


@dataclass(frozen=True, slots=True)
class Declared:
    """What is declared. `values` are those of the input."""

    licence: str = "not declared"
    source: str = "own file"
    values: Mapping[str, Any] = field(default_factory=dict)

    def find_input(self, height: object, width: object, name: str) -> DescriptorInput:
        """Return the input. `height` and `width` are those of the graph: an integer where they are
        fixed. `name` is for the message.

        Raises InvalidModelConfig where nothing says how large it is, or two things differ.
        """
        values = dict(self.values)
        for key, fixed in (("height", height), ("width", width)):
            if not isinstance(fixed, int):
                continue
            if values.setdefault(key, fixed) != fixed:
                raise InvalidModelConfig(name, f"it has a {key} of {fixed}, not {values[key]}")
        if not {"height", "width"} <= set(values):
            raise InvalidModelConfig(
                name, "it takes any size: declare height and width in a JSON file beside it"
            )
        try:
            return DescriptorInput.from_json({"resample": "bilinear"} | values)
        except (TypeError, ValueError) as err:
            raise InvalidModelConfig(name, f"what is declared beside it: {err}") from err


def read_declared(path: Path) -> Declared:
    """Read what is declared beside the ONNX file at `path`; nothing where there is no such file.

    Raises InvalidModelConfig.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return Declared()
    values = read_json_object(beside)
    if unknown := sorted(set(values) - _KEYS):
        raise InvalidModelConfig(beside.name, f"it has the unknown key {unknown[0]!r}")
    texts = {key: values.pop(key) for key in ("licence", "source") if key in values}
    if not all(isinstance(text, str) and len(text) <= 500 for text in texts.values()):
        raise InvalidModelConfig(beside.name, "licence and source are texts")
    return Declared(values=values, **texts)
