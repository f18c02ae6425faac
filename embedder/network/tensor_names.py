"""The names of a ViT's tensors in published files and in transformers 5; no files and no model.

Three layouts of the same model exist; two of them are those of the published Community Forensics
checkpoints:

- `huggingface`, which `save_pretrained` of transformers writes, also that of version 5; the
  built-in model uses it too;
- `timm`, under the prefix `vit.`: query, key and value are stacked in one tensor, in that order;
- `modules`, the module names of transformers 5, which it writes if asked for
  (`save_original_format=False`).

A checkpoint may have tensors that classification does not use: transformers' pooler, and the mask
token of pretraining. They are left out, as transformers leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, assert_never

from torch import Tensor, cat

from embedder.errors import TensorMismatch

Layout = Literal["huggingface", "timm", "modules"]

UNUSED = frozenset(
    {"vit.pooler.dense.weight", "vit.pooler.dense.bias", "vit.embeddings.mask_token"}
)

# (transformers 5, old Hugging Face, timm); {n} is the number of the layer.
_OUTER = (
    ("vit.embeddings.cls_token", "vit.embeddings.cls_token", "vit.cls_token"),
    ("vit.embeddings.position_embeddings", "vit.embeddings.position_embeddings", "vit.pos_embed"),
    *(
        (f"{module}.{kind}", f"{old}.{kind}", f"{timm}.{kind}")
        for module, old, timm in (
            (
                "vit.embeddings.patch_embeddings.projection",
                "vit.embeddings.patch_embeddings.projection",
                "vit.patch_embed.proj",
            ),
            ("vit.layernorm", "vit.layernorm", "vit.norm"),
            ("classifier", "classifier", "vit.head"),
        )
        for kind in ("weight", "bias")
    ),
)
_IN_LAYER = (
    ("layernorm_before", "layernorm_before", "norm1"),
    ("attention.o_proj", "attention.output.dense", "attn.proj"),
    ("layernorm_after", "layernorm_after", "norm2"),
    ("mlp.fc1", "intermediate.dense", "mlp.fc1"),
    ("mlp.fc2", "output.dense", "mlp.fc2"),
)
_STACKED = (
    ("attention.q_proj", "attention.attention.query"),
    ("attention.k_proj", "attention.attention.key"),
    ("attention.v_proj", "attention.attention.value"),
)


def layout_of(names: Iterable[str]) -> Layout:
    """Return the published layout of these tensor names.

    Raises TensorMismatch where they belong to none.
    """
    names = frozenset(names)
    if "vit.embeddings.cls_token" in names:
        is_renamed = any(name.startswith("vit.layers.") for name in names)
        return "modules" if is_renamed else "huggingface"
    if "vit.cls_token" in names:
        return "timm"
    raise TensorMismatch(
        missing=["vit.embeddings.cls_token (or vit.cls_token)"], extra=sorted(names)[:8]
    )


def from_published(
    tensors: Mapping[str, Tensor], layers: int, *, qkv_bias: bool = True
) -> dict[str, Tensor]:
    """Rename the tensors of a published file to transformers 5's module names; memory is shared.

    `qkv_bias` says whether query, key and value have a bias. Tensors in UNUSED are left out. Shapes
    are not checked, except that a stacked query-key-value tensor must be divisible by three.

    Raises TensorMismatch for names that the layout does not have, or lacks.
    """
    layout = layout_of(tensors)
    pairs, stacked = _pairs(layout, layers, qkv_bias), _stacks(layout, layers, qkv_bias)
    expected = set(pairs) | set(stacked)
    missing = sorted(expected - set(tensors))
    extra = sorted(set(tensors) - expected - UNUSED)
    if missing or extra:
        raise TensorMismatch(missing=missing, extra=extra)
    named = {module: tensors[published] for published, module in pairs.items()}
    for published, modules in stacked.items():
        tensor = tensors[published]
        if tensor.ndim == 0 or tensor.shape[0] % len(modules):
            raise TensorMismatch(
                shapes=[f"{published} {list(tensor.shape)} is not a stack of query, key and value"]
            )
        named.update(zip(modules, tensor.chunk(len(modules)), strict=True))
    return named


def find_unused(names: Iterable[str]) -> list[str]:
    """Return the names of tensors that classification does not use, in order."""
    return sorted(UNUSED & set(names))


def to_published(
    state_dict: Mapping[str, Tensor], layout: Layout = "huggingface"
) -> dict[str, Tensor]:
    """Rename the tensors of a `ViTForImageClassification` as in a published file; reverses
    `from_published`.
    """
    layers = count_layers(state_dict)
    qkv_bias = "vit.layers.0.attention.q_proj.bias" in state_dict
    pairs = _pairs(layout, layers, qkv_bias)
    named = {published: state_dict[module].contiguous() for published, module in pairs.items()}
    for published, modules in _stacks(layout, layers, qkv_bias).items():
        named[published] = cat([state_dict[module] for module in modules])
    return named


def count_layers(names: Iterable[str]) -> int:
    """Count the transformer layers among transformers 5's module names."""
    return 1 + max(
        (int(name.split(".")[2]) for name in names if name.startswith("vit.layers.")), default=-1
    )


def published_name_of(module: str, layout: Layout) -> str:
    """Return the published name of the tensor that holds `module`.

    In timm, query, key and value are held by their stack.
    """
    layers = 1 + (int(module.split(".")[2]) if module.startswith("vit.layers.") else 0)
    for published, modules in _stacks(layout, layers, qkv_bias=True).items():
        if module in modules:
            return published
    pairs = _pairs(layout, layers, qkv_bias=True)
    return next(published for published, name in pairs.items() if name == module)


def _pairs(layout: Layout, layers: int, qkv_bias: bool) -> dict[str, str]:
    """Map published names to module names, without timm's stacked tensors."""
    match layout:
        case "huggingface":
            return _huggingface_pairs(layers, qkv_bias)
        case "timm":
            return _timm_pairs(layers)
        case "modules":
            return {module: module for module in _huggingface_pairs(layers, qkv_bias).values()}
        case _:
            assert_never(layout)


def _stacks(layout: Layout, layers: int, qkv_bias: bool) -> dict[str, tuple[str, ...]]:
    """Map the published name of each stack to the names of its modules; none but in timm."""
    return _timm_stacked(layers, qkv_bias) if layout == "timm" else {}


def _huggingface_pairs(layers: int, qkv_bias: bool) -> dict[str, str]:
    pairs = {old: module for module, old, _ in _OUTER}
    for n in range(layers):
        for module, old in ((m, o) for m, o, _ in _IN_LAYER):
            for kind in ("weight", "bias"):
                pairs[f"vit.encoder.layer.{n}.{old}.{kind}"] = f"vit.layers.{n}.{module}.{kind}"
        for module, old in _STACKED:
            for kind in _qkv_kinds(qkv_bias):
                pairs[f"vit.encoder.layer.{n}.{old}.{kind}"] = f"vit.layers.{n}.{module}.{kind}"
    return pairs


def _timm_pairs(layers: int) -> dict[str, str]:
    pairs = {timm: module for module, _, timm in _OUTER}
    for n in range(layers):
        for module, _, timm in _IN_LAYER:
            for kind in ("weight", "bias"):
                pairs[f"vit.blocks.{n}.{timm}.{kind}"] = f"vit.layers.{n}.{module}.{kind}"
    return pairs


def _timm_stacked(layers: int, qkv_bias: bool) -> dict[str, tuple[str, ...]]:
    """Map the published name of each stack to the names of its three modules, in order."""
    return {
        f"vit.blocks.{n}.attn.qkv.{kind}": tuple(
            f"vit.layers.{n}.{module}.{kind}" for module, _ in _STACKED
        )
        for n in range(layers)
        for kind in _qkv_kinds(qkv_bias)
    }


def _qkv_kinds(qkv_bias: bool) -> tuple[str, ...]:
    return ("weight", "bias") if qkv_bias else ("weight",)
