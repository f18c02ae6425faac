"""Each image embedded once, and as it looks after each delivery; what cannot be used is named."""

from __future__ import annotations

from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api.evaluation import embedding
from api.evaluation.embedding import Embeddings, embed_images
from api.evaluation.reading import Labelled, list_labelled
from api.sources.access import Access
from api.sources.opening import open_source
from embedder.file_metadata.reading import read_file_metadata
from embedder.network.embed import Embedder
from embedder.pictures.decode import decode
from embedder.pictures.delivery import Condition, coarser_of, condition_of, deliver, delivery_of
from embedder.pictures.preprocess import preprocess
from tests.api.evaluation.small import StreamingModel, as_embedder, save_grey

CONDITIONS = [Condition.JPEG50, Condition.HALF]


def recognise(data: bytes) -> Condition:
    """The way in which a look-up takes a file to be delivered."""
    return condition_of(delivery_of(data, decode(data), read_file_metadata(data)))


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
    return list_labelled(open_source(str(folder), Access()), None).images


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
        open_source(str(folder), Access()),
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
    place = half.rows.tolist().index(names.index("fake/sdxl/c.png"))
    assert logit == half.logits[place] == pytest.approx(halved.logits[0], abs=1e-3)
    assert half.vectors[place] @ halved.vectors[0] == pytest.approx(1.0, abs=1e-5)


def test_the_facts_of_a_probe_are_those_of_a_look_up(
    embedded: Embeddings, embedder: Embedder, folder: Path
) -> None:
    names = [image.name for image in embedded.images]
    whole, small = (embedded.facts[names.index(name)] for name in ("real/a.png", "real/b.png"))
    assert (whole.shortest_side, small.shortest_side) == (400, 176)
    assert {each.model_side for each in embedded.facts} == {embedder.info.image_size}
    for name, each in zip(names, embedded.facts, strict=True):
        assert each.condition == recognise((folder / name).read_bytes()).value
    assert [each.logit for each in embedded.facts] == embedded.population.logits.tolist()
    assert not any(each.is_flat for each in embedded.facts)
    half = embedded.delivered[Condition.HALF]
    assert {each.shortest_side for each in half.facts} == {200}
    as_they_were = [Condition(embedded.facts[row].condition) for row in half.rows]
    assert [each.condition for each in half.facts] == [
        coarser_of(own, Condition.HALF).value for own in as_they_were
    ]
    assert [each.logit for each in half.facts] == half.logits.tolist()


def test_a_picture_without_structure_is_flat_and_a_jpeg_keeps_its_own_delivery(
    tmp_path: Path,
) -> None:
    (tmp_path / "real").mkdir()
    Image.new("RGB", (200, 200), (90, 90, 90)).save(tmp_path / "real/flat.png")
    (tmp_path / "fake").mkdir()
    picture(1).save(tmp_path / "fake/rough.jpg", quality=50)
    found, _ = embed_folder(
        tmp_path, conditions=[Condition.JPEG90], conditioned=frozenset(range(2))
    )
    facts = {image.name: each for image, each in zip(found.images, found.facts, strict=True)}
    assert facts["real/flat.png"].is_flat
    assert not facts["fake/rough.jpg"].is_flat
    assert facts["fake/rough.jpg"].condition == Condition.JPEG50.value
    delivered = {each.condition for each in found.delivered[Condition.JPEG90].facts}
    assert delivered == {Condition.JPEG90.value, Condition.JPEG50.value}


def test_pictures_are_kept_of_the_images_on_the_wrong_side_alone_worst_first(
    embedder: Embedder, folder: Path, wanted: tuple[Labelled, ...]
) -> None:
    source = open_source(str(folder), Access())
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


def embed_folder(
    folder: Path, model: StreamingModel | None = None, **options: Any
) -> tuple[Embeddings, list[tuple[int, int]]]:
    """Embed the images of a folder by a model of a few lines."""
    steps: list[tuple[int, int]] = []
    access = options.pop("access", Access())
    with closing(open_source(str(folder), access)) as source:
        found = embed_images(
            as_embedder(model or StreamingModel()),
            source,
            list_labelled(source, None).images,
            options.pop("conditions", []),
            options.pop("conditioned", frozenset()),
            lambda *counts: steps.append(counts),
            **options,
        )
    return found, steps


def test_where_nothing_can_be_decoded_there_are_no_rows_but_their_shapes(tmp_path: Path) -> None:
    for name in ("real/a.png", "fake/x/b.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"no image")
    found, steps = embed_folder(tmp_path, conditions=[Condition.JPEG50])
    assert found.images == found.wrong == ()
    assert found.population.vectors.shape == (0, 12)
    assert found.synthetic.shape == found.sources.shape == found.conditioned.shape == (0,)
    assert found.delivered[Condition.JPEG50].logits.shape == (0,)
    assert {each.name for each in found.failures} == {"real/a.png", "fake/x/b.png"}
    assert steps == [(1, 2), (2, 2)]


def test_an_image_outside_of_the_roots_is_a_failure_before_those_of_decoding(
    tmp_path: Path,
) -> None:
    save_grey(tmp_path / "real/a.png", 50)
    (tmp_path / "real/b.png").write_bytes(b"no image")
    save_grey(tmp_path / "outside.png", 200)
    (tmp_path / "in").mkdir()
    (tmp_path / "real").rename(tmp_path / "in/real")
    (tmp_path / "in/fake/x").mkdir(parents=True)
    (tmp_path / "in/fake/x/c.png").symlink_to(tmp_path / "outside.png")
    found, _ = embed_folder(tmp_path / "in", access=Access([str(tmp_path / "in")]))
    assert [image.name for image in found.images] == ["real/a.png"]
    assert [each.name for each in found.failures] == ["fake/x/c.png", "real/b.png"]
    assert found.failures[0].reason == "not_allowed"


def test_the_wrong_images_are_those_on_the_other_side_of_zero_the_worst_of_each_kind_first(
    tmp_path: Path,
) -> None:
    for level in (10, 150, 180, 210, 230):
        save_grey(tmp_path / f"real/{level}.png", level)
    for level in (20, 40, 90, 240):
        save_grey(tmp_path / f"fake/x/{level}.png", level)
    found, _ = embed_folder(tmp_path, most_wrong=2)
    assert [wrong.image.name for wrong in found.wrong] == [
        "real/230.png",
        "real/210.png",
        "fake/x/20.png",
        "fake/x/40.png",
    ]
    every, _ = embed_folder(tmp_path)
    assert len(every.wrong) == 7
    assert all((wrong.logit >= 0) is not wrong.image.synthetic for wrong in every.wrong)
    none, _ = embed_folder(tmp_path, most_wrong=0)
    assert none.wrong == ()


def test_of_equally_wrong_images_the_first_are_kept(tmp_path: Path) -> None:
    for name in "abc":
        save_grey(tmp_path / f"real/{name}.png", 200)
    save_grey(tmp_path / "fake/x/d.png", 220)
    found, _ = embed_folder(tmp_path, most_wrong=2)
    assert [wrong.image.name for wrong in found.wrong] == ["real/a.png", "real/b.png"]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_deliveries_are_embedded_in_whole_batches_and_each_image_keeps_its_own_logits(
    tmp_path: Path, batch_size: int
) -> None:
    levels = [30, 90, 150, 210]
    for level in levels:
        save_grey(tmp_path / ("real" if level < 100 else "fake") / f"{level:03}.png", level)
    conditions = [Condition.JPEG90, Condition.HALF]
    model = StreamingModel(batch_size)
    found, _ = embed_folder(tmp_path, model, conditions=conditions, conditioned=frozenset(range(4)))
    assert sum(model.batches) == 8
    assert all(count == batch_size for count in model.batches[:-1])
    assert found.conditioned.tolist() == [0, 1, 2, 3]
    for condition in conditions:
        delivered = found.delivered[condition]
        assert delivered.rows.tolist() == [0, 1, 2, 3]
        assert delivered.logits == pytest.approx(found.population.logits, abs=0.3)


def test_only_the_chosen_images_are_delivered_and_rows_skip_what_failed(tmp_path: Path) -> None:
    """Numbers count the items of the source, rows the images that were embedded."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.png").write_bytes(b"no image")
    for name in "bcd":
        save_grey(tmp_path / f"real/{name}.png", 50)
    save_grey(tmp_path / "fake/x/e.png", 200)
    wanted = list_labelled(open_source(str(tmp_path), Access()), None).images
    names = {"real/a.png", "real/c.png"}
    chosen = frozenset(image.number for image in wanted if image.name in names)
    found, _ = embed_folder(tmp_path, conditions=[Condition.HALF], conditioned=chosen)
    (row,) = found.conditioned
    assert found.images[row].name == "real/c.png"
    assert found.delivered[Condition.HALF].rows.tolist() == [row]


def test_a_real_image_has_no_generator_in_the_population(tmp_path: Path) -> None:
    for level, name in ((50, "a.png"), (200, "b.png")):
        save_grey(tmp_path / name, level)
    rows = ["path,label,generator", "a.png,real,camera", "b.png,fake,Flux"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    found, _ = embed_folder(tmp_path / "list.csv")
    assert found.population.generators == (None, "flux")
    assert found.images[0].generator == "camera"


def test_images_of_one_declared_source_have_one_number(tmp_path: Path) -> None:
    for level in (50, 60, 200):
        save_grey(tmp_path / f"{level}.png", level)
    rows = ["path,label,source", "50.png,real,web", "60.png,real,camera", "200.png,fake,web"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    found, _ = embed_folder(tmp_path / "list.csv")
    assert found.sources[0] == found.sources[2] != found.sources[1]
    assert found.population.sources.tolist() == [0, 1, 2]
