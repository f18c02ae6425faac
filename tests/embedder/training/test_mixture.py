import numpy as np
import pytest
from PIL import Image, ImageFilter

from embedder.demonstration.resynthesis import DECODERS
from embedder.training.deliveries import Source, source_of
from embedder.training.fakes import Scene
from embedder.training.generators import FAMILIES, CorpusPicture
from embedder.training.mixture import (
    CLASSES,
    NO_CLASS,
    class_of,
    draw_matched_places,
    draw_place,
    make_corpus_batch,
    make_mixed_batch,
    pool_of,
    pools_of,
)
from tests.embedder.training.corpora import noisy

STYLEGAN2, SD1 = (1 + len(DECODERS) + number for number in range(len(FAMILIES)))


ZERO = {"sharp": 0, "smooth": 0}


def sources(images: list[Image.Image]) -> list[Source]:
    return [source_of(image, "PNG") for image in images]


def pictures() -> list[CorpusPicture]:
    sources = [
        ("bsds500", False),
        ("reddit-human", False),
        ("stylegan2-ffhq", True),
        ("sd1.4", True),
    ]
    return [
        CorpusPicture(f"{source}/{number}", source, synthetic, str(number), noisy(number), "PNG")
        for source, synthetic in sources
        for number in range(3)
    ]


@pytest.mark.parametrize(
    ("generator", "number"),
    [("stylegan2-ffhq", STYLEGAN2), ("sd1.5-img2img", SD1), ("reddit-ai-unspecified", NO_CLASS)],
)
def test_seen_generators_have_the_class_of_their_family(generator: str, number: int) -> None:
    assert class_of(generator) == number
    assert number < CLASSES


def test_a_batch_holds_as_many_photographs_as_fakes() -> None:
    photographs, fakes = pools_of(pictures())

    batch = make_corpus_batch(photographs, fakes, np.random.default_rng(0), 6)

    assert batch.pixels.shape == (12, 160, 160, 3)
    assert batch.generators[::2].tolist() == [0] * 6
    assert set(batch.generators[1::2].tolist()) <= {STYLEGAN2, SD1}


def test_the_two_sides_of_a_batch_are_about_as_sharp_however_sharp_their_pictures_are() -> None:
    """Half of the photographs are as smooth as the fakes, and those are what fakes are set
    against.
    """
    smooth = [noisy(n, 400).filter(ImageFilter.GaussianBlur(1.5 + n / 10)) for n in range(6)]
    photographs = pool_of(
        {"sharp": sources([noisy(n, 400) for n in range(6)]), "smooth": sources(smooth)}, ZERO
    )
    fakes = pool_of({"smooth": sources(smooth)}, {"smooth": STYLEGAN2})
    random = np.random.default_rng(0)

    matched = [draw_matched_places(photographs, fakes, random) for _ in range(60)]
    drawn = [(draw_place(photographs, random)[0], draw_place(fakes, random)[0]) for _ in range(60)]

    differences = [abs(one.sharpness - other.sharpness) for (one, _), (other, _) in matched]
    by_chance = [abs(one.sharpness - other.sharpness) for one, other in drawn]
    assert np.mean(differences) < np.mean(by_chance) / 1.5
    assert {generator for pair in matched for _, generator in pair} == {0, STYLEGAN2}


def test_a_mixed_batch_has_the_demonstration_pairs_too() -> None:
    photographs, fakes = pools_of(pictures())
    scene = Scene(np.asarray(noisy(9)), {1: np.asarray(noisy(10))})

    batch = make_mixed_batch([scene], photographs, fakes, np.random.default_rng(0), pairs=2, each=1)

    assert batch.generators[:5].tolist() == [0, 2, 0, 2, 0]
    assert batch.pixels.shape[0] == 6


def test_a_small_source_is_drawn_more_often_than_its_share_of_the_pictures() -> None:
    picture = source_of(noisy(0), "PNG")
    pool = pool_of({"large": [picture] * 99, "small": [picture]}, {"large": 1, "small": 2})
    random = np.random.default_rng(0)

    drawn = [pool.draw(random)[1] for _ in range(500)]

    assert 0.05 < drawn.count(2) / 500 < 0.15
