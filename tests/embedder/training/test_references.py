"""Collecting and embedding reference photographs, on a few made ones."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedder.network.embed import Embedder
from embedder.network.references import read_references
from embedder.pictures.delivery import Condition
from embedder.training.reference_photographs import (
    COLLECTIONS_FILE,
    PACKAGED,
    collect,
    read_resources,
)
from embedder.training.references import write_references
from embedder.training.wallpapers import PHOTOGRAPHS


def encoded(seed: int, side: int, kind: str = "WEBP") -> bytes:
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def resources(members: dict[str, bytes]) -> bytes:
    """An archive of Qt resources, version 3, with its members in one folder."""
    names, name_places = b"", []
    for name in ("photos", *members):
        name_places.append(len(names))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    contents, content_places = b"", []
    for data in members.values():
        content_places.append(len(contents))
        contents += struct.pack(">I", len(data)) + data
    folder = struct.pack(">IHIIQ", 0, 2, 1, 1, 0)
    inner = struct.pack(">IHIIQ", name_places[0], 2, len(members), 2, 0)
    leaves = b"".join(
        struct.pack(">IHHHIQ", name_at, 0, 0, 0, content_at, 0)
        for name_at, content_at in zip(name_places[1:], content_places, strict=True)
    )
    tree = folder + inner + leaves
    header = struct.pack(">4sIIIII", b"qres", 3, 24, 24 + len(tree), 24 + len(tree + contents), 0)
    return header + tree + contents + names


def test_images_are_read_from_an_archive_of_resources() -> None:
    members = {"lion.webp": encoded(0, 40), "words.txt": b"no image", "owl.webp": encoded(1, 40)}

    assert list(read_resources(resources(members))) == [
        ("lion.webp", members["lion.webp"]),
        ("owl.webp", members["owl.webp"]),
    ]


def test_a_missing_package_ends_the_collection(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="unpack the package"):
        collect(tmp_path, tmp_path, tmp_path / "out")


def test_no_package_was_trained_on() -> None:
    packages = {folder.split("/")[0] for each in PACKAGED.values() for folder in each.folders}
    assert not packages & set(PHOTOGRAPHS)


def test_a_folder_becomes_a_file_that_the_model_reads(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    for name, seeds in (("camera", (0, 1)), ("phone", (2,))):
        (folder / name).mkdir(parents=True)
        for seed in seeds:
            (folder / name / f"{seed}.png").write_bytes(encoded(seed, 400, "PNG"))
    # Half of it is too small for the model, so not all deliveries exist: it is left out.
    (folder / "phone" / "small.png").write_bytes(encoded(3, 200, "PNG"))
    (folder / COLLECTIONS_FILE).write_text(json.dumps({"camera": "a", "phone": "b"}))
    embedder = Embedder.load("builtin", device="cpu", precision="float32")
    target = tmp_path / "references.safetensors"

    assert write_references(embedder, folder, target) == 3

    info = embedder.info
    found = read_references(target, info.space_fingerprint, info.dimension)
    assert found.vectors.shape == (3, len(Condition), info.dimension)
    assert found.collection_numbers.tolist() == [0, 0, 1]
    assert [each.description for each in found.collections] == ["a", "b"]
    as_is = found.vectors[:, 0]
    assert (found.vectors[:, 1:] != as_is[:, None]).any()
