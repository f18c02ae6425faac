"""The shape of the ViT that a `config.json` describes. No tensors: `weights` builds the module.

Only what the forward needs is read: the ViT family of transformers with one logit. Nothing in a
configuration can name code: `auto_map` is not read, and remote code is never run. The weights are
checked tensor by tensor afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.errors import InvalidModelConfig
from embedder.jsonfile import read_json_object

# timm's LayerNorm epsilon, with which both published checkpoints were trained; the default of
# transformers is 1e-12.
TIMM_LAYER_NORM_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class Architecture:
    """A ViT with one logit; sizes in pixels are sides of squares.

    The defaults are those of transformers' `ViTConfig`.
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    image_size: int = 224
    patch_size: int = 16
    layer_norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        counts = (
            self.hidden_size,
            self.num_hidden_layers,
            self.num_attention_heads,
            self.intermediate_size,
        )
        if min(*counts, self.image_size, self.patch_size) < 1 or not 0 < self.layer_norm_eps < 1:
            raise ValueError("every size must be positive, and layer_norm_eps between 0 and 1")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of the number of heads, "
                f"{self.num_attention_heads}"
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )

    @property
    def token_count(self) -> int:
        """Number of patches of one image, without the CLS token."""
        side = self.image_size // self.patch_size
        return side * side


VIT_SMALL_384 = Architecture(384, 12, 6, 1536, 384, 16, TIMM_LAYER_NORM_EPS)

_FIXED = {"model_type": "vit", "hidden_act": "gelu", "num_channels": 3, "qkv_bias": True}


def read_architecture(path: Path) -> Architecture:
    """Read the architecture in a `config.json`.

    Raises InvalidModelConfig.
    """
    return parse_architecture(read_json_object(path), path.name)


def parse_architecture(config: Mapping[str, Any], source: str) -> Architecture:
    """Parse the JSON of a configuration; `source` names the file in errors.

    Raises InvalidModelConfig.
    """
    for key, value in _FIXED.items():
        if config.get(key, value) != value:
            raise InvalidModelConfig(
                source, f"{key} {config[key]!r} is not supported, only {value!r} is"
            )
    labels = config.get("num_labels", len(config.get("id2label") or {0: ""}))
    if labels != 1:
        raise InvalidModelConfig(
            source, f"the model has {labels} labels; only models with one logit are supported"
        )
    fields = {key: config[key] for key in Architecture.__slots__ if key in config}
    for key, value in fields.items():
        wanted = float if key == "layer_norm_eps" else int
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise InvalidModelConfig(source, f"{key} {value!r} is not of type {wanted.__name__}")
    try:
        return Architecture(**fields)
    except ValueError as err:
        raise InvalidModelConfig(source, str(err)) from err
