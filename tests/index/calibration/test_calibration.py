import json
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest

from index.calibration.calibration import (
    ANY_DELIVERY,
    AS_IS,
    FORMAT,
    MIN_FAMILIAR,
    Calibration,
    ChosenStratum,
    Compared,
    FallBack,
    Measured,
    calibrate,
)
from index.calibration.checking import StratumCheck
from index.calibration.copies import MIN_SOURCES as MIN_COPY_SOURCES
from index.calibration.copies import CopyCurve, CopyRates, fit_distances, shipped_copy_rates
from index.calibration.others import SamePictures, find_nearest
from index.calibration.population import CollectionName, Population, join_populations
from index.calibration.ratios import MIN_SOURCES
from index.truth.perceptual import PerceptualHash

DIMENSION = 16
GENERATORS = ("alpha", "beta")
_ids = count(1)


def population(
    n: int, *, seed: int, generators: tuple[str | None, ...] = (None,), sources: int | None = None
) -> Any:
    """Pictures around one centre for each generator. Each has its own source, unless a number of
    sources is given.
    """
    random = np.random.default_rng(seed)
    names = [generators[at % len(generators)] for at in range(n)]
    centres = {
        name: np.random.default_rng(len(name or "")).normal(size=DIMENSION) for name in generators
    }
    vectors = np.array([centres[name] for name in names]).reshape(n, DIMENSION) + random.normal(
        size=(n, DIMENSION)
    )
    ids = np.array([next(_ids) for _ in range(n)], np.int64)
    return Population(
        image_ids=ids,
        sources=ids if sources is None else 10_000 * (1 + seed) + np.arange(n) % sources,
        vectors=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        logits=random.normal(size=n) + (0.0 if names == [None] * n else 2.0),
        generators=tuple(names),
        hashes=tuple(PerceptualHash(random.bytes(32), 100) for _ in range(n)),
    )


REALS, FAKES = population(40, seed=1), population(40, seed=2, generators=GENERATORS)
NOBODY = REALS.taking(np.empty(0, np.int64))


def joined(one: Population, other: Population) -> Population:
    names = ("image_ids", "sources", "vectors", "logits")
    arrays = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in names}
    return Population(
        **arrays, generators=one.generators + other.generators, hashes=one.hashes + other.hashes
    )


def calibrated(reals: Population, fakes: Population, **conditions: Measured) -> Calibration:
    compared = Compared(fakes, reals, len(fakes))
    return calibrate(compared, {AS_IS: Measured(reals, fakes), **conditions}, seed=5)


def document(calibration: Calibration) -> str:
    return json.dumps(calibration.to_json(), sort_keys=True)


@pytest.fixture(scope="module")
def whole() -> Calibration:
    """With a second condition, after which photographs look more alike."""
    near = REALS.vectors[:30] + REALS.vectors[:1]
    near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    jpeg75 = Measured(REALS.as_delivered(REALS.image_ids[:30], near, REALS.logits[:30]), FAKES)
    return calibrated(REALS, FAKES, jpeg75=jpeg75, half=Measured(NOBODY, FAKES))


def test_a_document_of_a_newer_release_is_not_read(whole: Calibration) -> None:
    with pytest.raises(ValueError, match="newer"):
        Calibration.from_json(whole.to_json() | {"format": FORMAT + 1})


@pytest.mark.parametrize("side", ["reals", "fakes"])
def test_many_images_of_too_few_sources_give_no_ratio(side: str) -> None:
    few = population(
        40, seed=3, generators=(None,) if side == "reals" else GENERATORS, sources=MIN_SOURCES - 1
    )
    stratum = calibrated(*((few, FAKES) if side == "reals" else (REALS, few))).strata[AS_IS]
    assert stratum.likelihood is None
    assert stratum.two_sided is None
    assert stratum.classifier is None
    assert (stratum.attribution is None) is (side == "fakes")
    assert stratum.false_matches.n == 40  # a rate there always is
    assert stratum.sources == (MIN_SOURCES - 1 if side == "reals" else 40)


def test_just_enough_sources_give_a_ratio() -> None:
    enough = population(MIN_SOURCES, seed=4)
    stratum = calibrated(enough, FAKES).strata[AS_IS]
    assert stratum.likelihood is not None
    assert stratum.two_sided is not None
    assert stratum.likelihood.n_sources_different == MIN_SOURCES


def test_without_photographs_to_compare_with_the_ratio_has_one_side() -> None:
    calibration = calibrate(
        Compared(FAKES, NOBODY, len(FAKES)), {AS_IS: Measured(REALS, FAKES)}, seed=5
    )
    assert calibration.strata[AS_IS].two_sided is None
    assert calibration.strata[AS_IS].likelihood is not None


def test_one_generator_alone_cannot_be_attributed_to() -> None:
    alone = replace(FAKES, generators=("alpha",) * len(FAKES))
    assert calibrated(REALS, alone).strata[AS_IS].attribution is None


def test_fakes_without_kin_say_nothing_of_the_same_source() -> None:
    each_its_own = replace(FAKES, generators=tuple(f"generator {at}" for at in range(len(FAKES))))
    stratum = calibrated(REALS, each_its_own).strata[AS_IS]
    assert stratum.likelihood is None
    assert stratum.classifier is not None


@pytest.mark.parametrize("same", ["image_ids", "sources", "hashes", "nothing"])
def test_an_image_is_not_compared_with_itself_its_near_duplicates_or_its_source(same: str) -> None:
    """A known fake at similarity 1 to a photograph counts only where it is another picture."""
    twin = replace(population(1, seed=6, generators=("alpha",)), vectors=REALS.vectors[:1])
    if same == "hashes":
        bits = bytearray(REALS.hashes[0].bits)
        bits[0] ^= 0xFF  # 8 bits of 256
        twin = replace(twin, hashes=(PerceptualHash(bytes(bits), 100),))
    elif same != "nothing":
        twin = replace(twin, **{same: getattr(REALS, same)[:1]})
    measured = {AS_IS: Measured(REALS.taking(np.array([0])), NOBODY)}
    before, after = (
        calibrate(Compared(fakes, NOBODY, 41), measured, seed=5).strata[AS_IS].false_matches
        for fakes in (FAKES, joined(FAKES, twin))
    )
    if same == "nothing":
        assert after.largest == 1.0 > before.largest
    else:
        assert after.largest == before.largest < 1.0


def test_a_shipped_photograph_that_is_in_the_corpora_too_is_measured_once() -> None:
    shipped = replace(REALS, image_ids=-REALS.image_ids, sources=-REALS.sources)
    others = replace(population(5, seed=8), image_ids=-np.arange(1, 6), sources=-np.arange(1, 6))
    for further, references in ((shipped, 40), (others, 45)):
        measured = {AS_IS: Measured(join_populations(REALS, further), FAKES)}
        calibration = calibrate(Compared(FAKES, REALS, len(FAKES)), measured, seed=5)
        assert calibration.strata[AS_IS].references == references
        assert calibration.own_photographs == 40
    alone = calibrate(Compared(FAKES, NOBODY, 40), {AS_IS: Measured(shipped, FAKES)}, seed=5)
    assert (alone.strata[AS_IS].references, alone.is_provisional) == (40, True)


def test_a_known_fake_is_not_its_own_kin() -> None:
    """Every similarity of a fake to itself is 1: the ratio of 1 would rest on nothing else."""
    stratum = calibrated(REALS, FAKES).strata[AS_IS]
    assert stratum.likelihood is not None
    assert stratum.likelihood.values[-1] < 1.0


def test_a_condition_that_was_not_measured_falls_back_to_any_delivery(whole: Calibration) -> None:
    # Of `half` there was no photograph.
    assert list(whole.strata) == [AS_IS, "jpeg75", ANY_DELIVERY]
    widest = whole.strata[ANY_DELIVERY]
    for condition in ("webp80", "half"):
        assert whole.stratum_for(condition) == ChosenStratum(
            ANY_DELIVERY, widest, condition, FallBack.NOT_MEASURED
        )
    for condition in ("", ANY_DELIVERY):  # nothing is known of the delivery
        assert whole.stratum_for(condition) == ChosenStratum(ANY_DELIVERY, widest)
    for condition in (AS_IS, "jpeg75"):
        assert whole.stratum_for(condition) == ChosenStratum(condition, whole.strata[condition])


def test_a_calibration_of_one_condition_has_no_wider_one() -> None:
    calibration = calibrated(REALS, FAKES)
    as_is = calibration.strata[AS_IS]
    assert list(calibration.strata) == [AS_IS]
    assert calibration.stratum_for("") == ChosenStratum(AS_IS, as_is)
    chosen = calibration.stratum_for("webp80")
    assert chosen == ChosenStratum(AS_IS, as_is, "webp80", FallBack.NOT_MEASURED)


def test_a_condition_that_does_not_hold_falls_back_to_the_widest_one(whole: Calibration) -> None:
    fails, holds = (StratumCheck(each, 8, 24, 20 + 3 * each) for each in (False, True))

    def checked(**checks: StratumCheck) -> Calibration:
        strata = {
            name: replace(stratum, check=checks.get(name)) for name, stratum in whole.strata.items()
        }
        return replace(whole, strata=strata)

    one = checked(jpeg75=fails, any_delivery=holds)
    chosen = one.stratum_for("jpeg75")
    assert chosen == ChosenStratum(
        ANY_DELIVERY, one.strata[ANY_DELIVERY], "jpeg75", FallBack.DOES_NOT_HOLD
    )
    assert one.stratum_for(AS_IS).name == AS_IS  # which was not checked, or held
    none = checked(as_is=fails, jpeg75=fails, any_delivery=fails)
    for condition in (AS_IS, "jpeg75", ""):
        chosen = none.stratum_for(condition)
        assert (chosen.name, chosen.stratum.holds) == (ANY_DELIVERY, False)
        assert chosen.stratum.threshold_at(0.5) is None


def test_any_delivery_has_the_images_of_all_deliveries(whole: Calibration) -> None:
    """Of images as they are, those that were delivered: 30 photographs, and all known fakes."""
    widest, jpeg75 = whole.strata[ANY_DELIVERY], whole.strata["jpeg75"]
    assert (widest.references, widest.sources, widest.fakes) == (60, 30, 80)
    maxima = find_nearest(REALS.taking(np.arange(30)), FAKES, SamePictures(FAKES)).maxima
    largest = max(jpeg75.false_matches.largest, float(maxima.max()))
    assert widest.false_matches.largest == pytest.approx(largest)
    assert widest.false_matches.n_sources == 30
    assert widest.classifier is not None
    assert widest.classifier.n_sources == 70


def test_a_condition_is_measured_on_images_as_they_look_after_it(whole: Calibration) -> None:
    as_is, jpeg75 = whole.strata[AS_IS], whole.strata["jpeg75"]
    assert (as_is.references, jpeg75.references) == (40, 30)
    assert as_is.false_matches.largest != jpeg75.false_matches.largest


def test_what_was_counted_is_told(whole: Calibration) -> None:
    assert whole.corpus_size == 40
    assert dict(whole.generators) == {"alpha": 20, "beta": 20}
    assert (
        whole.strata[AS_IS].references,
        whole.strata[AS_IS].sources,
        whole.strata[AS_IS].fakes,
    ) == (40, 40, 40)


def test_few_images_say_nothing_of_what_is_familiar_and_many_do(whole: Calibration) -> None:
    assert whole.strata[AS_IS].familiar_from is None
    many = population(MIN_FAMILIAR, seed=7)
    at = (
        calibrate(Compared(FAKES, many, 40), {AS_IS: Measured(many, NOBODY)}, seed=5)
        .strata[AS_IS]
        .familiar_from
    )
    assert at is not None
    similarities = np.maximum((many.vectors @ FAKES.vectors.T).max(axis=1), _without_itself(many))
    assert (similarities < at).sum() == 1


def _without_itself(images: Population) -> Any:
    return (images.vectors @ images.vectors.T - 3 * np.eye(len(images))).max(axis=1)


def test_the_same_inputs_give_the_same_bytes_and_another_seed_other_intervals() -> None:
    compared, measured = Compared(FAKES, REALS, 40), {AS_IS: Measured(REALS, NOBODY)}
    once, again, other = (calibrate(compared, measured, seed) for seed in (5, 5, 6))
    assert document(once) == document(again)
    one, another = once.strata[AS_IS].false_matches, other.strata[AS_IS].false_matches
    assert one.estimates == another.estimates
    assert one.highs != another.highs


def test_a_stored_calibration_makes_the_same_statements_and_the_same_bytes(
    whole: Calibration,
) -> None:
    stored = Calibration.from_json(json.loads(document(whole)))
    assert document(stored) == document(whole)
    assert stored == Calibration.from_json(stored.to_json())
    for name, stratum in whole.strata.items():
        again = stored.strata[name]
        assert (again.references, again.sources, again.fakes) == (
            stratum.references,
            stratum.sources,
            stratum.fakes,
        )
        for rate in (0.5, 0.1, 0.01):
            for size in (None, 40, 400):
                at = stratum.false_matches.similarity_at(rate, size)
                assert again.false_matches.similarity_at(rate, size) == at
                assert again.false_matches.rate_at(at, size) == stratum.false_matches.rate_at(
                    at, size
                )
        assert said(again) == said(stratum)


def said(stratum: Any) -> list[Any]:
    """The statements of every model of a stratum about some probes; no model is missing."""
    similarities = np.linspace(-0.5, 1.0, 7).tolist()
    ratios = [stratum.likelihood.ratio_at(s) for s in similarities]
    both = [stratum.two_sided.ratio_at((s, t)) for s in similarities for t in similarities]
    votes = [
        [(s, "alpha"), (s - 0.1, "beta"), (s - 0.2, None), (s - 0.3, "gamma")] for s in similarities
    ]
    probabilities = [stratum.classifier.probability(10 * s) for s in similarities]
    return [
        *ratios,
        *both,
        *probabilities,
        *(stratum.attribution.attribute(each) for each in votes),
    ]


def test_reference_collections_are_told_apart_in_every_stratum_and_in_documents_of_before_are_not(
    whole: Calibration,
) -> None:
    names = (CollectionName("reals", "camera"), CollectionName("reals", None))
    reals = replace(REALS, collections=names * 20)
    measured = calibrated(reals, FAKES, half=Measured(reals, FAKES))
    maxima = find_nearest(reals, FAKES, SamePictures(FAKES)).maxima
    similarity = float(np.sort(maxima)[-5])
    for condition, stratum in measured.strata.items():
        copies = 2 if condition == ANY_DELIVERY else 1
        counted = {
            each.collection: (each.n, each.matches_at(similarity)) for each in stratum.collections
        }
        assert counted == {
            name: (copies * 20, copies * int((maxima[at::2] >= similarity).sum()))
            for at, name in enumerate(names)
        }
    assert Calibration.from_json(json.loads(document(measured))) == measured
    assert whole.strata[AS_IS].collections == ()
    stored = json.loads(document(whole))
    for stratum in stored["strata"].values():
        del stratum["collections"]
    assert Calibration.from_json(stored) == whole


def in_collections(images: Population, *names: str) -> Population:
    collections = tuple(
        CollectionName("reals", names[row % len(names)]) for row in range(len(images))
    )
    return replace(images, collections=collections)


def test_a_stratum_has_the_rates_of_its_images_logits_by_group(whole: Calibration) -> None:
    stratum = whole.strata[AS_IS]
    assert stratum.logit_rates is not None
    fakes, reals = stratum.logit_rates.fakes, stratum.logit_rates.reals
    assert (fakes.n, fakes.groups, reals.n, reals.groups) == (40, len(GENERATORS), 40, 1)
    middle = float(np.median(FAKES.logits))
    assert fakes.at_or_below(middle).matches == int((FAKES.logits <= middle).sum())
    limits = stratum.logit_rates.limits_at(0.05, 0.05)
    assert limits is not None
    assert None not in (limits.no_traces_logit, limits.synthetic_logit)


def test_collections_of_known_real_images_are_left_out_of_rates_and_ratios() -> None:
    names = ("a", "b", "c", "d", "e")
    stratum = calibrated(in_collections(REALS, *names), FAKES).strata[AS_IS]
    assert stratum.logit_rates is not None
    assert stratum.logit_rates.reals.groups == len(names)
    assert stratum.logit_rates.reals_at_or_above(0.0).across_collections
    for model in (stratum.likelihood, stratum.two_sided):
        assert model is not None
        assert model.cllr_left_out is not None


def test_without_known_fakes_there_are_no_rates_of_logits() -> None:
    assert calibrated(REALS, NOBODY).strata[AS_IS].logit_rates is None


def test_generators_are_named_by_their_entries_in_the_corpora() -> None:
    attribution = calibrated(REALS, FAKES).strata[AS_IS].attribution
    assert attribution is not None
    assert {name: each.entries for name, each in attribution.classes.items()} == {
        "alpha": 20,
        "beta": 20,
    }
    few = calibrated(REALS, FAKES.taking(np.arange(19))).strata[AS_IS].attribution
    assert few is not None
    assert set(few.least_shares) == {"alpha"}


def test_copies_are_stored_with_it_and_a_document_without_them_has_those_of_the_package(
    whole: Calibration,
) -> None:
    stored = json.loads(document(whole))
    del stored["copies"]  # as an earlier release wrote it
    earlier = Calibration.from_json(stored)
    assert earlier.copies is None
    assert earlier.copy_rates == CopyRates().or_else(shipped_copy_rates())

    distances = np.random.default_rng(0).normal(90, 7, MIN_COPY_SOURCES)
    curve = CopyCurve(fit_distances(distances, range(MIN_COPY_SOURCES), corpus_size=900), "own")
    measured = replace(whole, copies=CopyRates(band=curve, descriptors={}))
    again = Calibration.from_json(json.loads(document(measured)))
    assert again == measured
    assert again.copy_rates.band == curve
