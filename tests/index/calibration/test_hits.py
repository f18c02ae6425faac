"""Hit rates of known fakes, where it is known which come near to which."""

import json
from typing import Any

import numpy as np
import pytest

from index.calibration.calibration import (
    AS_IS,
    Calibration,
    Compared,
    Measured,
    Stratum,
    calibrate,
    number_collections,
)
from index.calibration.hits import MOST_KEPT, HitRates, NearestOfGenerator, fit_hits
from index.calibration.others import SamePictures, find_nearest
from index.calibration.population import CollectionName, Population

DIMENSION = 24


def pictures(
    *clusters: int | None,
    near: float,
    seed: int,
    collections: Any = None,
    generators: Any = None,
    sources: Any = None,
) -> Population:
    """A picture for each cluster (None: anywhere), within `near` of its centre."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(64, DIMENSION))
    n = len(clusters)
    vectors = np.array(
        [
            random.normal(size=DIMENSION)
            if cluster is None
            else centres[cluster] + near * random.normal(size=DIMENSION)
            for cluster in clusters
        ]
    ).reshape(n, DIMENSION)
    ids = np.arange(n, dtype=np.int64) + 1000 * seed
    names = [None] * n if collections is None else collections
    return Population(
        image_ids=ids,
        sources=ids if sources is None else np.asarray(sources, np.int64),
        vectors=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        logits=random.normal(size=n),
        generators=(None,) * n if generators is None else tuple(generators),
        hashes=(None,) * n,
        collections=tuple(CollectionName("c", name) for name in names),
    )


def hits(fakes: Population) -> HitRates | None:
    kinds = number_collections(fakes, fakes)
    found = find_nearest(fakes, fakes, SamePictures(fakes), k=3, kinds=kinds)
    return fit_hits(fakes, found, corpus_size=len(fakes), seed=1)


def measure(fakes: Population, reals: Population) -> Stratum:
    return calibration_of(fakes, reals).strata[AS_IS]


def calibration_of(fakes: Population, reals: Population) -> Calibration:
    compared = Compared(fakes, reals, len(fakes))
    return calibrate(compared, {AS_IS: Measured(reals, fakes)}, seed=1)


EIGHT = np.repeat(np.arange(8), 12).tolist()  # twelve pictures of each of eight


def test_fakes_without_another_one_have_no_hit_rate() -> None:
    assert hits(pictures(1, near=0.1, seed=1)) is None
    assert hits(pictures(1, 1, near=0.1, seed=1, sources=[5, 5])) is None  # of one photograph
    assert hits(pictures(near=0.1, seed=1)) is None
    two = hits(pictures(1, 1, near=0.1, seed=1))
    assert two is not None
    assert (two.images, two.rate_at(0.5).matches, two.across_collections) == (2, 2, False)


def test_a_hit_is_a_known_fake_of_another_collection() -> None:
    """Each collection is a cluster of its own: near to itself, and to no other."""
    found = hits(pictures(*EIGHT, near=0.1, seed=1, collections=map(str, EIGHT)))
    assert found is not None
    assert found.across_collections
    within, elsewhere = found.within_at(0.8), found.rate_at(0.8)
    assert within is not None
    assert (elsewhere.matches, elsewhere.n, elsewhere.across_collections) == (0, 96, True)
    assert (within.matches, within.across_collections) == (96, False)
    assert elsewhere.high < 0.2
    assert within.low > 0.5


def test_one_generator_in_several_collections_is_hit_across_them() -> None:
    collections = [str(at % 6) for at in range(96)]
    found = hits(pictures(*EIGHT, near=0.1, seed=1, collections=collections))
    assert found is not None
    assert found.across_collections
    assert found.rate_at(0.8).matches == 96


@pytest.mark.parametrize("count", [1, 4])
def test_with_few_collections_other_pictures_of_the_same_one_count(count: int) -> None:
    collections = [str(each % count) for each in EIGHT]
    found = hits(pictures(*EIGHT, near=0.1, seed=1, collections=collections))
    assert found is not None
    assert not found.across_collections
    assert found.within_at(0.8) is None
    assert (found.rate_at(0.8).matches, found.rate_at(0.8).across_collections) == (96, False)


def test_generators_that_differ_make_the_interval_wide() -> None:
    """Half of the generators are hit always, half never: resampling pictures hides that."""
    places = [each if each < 4 else None for each in EIGHT]
    names = [f"g{each}" for each in EIGHT]
    told = hits(pictures(*places, near=0.1, seed=1, generators=names))
    untold = hits(pictures(*places, near=0.1, seed=1))
    assert told is not None
    assert untold is not None
    assert (
        told.rate_at(0.8).estimate == untold.rate_at(0.8).estimate == pytest.approx(0.5, abs=0.03)
    )
    assert told.mean_interval_at(0.8)[0] < 0.8 * untold.mean_interval_at(0.8)[0]


def test_hits_are_counted_by_generator() -> None:
    names = ["near"] * 12 + ["far"] * 12 + [None] * 6
    places = [1] * 12 + [None] * 12 + [1] * 6
    found = hits(pictures(*places, near=0.1, seed=1, generators=names))
    assert found is not None
    assert [tuple(each) for each in found.by_generator(0.8)] == [("far", 12, 0), ("near", 12, 12)]
    assert found.rate_at(0.8).matches == 18


def test_of_a_generator_with_many_images_the_closest_are_kept() -> None:
    closest = tuple(np.linspace(1, 0.5, MOST_KEPT).tolist())
    many = NearestOfGenerator("g", 1000, closest)
    assert many.hits_at(0.9).matches == int((np.array(closest) >= 0.9).sum())
    assert many.hits_at(0.4) == ("g", 1000, None)
    assert NearestOfGenerator("g", 2, (0.9, 0.2)).hits_at(0.1).matches == 2


def test_what_was_stored_says_the_same() -> None:
    for collections in (map(str, EIGHT), None):
        found = hits(
            pictures(
                *EIGHT,
                near=0.3,
                seed=1,
                collections=collections,
                generators=[f"g{each}" for each in EIGHT],
            )
        )
        assert found is not None
        assert HitRates.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_similarity_tells_fakes_from_photographs_where_fakes_are_near_each_other() -> None:
    collections = [str(at % 6) for at in range(96)]
    fakes = pictures(*EIGHT, near=0.5, seed=1, collections=collections)
    reals = pictures(
        *[None] * 300, near=0.0, seed=2, collections=[str(at % 6) for at in range(300)]
    )
    found = measure(fakes, reals).discriminate(0.01)
    assert found is not None
    assert found.tells
    assert found.hit.estimate > 0.9
    assert found.false_match.estimate <= 0.01


def test_similarity_tells_nothing_where_photographs_come_nearer_than_fakes() -> None:
    """Fakes of every collection are a cluster of their own, photographs lie near some of them."""
    fakes = pictures(*EIGHT, near=0.1, seed=1, collections=map(str, EIGHT))
    places = np.arange(300) % 8
    reals = pictures(
        *places.tolist(), near=1.0, seed=2, collections=[str(at % 7) for at in range(300)]
    )
    stratum = measure(fakes, reals)
    for rate in (0.1, 0.05, 0.01):
        found = stratum.discriminate(rate)
        assert found is not None
        assert not found.tells
    assert stratum.hits is not None
    assert stratum.hits.within_at(found.similarity) is not None


def test_a_hit_rate_like_the_false_match_rate_tells_nothing() -> None:
    """Both are the same pictures, drawn twice."""
    places = [None] * 200
    fakes, reals = pictures(*places, near=0, seed=1), pictures(*places, near=0, seed=2)
    for rate in (0.1, 0.05, 0.01):
        found = measure(fakes, reals).discriminate(rate)
        assert found is not None
        assert not found.tells


def test_one_known_fake_alone_does_not_discriminate() -> None:
    alone = pictures(1, near=0.1, seed=1)
    assert measure(alone, pictures(*[None] * 20, near=0, seed=2)).discriminate(0.01) is None
