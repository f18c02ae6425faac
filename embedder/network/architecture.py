"""The shape of the ViT that a `config.json` describes. No tensors: `weights` builds the module.

Only what the forward of transformers' `ViTForImageClassification` needs is read here; `labels`
reads what the logits mean. A key that would change the forward is implemented or refused. Nothing
in a configuration can name code: `auto_map` is not read, and remote code is never run. The weights
are checked tensor by tensor afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from embedder.errors import InvalidModelConfig
from embedder.jsonfile import read_json_object

T = TypeVar("T", int, float, bool)

# timm's LayerNorm epsilon, with which both published checkpoints were trained; the default of
# transformers is 1e-12.
TIMM_LAYER_NORM_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class Architecture:
    """A ViT; sizes in pixels are sides of squares.

    `hidden_act` is the activation's name in transformers. `qkv_bias` says whether query, key and
    value have a bias. The defaults are those of transformers' `ViTConfig`.
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    image_size: int = 224
    patch_size: int = 16
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    qkv_bias: bool = True

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
    def reading(self) -> str | None:
        """What the weights alone do not tell; it is part of the embedding space.

        None for the activation that every model had at first, so that its fingerprint stays.
        """
        return None if self.hidden_act == "gelu" else f"hidden_act={self.hidden_act}"

    @property
    def token_count(self) -> int:
        """Number of patches of one image, without the CLS token."""
        side = self.image_size // self.patch_size
        return side * side

    @property
    def parameter_count(self) -> int:
        """Number of parameters of the ViT with its one logit."""
        width, inner = self.hidden_size, self.intermediate_size
        patches = (3 * self.patch_size**2 + 1) * width
        tokens = (1 + 1 + self.token_count) * width  # CLS, and the position of each token
        norm = 2 * width
        attention = 4 * width * width + (4 if self.qkv_bias else 1) * width
        perceptron = (width + 1) * inner + (inner + 1) * width
        layers = self.num_hidden_layers * (2 * norm + attention + perceptron)
        return patches + tokens + layers + norm + width + 1


VIT_SMALL_384 = Architecture(384, 12, 6, 1536, 384, 16, TIMM_LAYER_NORM_EPS)

# Activations of transformers that have no parameters. Each is compared with transformers in a test.
ACTIVATIONS = frozenset(
    {"gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", "quick_gelu"}
    | {"relu", "silu", "swish", "tanh"}
)
_COUNTS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_SQUARES = ("image_size", "patch_size")


def read_architecture(path: Path) -> Architecture:
    """Read the architecture in a `config.json`.

    Raises InvalidModelConfig.
    """
    return parse_architecture(read_json_object(path), path.name)


def parse_architecture(config: Mapping[str, Any], source: str) -> Architecture:
    """Parse the JSON of a configuration; `source` names the file in errors.

    Raises InvalidModelConfig.
    """
    _refuse_other_networks(config, source)
    fields: dict[str, Any] = {}
    for key in _COUNTS:
        if key in config:
            fields[key] = _require_count(config[key], key, source)
    for key in _SQUARES:
        if key in config:
            fields[key] = _require_count(_read_square(config[key], key, source), key, source)
    if "layer_norm_eps" in config:
        fields["layer_norm_eps"] = _require(
            config["layer_norm_eps"], float, "layer_norm_eps", source
        )
    if "qkv_bias" in config:
        fields["qkv_bias"] = _require(config["qkv_bias"], bool, "qkv_bias", source)
    if "hidden_act" in config:
        fields["hidden_act"] = config["hidden_act"]
    try:
        architecture = Architecture(**fields)
    except ValueError as err:
        raise InvalidModelConfig(source, str(err)) from err
    _refuse_head_dimension(config, architecture, source)
    return architecture


def _refuse_other_networks(config: Mapping[str, Any], source: str) -> None:
    for key, value in {"model_type": "vit", "num_channels": 3}.items():
        if config.get(key, value) != value:
            raise InvalidModelConfig(
                source, f"{key} {config[key]!r} is not supported, only {value!r} is"
            )
    act = config.get("hidden_act", "gelu")
    if not isinstance(act, str) or act not in ACTIVATIONS:
        raise InvalidModelConfig(
            source,
            f"hidden_act {act!r} is not supported, only {', '.join(sorted(ACTIVATIONS))} are",
        )
    if config.get("quantization_config") is not None:
        raise InvalidModelConfig(
            source, "quantization_config is given: quantised weights cannot be read exactly"
        )


def _refuse_head_dimension(
    config: Mapping[str, Any], architecture: Architecture, source: str
) -> None:
    """Refuse heads of another size than usual: transformers reads this key, Lineup does not."""
    usual = architecture.hidden_size // architecture.num_attention_heads
    if config.get("head_dim", usual) != usual:
        raise InvalidModelConfig(
            source, f"head_dim {config['head_dim']!r} is not supported, only {usual} is here"
        )


def _read_square(value: object, key: str, source: str) -> object:
    """Return the side of a square that is given as a number or as two equal numbers."""
    if not isinstance(value, list):
        return value
    if len(value) != 2 or value[0] != value[1]:
        raise InvalidModelConfig(source, f"{key} {value!r} is not a square")
    return value[0]


def _require_count(value: object, key: str, source: str) -> int:
    if isinstance(value, bool):
        raise InvalidModelConfig(source, f"{key} {value!r} is not of type int")
    return _require(value, int, key, source)


def _require(value: object, wanted: type[T], key: str, source: str) -> T:
    if not isinstance(value, wanted):
        raise InvalidModelConfig(source, f"{key} {value!r} is not of type {wanted.__name__}")
    return value
