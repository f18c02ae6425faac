"""Safetensors files to a ViT with its weights, by memory map.

The files were checked before (`weight_files`); tensor names, shapes and types are checked here. The
published layouts load (`tensor_names`). Weights in float16 and bfloat16 are widened to float32,
which is exact; other types are refused, because they cannot be. No remote code is ever run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from embedder.errors import CorruptWeights, TensorMismatch
from embedder.network.architecture import Architecture
from embedder.network.labels import ONE_LOGIT, Head
from embedder.network.tensor_names import from_published, layout_of, published_name_of
from embedder.network.vit import ViT
from embedder.network.weight_files import check_is_safetensors

# Every value of these is a float32 too.
_EXACT_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, memory-mapped, under the file's own names.

    Raises UnsafeWeights, CorruptWeights, ModelUnavailable.
    """
    check_is_safetensors(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it has no __iter__)
    except SafetensorError as err:
        raise CorruptWeights(
            path.name, f"the file is not a complete safetensors file: {err}"
        ) from err


def build_empty_vit(architecture: Architecture) -> ViT:
    """Build the module on the `meta` device.

    It has shapes but no memory, so loading needs no random initialisation.
    """
    with torch.device("meta"):
        return ViT(architecture)


def load_vit(
    paths: Path | Sequence[Path], architecture: Architecture, head: Head = ONE_LOGIT
) -> ViT:
    """Load a ViT with the weights of one file or of several shards (any layout), float32 on the
    CPU, in evaluation mode.

    It has one logit, which `head` makes from those of the checkpoint. Float32 parameters are the
    memory map itself: nothing is initialised and nothing is copied.

    Raises UnsafeWeights, CorruptWeights, TensorMismatch.
    """
    model = build_empty_vit(architecture)
    map_weights(model, paths, head)
    model.train(False)
    return model


def map_weights(model: ViT, paths: Path | Sequence[Path], head: Head = ONE_LOGIT) -> None:
    """Map the weight files, and give their tensors to a model in place of those that it has.

    None of their pages is resident before it is read.

    Raises UnsafeWeights, CorruptWeights, TensorMismatch.
    """
    architecture = model.architecture
    published: dict[str, Tensor] = {}
    for path in [paths] if isinstance(paths, Path) else paths:
        tensors = read_tensors(path)
        if twice := sorted(set(tensors) & set(published)):
            raise CorruptWeights(path.name, f"another shard holds {twice[0]} too")
        published.update(tensors)
    named = from_published(
        published, architecture.num_hidden_layers, qkv_bias=architecture.qkv_bias
    )
    _check_shapes(published, named, model, head)
    widened = {name: tensor.to(torch.float32) for name, tensor in named.items()}
    widened["classifier.weight"], widened["classifier.bias"] = head.fold(
        widened["classifier.weight"], widened["classifier.bias"]
    )
    model.load_state_dict(widened, strict=True, assign=True)


def _check_shapes(
    published: Mapping[str, Tensor],
    named: Mapping[str, Tensor],
    model: ViT,
    head: Head,
) -> None:
    """Compare under module names; report under the file's names, which its owner can look up."""
    layout = layout_of(published)
    wrong: list[str] = []
    for module, built in model.state_dict().items():
        actual, name = named[module], published_name_of(module, layout)
        wanted = (head.rows, *built.shape[1:]) if module.startswith("classifier.") else built.shape
        if actual.dtype not in _EXACT_TYPES:
            wrong.append(
                f"{name} is {actual.dtype}; only float32, float16 and bfloat16 are read exactly"
            )
        elif actual.shape != wanted:
            wrong.append(f"{name} holds {list(actual.shape)} for {module}, not {list(wanted)}")
    if wrong:
        raise TensorMismatch(shapes=wrong)
