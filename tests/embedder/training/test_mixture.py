import numpy as np
import pytest

from embedder.resynthesis import DECODERS
from embedder.training.deliveries import source_of
from embedder.training.fakes import Scene
from embedder.training.generators import FAMILIES, CorpusPicture
from embedder.training.mixture import CLASSES, NO_CLASS, class_of, corpus_batch, mixed_batch, pool_of, pools_of
from tests.embedder.training.corpora import noisy

STYLEGAN2, SD1 = (1 + len(DECODERS) + number for number in range(len(FAMILIES)))


def pictures() -> list[CorpusPicture]:
    sources = [("bsds500", False), ("reddit-human", False), ("stylegan2-ffhq", True), ("sd1.4", True)]
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

    batch = corpus_batch(photographs, fakes, np.random.default_rng(0), 6)

    assert batch.pixels.shape == (12, 160, 160, 3)
    assert batch.generators[::2].tolist() == [0] * 6
    assert set(batch.generators[1::2].tolist()) <= {STYLEGAN2, SD1}


def test_a_mixed_batch_has_the_demonstration_pairs_too() -> None:
    photographs, fakes = pools_of(pictures())
    scene = Scene(np.asarray(noisy(9)), {1: np.asarray(noisy(10))})

    batch = mixed_batch([scene], photographs, fakes, np.random.default_rng(0), pairs=2, each=1)

    assert batch.generators[:5].tolist() == [0, 2, 0, 2, 0]
    assert batch.pixels.shape[0] == 6


def test_a_small_source_is_drawn_more_often_than_its_share_of_the_pictures() -> None:
    picture = source_of(noisy(0), "PNG")
    pool = pool_of({"large": [picture] * 99, "small": [picture]}, {"large": 1, "small": 2})
    random = np.random.default_rng(0)

    drawn = [pool.draw(random)[1] for _ in range(500)]

    assert 0.05 < drawn.count(2) / 500 < 0.15
