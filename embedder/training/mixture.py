"""Mixed batches: demonstration pairs, and crops of photographs and of pictures by real generators.

First a source is drawn, then a picture of it. Each source has a minimum share, so that large sets
do not crowd out small ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.demonstration.resynthesis import DECODERS
from embedder.training.deliveries import Place, Source, choose_place, deliver_place, source_of
from embedder.training.fakes import CropBatch, Scene, make_paired_batch
from embedder.training.generators import FAMILIES, FAMILY_BY_GENERATOR, CorpusPicture

# A synthetic picture of no family: the logit learns from it, the generator head does not.
NO_CLASS = -1
CLASSES = 1 + len(DECODERS) + len(FAMILIES)
# A source is drawn in proportion to the square root of its number of pictures, and at least with
# this share.
MINIMUM_SHARE = 0.02
CANDIDATES = 8  # places; the one of the most similar sharpness is used


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Pictures by source, with the probability of each source."""

    sources: Sequence[Sequence[Source]]
    generators: Sequence[int]  # the class of each source
    chances: NDArray[np.float64]

    def draw(self, random: np.random.Generator) -> tuple[Source, int]:
        number = int(random.choice(len(self.sources), p=self.chances))
        pictures = self.sources[number]
        return pictures[int(random.integers(len(pictures)))], self.generators[number]


def pool_of(pictures: Mapping[str, Sequence[Source]], generators: Mapping[str, int]) -> Pool:
    names = sorted(pictures)
    weights = np.sqrt([len(pictures[name]) for name in names])
    chances = np.maximum(weights / weights.sum(), MINIMUM_SHARE)
    return Pool(
        [pictures[name] for name in names],
        [generators[name] for name in names],
        chances / chances.sum(),
    )


def pools_of(pictures: Sequence[CorpusPicture]) -> tuple[Pool, Pool]:
    """Return the pools of photographs and fakes; pictures of one family and source are one set."""
    sets: dict[bool, dict[str, list[Source]]] = {False: {}, True: {}}
    for picture in pictures:
        cropped_from = source_of(picture.image, picture.container)
        sets[picture.synthetic].setdefault(picture.source, []).append(cropped_from)
    real, fake = sets[False], sets[True]
    return pool_of(real, dict.fromkeys(real, 0)), pool_of(
        fake, {name: class_of(name) for name in fake}
    )


def class_of(generator: str) -> int:
    family = FAMILY_BY_GENERATOR[generator]
    return NO_CLASS if family is None else 1 + len(DECODERS) + FAMILIES.index(family)


def make_corpus_batch(
    photographs: Pool, fakes: Pool, random: np.random.Generator, each: int
) -> CropBatch:
    """Cut `each` crops of photographs and as many of fakes, in pairs of similar sharpness.

    Generated faces are smooth, and the photographs of most collections are not. Without the pairing
    the logit learned to distinguish smooth from sharp: within photographs alone its rank
    correlation with sharpness was -0.85.
    """
    crops, generators = list[NDArray[np.uint8]](), list[int]()
    for _ in range(each):
        (photograph, real_class), (fake, fake_class) = draw_matched_places(
            photographs, fakes, random
        )
        crops += [
            deliver_place(photograph, fake.source, random),
            deliver_place(fake, photograph.source, random),
        ]
        generators += [real_class, fake_class]
    return CropBatch(np.stack(crops), np.array(generators, np.int64))


def draw_matched_places(
    photographs: Pool, fakes: Pool, random: np.random.Generator
) -> tuple[tuple[Place, int], tuple[Place, int]]:
    """Draw a place in a photograph and one in a fake.

    On one side it is the first one drawn, on the other the nearest in sharpness.
    """
    of_photographs = random.random() < 0.5
    first = draw_place(photographs if of_photographs else fakes, random)
    others = [
        draw_place(fakes if of_photographs else photographs, random) for _ in range(CANDIDATES)
    ]
    nearest = min(others, key=lambda other: abs(other[0].sharpness - first[0].sharpness))
    return (first, nearest) if of_photographs else (nearest, first)


def draw_place(pool: Pool, random: np.random.Generator) -> tuple[Place, int]:
    source, generator = pool.draw(random)
    return choose_place(source, random), generator


def make_mixed_batch(
    scenes: Sequence[Scene],
    photographs: Pool,
    fakes: Pool,
    random: np.random.Generator,
    *,
    pairs: int,
    each: int,
) -> CropBatch:
    parts = (
        make_paired_batch(scenes, random, pairs),
        make_corpus_batch(photographs, fakes, random, each),
    )
    return CropBatch(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.generators for part in parts]),
    )
