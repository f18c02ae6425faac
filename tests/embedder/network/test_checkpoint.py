from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from embedder.errors import CorruptWeights, InvalidModelConfig, ModelUnavailable, UnsafeWeights
from embedder.network.checkpoint import INDEX_FILE, combine_digests, count_logits, find_weights

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.fixture
def sharded(tmp_path: Path, tiny_model: Path) -> Path:
    """The tiny model in two shards, as `save_pretrained` writes them."""
    folder = tmp_path / "sharded"
    shutil.copytree(tiny_model, folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for n, shard in enumerate(SHARDS):
        part = {name: tensors[name] for name in sorted(tensors)[n::2]}
        save_file(part, folder / shard, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, shard))
    write_index(folder, {"metadata": {"total_size": 1}, "weight_map": weight_map})
    return folder


def write_index(folder: Path, index: object) -> None:
    (folder / INDEX_FILE).write_text(json.dumps(index))


def read_index(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / INDEX_FILE).read_text()))


def test_shards_are_found_in_the_order_of_their_names(sharded: Path) -> None:
    checkpoint = find_weights(sharded)
    assert [path.name for path in checkpoint.paths] == SHARDS
    assert checkpoint.digests == {
        name: hashlib.sha256((sharded / name).read_bytes()).hexdigest() for name in SHARDS
    }


def test_the_digest_of_shards_is_that_of_the_lines_of_sha256sum(sharded: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("this machine has no command sha256sum")
    lines = subprocess.run(
        ["sha256sum", *SHARDS],
        cwd=sharded,
        capture_output=True,
        check=True,
    ).stdout
    assert find_weights(sharded).sha256 == hashlib.sha256(lines).hexdigest()


def test_the_digest_of_one_file_is_the_files_own(tiny_model: Path) -> None:
    checkpoint = find_weights(tiny_model)
    content = (tiny_model / "model.safetensors").read_bytes()
    assert checkpoint.sha256 == hashlib.sha256(content).hexdigest()
    assert checkpoint.paths == (tiny_model / "model.safetensors",)


def test_the_digest_changes_with_every_shard_and_with_its_name() -> None:
    one, two = {"a": "0" * 64, "b": "1" * 64}, {"b": "1" * 64, "a": "0" * 64}
    assert combine_digests(one) == combine_digests(two)
    others = [{"a": "0" * 64}, {"a": "1" * 64, "b": "0" * 64}, {"a": "0" * 64, "c": "1" * 64}]
    assert len({combine_digests(each) for each in (one, *others)}) == 4


def test_one_file_precedes_an_index_like_in_transformers(sharded: Path, tiny_model: Path) -> None:
    shutil.copy(tiny_model / "model.safetensors", sharded)
    assert find_weights(sharded).sha256 == find_weights(tiny_model).sha256


def test_an_index_may_name_one_file_alone(tmp_path: Path, tiny_model: Path) -> None:
    shutil.copy(tiny_model / "model.safetensors", tmp_path / "weights.safetensors")
    names = load_file(tmp_path / "weights.safetensors")
    write_index(tmp_path, {"weight_map": dict.fromkeys(names, "weights.safetensors")})
    assert [path.name for path in find_weights(tmp_path).paths] == ["weights.safetensors"]


def test_a_shard_that_is_missing_or_left_over_is_named(sharded: Path) -> None:
    shutil.copy(sharded / SHARDS[0], sharded / "model-00001-of-00003.safetensors")
    with pytest.raises(CorruptWeights, match=r"does not name model-00001-of-00003\.safetensors"):
        find_weights(sharded)
    (sharded / "model-00001-of-00003.safetensors").unlink()
    find_weights(sharded)
    (sharded / SHARDS[1]).unlink()
    with pytest.raises(ModelUnavailable, match=r"lacks model-00002-of-00002\.safetensors"):
        find_weights(sharded)


def test_a_shard_with_other_tensors_than_the_index_says_is_refused(sharded: Path) -> None:
    index = read_index(sharded)
    for change in (
        lambda names: names.pop("classifier.bias"),
        lambda names: names.update({"vit.more": SHARDS[0]}),
        lambda names: names.update({"classifier.bias": SHARDS[1], "classifier.weight": SHARDS[0]}),
    ):
        names = dict(index["weight_map"])
        change(names)
        write_index(sharded, {"weight_map": names})
        with pytest.raises(CorruptWeights, match=r"model-0000.*does not hold the tensors"):
            find_weights(sharded)
    write_index(sharded, index)
    (sharded / SHARDS[1]).write_bytes((sharded / SHARDS[0]).read_bytes())
    with pytest.raises(CorruptWeights, match="does not hold the tensors"):
        find_weights(sharded)


def test_a_shard_that_is_cut_or_a_pickle_is_refused(sharded: Path) -> None:
    whole = (sharded / SHARDS[1]).read_bytes()
    (sharded / SHARDS[1]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptWeights, match=SHARDS[1]):
        find_weights(sharded)
    torch.save({"classifier.bias": torch.zeros(1)}, sharded / SHARDS[1])
    with pytest.raises(UnsafeWeights, match=SHARDS[1]):
        find_weights(sharded)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("../model.safetensors", InvalidModelConfig),
        ("/etc/model.safetensors", InvalidModelConfig),
        ("shards/model.safetensors", InvalidModelConfig),
        ("shards\\model.safetensors", InvalidModelConfig),
        ("..", InvalidModelConfig),
        (".hidden.safetensors", InvalidModelConfig),
        ("model\0.safetensors", InvalidModelConfig),
        ("", InvalidModelConfig),
        ("config.json", InvalidModelConfig),
        (3, InvalidModelConfig),
        (None, InvalidModelConfig),
        ("pytorch_model-00001-of-00002.bin", UnsafeWeights),
    ],
)
def test_a_name_that_leaves_the_folder_or_is_not_safetensors_is_refused(
    sharded: Path, name: object, error: type[Exception]
) -> None:
    index = read_index(sharded)
    index["weight_map"]["classifier.bias"] = name
    write_index(sharded, index)
    with pytest.raises(error):
        find_weights(sharded)


@pytest.mark.parametrize("index", [[], {}, {"weight_map": {}}, {"weight_map": ["a"]}])
def test_an_index_without_a_map_is_refused_by_its_name(sharded: Path, index: object) -> None:
    write_index(sharded, index)
    with pytest.raises(InvalidModelConfig, match=INDEX_FILE):
        find_weights(sharded)


def test_a_folder_without_weights_says_what_it_lacks(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"has no model\.safetensors$"):
        find_weights(tmp_path)
    shutil.copy(tiny_model / "model.safetensors", tmp_path / "model.fp16.safetensors")
    with pytest.raises(ModelUnavailable, match=r"no .*index.json that names model\.fp16\.safe"):
        find_weights(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(UnsafeWeights, match=r"pytorch_model\.bin"):
        find_weights(tmp_path)


def test_the_logits_of_a_checkpoint_are_counted_in_every_layout(
    tmp_path: Path, sharded: Path, model_writer: Callable[..., Path]
) -> None:
    assert count_logits(find_weights(sharded).paths) == 1
    timm = model_writer(tmp_path / "timm", layout="timm") / "model.safetensors"
    assert count_logits([timm]) == 1
    save_file({"classifier.weight": torch.ones(5, 4)}, tmp_path / "five.safetensors")
    assert count_logits([timm.parent / "model.safetensors", tmp_path / "five.safetensors"]) == 1
    assert count_logits([tmp_path / "five.safetensors"]) == 5
    save_file({"other": torch.ones(5, 4)}, tmp_path / "none.safetensors")
    assert count_logits([tmp_path / "none.safetensors"]) == 1
