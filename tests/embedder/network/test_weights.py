from __future__ import annotations

import json
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embedder.errors import CorruptWeights, TensorMismatch, UnsafeWeights
from embedder.network.architecture import VIT_SMALL_384, Architecture, read_architecture
from embedder.network.embed import Embedder
from embedder.network.registry import CONFIG_FILE, WEIGHTS_FILE, get_builtin_directory
from embedder.network.tensor_names import to_published
from embedder.network.weight_files import (
    check_is_safetensors,
    compute_sha256,
    read_shapes,
    verify_file,
)
from embedder.network.weights import load_vit, map_weights, read_tensors

ModelWriter = Callable[..., Path]


def rewrite(weights: Path, target: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, target)
    return target


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".BIN"])
def test_pickles_are_refused_by_name(tmp_path: Path, tiny_model: Path, suffix: str) -> None:
    renamed = tmp_path / f"model{suffix}"
    renamed.write_bytes((tiny_model / "model.safetensors").read_bytes())
    with pytest.raises(UnsafeWeights, match=f"model{suffix}"):
        read_tensors(renamed)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_are_refused_by_content_whatever_they_are_called(
    tmp_path: Path, protocol: int
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps({"vit.cls_token": [1.0] * 100}, protocol=protocol))
    with pytest.raises((UnsafeWeights, CorruptWeights)) as refused:
        read_tensors(path)
    assert protocol < 2 or isinstance(refused.value, UnsafeWeights)


@pytest.mark.parametrize("old_format", [True, False])
def test_a_torch_checkpoint_under_another_name_is_refused(tmp_path: Path, old_format: bool) -> None:
    path = tmp_path / "model.safetensors"
    torch.save({"weight": torch.zeros(3)}, path, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(UnsafeWeights):
        check_is_safetensors(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 7, b"\x08\x00\x00\x00\x00\x00\x00\x00notjson!", b"hello world"]
)
def test_what_is_no_safetensors_is_corrupt(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptWeights, match=r"model\.safetensors"):
        read_tensors(path)


def test_a_header_that_promises_more_than_the_file_holds_is_corrupt(
    tmp_path: Path, tiny_model: Path
) -> None:
    path = tmp_path / "model.safetensors"
    whole = (tiny_model / "model.safetensors").read_bytes()
    for cut in (9, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(CorruptWeights):
            read_tensors(path)
    path.write_bytes(struct.pack("<Q", 2**63) + b"{" + whole[9:])
    with pytest.raises(CorruptWeights):
        read_tensors(path)


def test_size_and_sha256_are_compared_and_named(tiny_model: Path) -> None:
    path = tiny_model / "model.safetensors"
    actual = compute_sha256(path)
    size = path.stat().st_size
    with pytest.raises(CorruptWeights, match=f"{size:,} bytes, not 5"):
        verify_file(path, actual, 5)
    with pytest.raises(CorruptWeights, match=r"sha256 .*, not 00"):
        verify_file(path, "00" * 32, size)
    assert verify_file(path, actual, size) == actual == verify_file(path, None, None)


def test_missing_extra_and_misshapen_tensors_are_named_as_the_file_names_them(
    tmp_path: Path, tiny_model: Path, tiny_architecture: Architecture
) -> None:
    weights, target = tiny_model / "model.safetensors", tmp_path / "model.safetensors"
    with pytest.raises(TensorMismatch) as missing:
        load_vit(
            rewrite(weights, target, lambda t: t.pop("vit.layernorm.weight")), tiny_architecture
        )
    assert missing.value.missing == ("vit.layernorm.weight",)
    with pytest.raises(TensorMismatch) as extra:
        load_vit(
            rewrite(weights, target, lambda t: t.update({"vit.distilled.bias": torch.ones(2)})),
            tiny_architecture,
        )
    assert extra.value.extra == ("vit.distilled.bias",)
    with pytest.raises(TensorMismatch) as shape:
        load_vit(
            rewrite(weights, target, lambda t: t.update({"classifier.weight": torch.ones(2, 32)})),
            tiny_architecture,
        )
    assert "classifier.weight holds [2, 32]" in str(shape.value)


@pytest.mark.parametrize(
    "kind", [torch.float64, torch.int8, torch.uint8, torch.int32, torch.bool, torch.float8_e4m3fn]
)
def test_a_type_that_float32_cannot_hold_exactly_is_refused_by_name(
    tmp_path: Path, tiny_model: Path, tiny_architecture: Architecture, kind: torch.dtype
) -> None:
    target = tmp_path / "model.safetensors"
    rewrite(
        tiny_model / "model.safetensors",
        target,
        lambda t: t.update({"classifier.bias": torch.ones(1).to(kind)}),
    )
    with pytest.raises(TensorMismatch, match=f"classifier.bias is {kind}; only float32, float16"):
        load_vit(target, tiny_architecture)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_types_are_widened_exactly_also_in_some_tensors_alone(
    tmp_path: Path, tiny_model: Path, tiny_architecture: Architecture, kind: torch.dtype
) -> None:
    target = tmp_path / "model.safetensors"
    for part in ("", "layer.1"):
        rewrite(
            tiny_model / "model.safetensors",
            target,
            lambda t, part=part: t.update({n: t[n].to(kind) for n in t if part in n}),
        )
        model, stored = load_vit(target, tiny_architecture), load_file(target)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        for name, tensor in to_published(model.state_dict()).items():
            assert torch.equal(tensor.to(stored[name].dtype), stored[name])


def test_tensors_that_classification_does_not_use_are_left_out(
    tmp_path: Path, tiny_model: Path, tiny_architecture: Architecture
) -> None:
    weights = tiny_model / "model.safetensors"
    more = {
        "vit.pooler.dense.weight": torch.ones(32, 32),
        "vit.pooler.dense.bias": torch.ones(32),
        "vit.embeddings.mask_token": torch.ones(1, 1, 32),
    }
    target = rewrite(weights, tmp_path / "model.safetensors", lambda t: t.update(more))
    with_more = load_vit(target, tiny_architecture).state_dict()
    without = load_vit(weights, tiny_architecture).state_dict()
    assert with_more.keys() == without.keys()
    assert all(torch.equal(with_more[name], without[name]) for name in without)


def test_a_tensor_that_two_files_hold_is_refused(
    tmp_path: Path, tiny_model: Path, tiny_architecture: Architecture
) -> None:
    weights = tiny_model / "model.safetensors"
    one = {"classifier.bias": torch.ones(1)}
    save_file(one, tmp_path / "other.safetensors")
    with pytest.raises(CorruptWeights, match=r"another shard holds classifier\.bias too"):
        load_vit([weights, tmp_path / "other.safetensors"], tiny_architecture)


def test_shapes_are_read_from_the_header(tiny_model: Path, tmp_path: Path) -> None:
    shapes = read_shapes(tiny_model / "model.safetensors")
    tensors = load_file(tiny_model / "model.safetensors")
    assert shapes == {name: tuple(tensors[name].shape) for name in tensors}
    (tmp_path / "model.safetensors").write_bytes(b"\x08" + b"\x00" * 7 + b"{       ")
    with pytest.raises(CorruptWeights, match="not a complete safetensors file"):
        read_shapes(tmp_path / "model.safetensors")


def test_a_stack_of_the_timm_layout_is_named_when_its_shape_is_wrong(
    tmp_path: Path, model_writer: ModelWriter, tiny_architecture: Architecture
) -> None:
    weights = model_writer(tmp_path / "timm", layout="timm") / "model.safetensors"
    target = tmp_path / "model.safetensors"
    name = "vit.blocks.1.attn.qkv.weight"
    for shape in ((96, 31), (48, 32), (97, 32), ()):
        with pytest.raises(TensorMismatch, match=r"vit\.blocks\.1\.attn\.qkv\.weight"):
            load_vit(
                rewrite(weights, target, lambda t, s=shape: t.update({name: torch.ones(s)})),
                tiny_architecture,
            )


def test_a_checkpoint_of_more_layers_than_its_configuration_is_refused(
    tmp_path: Path, model_writer: ModelWriter, tiny_architecture: Architecture
) -> None:
    deeper = Architecture(
        **{
            **{n: getattr(tiny_architecture, n) for n in Architecture.__slots__},
            "num_hidden_layers": 3,
        }
    )
    for layout in ("huggingface", "timm"):
        weights = model_writer(tmp_path / layout, deeper, layout=layout) / "model.safetensors"
        with pytest.raises(TensorMismatch) as refused:
            load_vit(weights, tiny_architecture)
        assert refused.value.extra
        assert not refused.value.missing


def test_the_two_published_layouts_have_exactly_the_published_sizes_and_headers(
    published_checkpoints: dict[str, Path],
) -> None:
    sizes = {
        layout: (folder / "model.safetensors").stat().st_size
        for layout, folder in published_checkpoints.items()
    }
    assert sizes == {"huggingface": 87_270_764, "timm": 87_262_324}
    counts = {}
    for layout, folder in published_checkpoints.items():
        with (folder / "model.safetensors").open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        assert header.pop("__metadata__", None) == (
            {"format": "pt"} if layout == "huggingface" else None
        )
        counts[layout] = len(header)
    assert counts == {"huggingface": 200, "timm": 152}


def test_both_published_layouts_give_the_same_embedding_and_logit(
    published_checkpoints: dict[str, Path],
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 384, 384, 3), np.uint8)
    results = []
    for folder in published_checkpoints.values():
        embedder = Embedder.load(folder, device="cpu", precision="float32")
        assert (embedder.info.dimension, embedder.info.parameter_count) == (384, 21_811_969)
        results.append(embedder.embed_pixels(pixels))
    assert np.array_equal(results[0].vectors, results[1].vectors)
    assert np.array_equal(results[0].logits, results[1].logits)


def test_loading_copies_and_initialises_nothing(published_checkpoints: dict[str, Path]) -> None:
    before = torch.random.get_rng_state()
    model = load_vit(published_checkpoints["timm"] / "model.safetensors", VIT_SMALL_384)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not model.training
    query, key = (
        model.vit.layers[0].attention.q_proj.weight,
        model.vit.layers[0].attention.k_proj.weight,
    )
    assert query.untyped_storage().data_ptr() == key.untyped_storage().data_ptr(), (
        "views of one stacked tensor"
    )
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of memory")
def test_weights_that_are_mapped_again_are_the_same_and_not_in_memory(tmp_path: Path) -> None:
    builtin = get_builtin_directory("builtin")
    weights = Path(shutil.copy(builtin / WEIGHTS_FILE, tmp_path))
    model = load_vit(weights, read_architecture(builtin / CONFIG_FILE))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert find_resident_bytes(weights) > weights.stat().st_size / 2

    map_weights(model, weights)

    assert find_resident_bytes(weights) < weights.stat().st_size / 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def find_resident_bytes(path: Path) -> int:
    """Return how much of a mapped file this process holds in memory."""
    resident, is_file = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *words = line.split()
        if not name.endswith(":"):
            is_file = words[-1] == str(path)
        elif is_file and name == "Rss:":
            resident += int(words[0]) * 1024
    return resident
