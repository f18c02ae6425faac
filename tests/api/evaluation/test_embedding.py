"""Each image embedded once, and as it looks after each delivery; what cannot be used is named."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.evaluation import embedding
from api.evaluation.embedding import Embeddings, embed_images
from api.evaluation.reading import Labelled, list_labelled
from api.sources.opening import open_source
from embedder.network.embed import Embedder
from embedder.pictures.delivery import Condition, deliver
from embedder.pictures.preprocess import preprocess

CONDITIONS = [Condition.JPEG50, Condition.HALF]


def picture(seed: int, side: int = 176) -> Image.Image:
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder.load(device="cpu", precision="float32", batch_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs, one of them twice, three fakes, one that is cut and one that is tiny."""
    folder = tmp_path_factory.mktemp("labelled")
    sizes = {
        "real/a.png": 400,
        "real/b.png": 176,
        "fake/sdxl/c.png": 400,
        "fake/flux/d.png": 176,
        "fake/e.png": 200,
    }
    for seed, (name, side) in enumerate(sizes.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed, side).save(folder / name)
    whole = (folder / "real/a.png").read_bytes()
    (folder / "real/copy.png").write_bytes(whole)
    (folder / "real/cut.png").write_bytes(whole[: len(whole) // 2])
    picture(9, 40).save(folder / "fake/tiny.png")
    return folder


@pytest.fixture(scope="module")
def wanted(folder: Path) -> tuple[Labelled, ...]:
    return list_labelled(open_source(str(folder)), None).images


@pytest.fixture(scope="module")
def progress() -> list[tuple[int, int]]:
    return []


@pytest.fixture(scope="module")
def embedded(
    embedder: Embedder, folder: Path, wanted: tuple[Labelled, ...], progress: list[tuple[int, int]]
) -> Embeddings:
    numbers = frozenset(image.number for image in wanted if image.name != "fake/e.png")
    return embed_images(
        embedder,
        open_source(str(folder)),
        wanted,
        CONDITIONS,
        numbers,
        lambda *counts: progress.append(counts),
    )


def test_what_cannot_be_decoded_is_named_and_the_rest_embedded(embedded: Embeddings) -> None:
    assert {each.name: each.reason for each in embedded.failures} == {
        "real/cut.png": "truncated",
        "fake/tiny.png": "too_small",
    }
    names = [image.name for image in embedded.images]
    assert sorted(names) == sorted(
        [
            "real/a.png",
            "real/b.png",
            "real/copy.png",
            "fake/sdxl/c.png",
            "fake/flux/d.png",
            "fake/e.png",
        ]
    )
    assert embedded.synthetic.tolist() == [name.startswith("fake") for name in names]


def test_progress_ends_where_everything_is_done(
    embedded: Embeddings, progress: list[tuple[int, int]]
) -> None:
    assert len(embedded.images) < len(progress)
    assert progress[-1] == (8, 8)


def test_vectors_and_logits_are_those_of_the_embedder(
    embedded: Embeddings, embedder: Embedder, folder: Path
) -> None:
    row = [image.name for image in embedded.images].index("real/b.png")
    with Image.open(folder / "real/b.png") as image:
        alone = embedder.embed_pixels(_pixels(embedder, image.convert("RGB")))
    assert embedded.population.vectors[row] @ alone.vectors[0] == pytest.approx(1.0, abs=1e-5)
    assert embedded.population.logits[row] == pytest.approx(alone.logits[0], abs=1e-3)


def test_identical_bytes_are_one_image_and_each_image_is_its_own_source(
    embedded: Embeddings,
) -> None:
    names = [image.name for image in embedded.images]
    ids = dict(zip(names, embedded.population.image_ids.tolist(), strict=True))
    assert ids["real/a.png"] == ids["real/copy.png"]
    assert len(set(ids.values())) == 5
    assert (
        len(set(embedded.population.sources.tolist())) == len(set(embedded.sources.tolist())) == 6
    )


def test_a_delivery_is_embedded_as_it_looks_and_left_out_where_it_is_too_small(
    embedded: Embeddings, embedder: Embedder, folder: Path
) -> None:
    names = [image.name for image in embedded.images]
    jpeg, half = (embedded.delivered[condition] for condition in CONDITIONS)
    asked = [row for row, name in enumerate(names) if name != "fake/e.png"]
    assert jpeg.rows.tolist() == embedded.conditioned.tolist() == asked
    assert {names[row] for row in half.rows} == {"real/a.png", "real/copy.png", "fake/sdxl/c.png"}
    with Image.open(folder / "fake/sdxl/c.png") as image:
        halved = embedder.embed_pixels(
            _pixels(embedder, deliver(image.convert("RGB"), Condition.HALF))
        )
    logit = half.logits[half.rows.tolist().index(names.index("fake/sdxl/c.png"))]
    assert logit == pytest.approx(halved.logits[0], abs=1e-3)


def test_pictures_are_kept_of_the_images_on_the_wrong_side_alone_worst_first(
    embedder: Embedder, folder: Path, wanted: tuple[Labelled, ...]
) -> None:
    source = open_source(str(folder))
    found = embed_images(embedder, source, wanted, [], frozenset(), lambda *_: None, most_wrong=2)
    logits = found.population.logits
    expected = [
        *sorted(-logit for logit in logits[~found.synthetic] if logit >= 0)[:2],
        *sorted(logit for logit in logits[found.synthetic] if logit < 0)[:2],
    ]
    assert expected
    assert [
        wrong.logit if wrong.image.synthetic else -wrong.logit for wrong in found.wrong
    ] == expected
    for wrong in found.wrong:
        with Image.open(BytesIO(wrong.thumbnail)) as small:
            assert max(small.size) <= embedding.THUMBNAIL_PIXELS
    assert found.delivered == {}


def _pixels(embedder: Embedder, image: Image.Image) -> np.ndarray:
    return preprocess(image, embedder.info.preprocessing)[None]
