import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.across_collections import MIN_COLLECTIONS
from index.calibration.false_matches import RateMethod
from index.calibration.logit_rates import (
    OUTER_POINTS,
    LogitLimits,
    LogitRates,
    LogitShares,
    fit_logit_shares,
)

LOGITS = st.lists(st.floats(-12, 12).map(lambda x: round(x, 2)), min_size=1, max_size=60)


def fitted(logits: Any, groups: Any = None, sources: Any = None) -> LogitShares:
    x = np.asarray(logits, np.float64)
    return fit_logit_shares(
        x,
        np.arange(len(x)) if sources is None else sources,
        np.zeros(len(x), np.int64) if groups is None else groups,
    )


def rates(fakes: Any, reals: Any) -> LogitRates:
    return LogitRates(fitted(fakes), fitted(reals))


def generators(
    random: np.random.Generator, count: int, *, size: int = 30, spread: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of generators whose means differ by `spread`, and the numbers of the generators."""
    numbers = np.repeat(np.arange(count), size)
    return random.normal(random.normal(1.0, spread, count)[numbers], 1.0), numbers


@pytest.mark.parametrize(
    ("logits", "sources", "groups"),
    [
        ([], [], []),
        ([1.0, np.nan], [1, 2], [1, 1]),
        ([1.0, 2.0], [1], [1, 1]),
        ([1.0, 2.0], [1, 2], [1]),
    ],
)
def test_a_logit_without_a_number_a_source_or_a_group_is_refused(
    logits: list[float], sources: list[int], groups: list[int]
) -> None:
    with pytest.raises(ValueError, match="finite logit"):
        fit_logit_shares(logits, sources, groups)


def test_a_count_is_that_of_the_images() -> None:
    shares = fitted([0.0, 1.0, 1.0, 2.0])
    lower = [shares.at_or_below(x).matches for x in (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 9.0)]
    upper = [shares.at_or_above(x).matches for x in (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 9.0)]
    assert lower == [0, 1, 1, 3, 3, 4, 4]
    assert upper == [4, 4, 3, 3, 1, 1, 0]


def test_a_rate_says_how_many_images_and_photographs_it_rests_on() -> None:
    rate = fitted([0.0, 1.0, 1.0, 2.0], sources=[5, 5, 6, 7]).at_or_below(1.0)
    assert (rate.n, rate.sources, rate.across_collections) == (4, 3, False)
    assert rate.estimate == pytest.approx(0.75)
    assert rate.method is RateMethod.EMPIRICAL


def test_beyond_every_image_the_rate_is_not_0() -> None:
    shares = fitted(np.linspace(-1, 1, 99))
    for rate in (shares.at_or_below(-1.5), shares.at_or_above(1.5)):
        assert (rate.matches, rate.method) == (0, RateMethod.RULE_OF_THREE)
        assert rate.estimate == pytest.approx(0.5 / 100)
        assert rate.high == pytest.approx(1 - 0.025 ** (1 / 99), abs=1e-6)


def test_of_many_images_the_outer_ones_are_counted_exactly() -> None:
    x = np.linspace(-5, 5, 4000)
    shares = fitted(x)
    assert len(shares.logits) < 250
    for count in range(1, OUTER_POINTS):
        assert shares.at_or_below(x[count - 1]).matches == count
        assert shares.at_or_above(x[-count]).matches == count
    assert shares.at_or_below(0.0013).matches is None
    assert shares.at_or_below(0.0013).estimate == pytest.approx(0.5, abs=0.01)


def test_of_many_images_a_limit_is_near_the_rate_that_was_asked_for() -> None:
    shares = fitted(np.random.default_rng(6).normal(size=20_000))
    for rate in (0.002, 0.01, 0.02, 0.1):
        limit = shares.find_lower(rate)
        assert limit is not None
        assert 0.8 * rate <= shares.at_or_below(limit).estimate <= rate


@given(LOGITS, st.lists(st.floats(-13, 13), min_size=2, max_size=8))
def test_a_rate_never_falls_as_its_tail_grows(logits: list[float], at: list[float]) -> None:
    shares = fitted(logits, groups=[round(x) % 7 for x in logits])
    for places, of in ((sorted(at), shares.at_or_below), (sorted(at)[::-1], shares.at_or_above)):
        found = [of(x) for x in places]
        for name in ("estimate", "low", "high"):
            values = [getattr(each, name) for each in found]
            assert all(b >= a - 1e-12 for a, b in pairwise(values)), name
        assert all(0 <= each.low <= each.estimate <= each.high <= 1 for each in found)


@given(LOGITS, LOGITS, st.floats(0.001, 0.4), st.floats(0.001, 0.4))
def test_limits_never_cross_and_keep_what_was_asked(
    fakes: list[float], reals: list[float], miss_rate: float, false_alarm_rate: float
) -> None:
    found = rates(fakes, reals)
    limits = found.limits_at(miss_rate, false_alarm_rate)
    if limits is None:
        assert len(fakes) + 1 < 1 / miss_rate
        assert len(reals) + 1 < 1 / false_alarm_rate
        return
    low, high = limits.no_traces_logit, limits.synthetic_logit
    assert (low is None) == (len(fakes) + 1 < 1 / miss_rate)
    assert (high is None) == (len(reals) + 1 < 1 / false_alarm_rate)
    if low is not None:
        assert np.mean(np.asarray(fakes) <= low) <= miss_rate
    if high is not None:
        assert np.mean(np.asarray(reals) >= high) <= false_alarm_rate
    if low is not None and high is not None:
        assert low < high


@given(LOGITS, st.lists(st.floats(0.02, 0.5), min_size=2, max_size=5))
def test_a_larger_rate_never_makes_a_limit_stricter(
    logits: list[float], asked: list[float]
) -> None:
    shares = fitted(logits, groups=[round(x) % 7 for x in logits])
    lower = [x for rate in sorted(asked) if (x := shares.find_lower(rate)) is not None]
    upper = [x for rate in sorted(asked) if (x := shares.find_upper(rate)) is not None]
    assert lower == sorted(lower)
    assert upper == sorted(upper, reverse=True)


def test_too_few_images_have_no_limit() -> None:
    x = np.linspace(-4, 4, 98)
    assert fitted(x).find_upper(0.01) is None
    assert fitted(np.append(x, 5.0)).find_upper(0.01) is not None
    assert rates(x[:20], x[:20]).limits_at(0.02, 0.01) is None
    assert rates(x, x).limits_at(0.02, 0.01) == LogitLimits(fitted(x).find_lower(0.02), None)


def test_copies_of_one_photograph_are_not_more_photographs() -> None:
    x = np.linspace(-4, 4, 300)
    assert fitted(x, sources=np.arange(300) // 10).find_upper(0.01) is None


def test_limits_that_would_cross_are_exchanged() -> None:
    fakes, reals = np.linspace(5, 9, 200), np.linspace(-9, -5, 200)
    limits = rates(fakes, reals).limits_at(0.02, 0.01)
    assert limits is not None
    assert limits.no_traces_logit == pytest.approx(-5.02, abs=0.05)
    assert limits.synthetic_logit == pytest.approx(5.06, abs=0.05)


def test_one_generator_with_many_images_does_not_decide_the_limit() -> None:
    """Of 400 images of one generator none is low; of ten generators with ten each, one in ten."""
    few = np.tile(np.append(-3.0 + np.arange(1) / 10, np.linspace(2, 3, 9)), 10)
    logits = np.concatenate([np.linspace(4, 5, 400), few + np.arange(100) / 1000])
    groups = np.repeat(np.arange(11), [400] + [10] * 10)
    limit = fitted(logits, groups).find_lower(0.03)
    plain = np.sort(logits)[int(0.03 * 500) - 1]
    assert plain > 1.9
    assert limit is not None
    assert limit < -2


def test_a_limit_holds_for_generators_that_were_left_out() -> None:
    """Simulated: generators differ as much as their images do; ten are seen, many others come.

    The naive limit, 2 % of all images, is missed twice as often by the others.
    """
    random = np.random.default_rng(7)
    naive, own, stated = [], [], []
    for _ in range(60):
        logits, numbers = generators(random, 16)
        logits, numbers = np.append(logits, np.full(200, 4.0)), np.append(numbers, [99] * 200)
        others, _ = generators(random, 60, size=5)
        shares = fitted(logits, numbers)
        limit = shares.find_lower(0.02)
        assert limit is not None
        naive.append((others <= np.sort(logits)[int(0.02 * len(logits)) - 1]).mean())
        own.append((others <= limit).mean())
        stated.append(shares.at_or_below(limit).estimate)
    assert np.mean(own) < 0.03
    assert np.mean(naive) > 1.5 * np.mean(own)
    assert np.mean(stated) == pytest.approx(np.mean(own), abs=0.015)


def test_the_interval_is_that_of_a_generator_that_was_left_out() -> None:
    random = np.random.default_rng(8)
    inside = []
    for _ in range(24):
        logits, numbers = generators(random, 21, size=40)
        others, logits = logits[numbers == 20], logits[numbers < 20]
        rate = fitted(logits, numbers[numbers < 20]).at_or_below(0.0)
        assert rate.across_collections
        inside.append(rate.low - 0.02 <= (others <= 0.0).mean() <= rate.high + 0.02)
    assert np.mean(inside) >= 0.9


def test_with_few_generators_the_interval_is_that_of_images_like_these() -> None:
    groups = np.arange(200) % (MIN_COLLECTIONS - 1)
    rate = fitted(np.linspace(-1, 1, 200), groups).at_or_below(-0.9)
    assert (rate.matches, rate.across_collections) == (10, False)
    assert (rate.low, rate.high) == pytest.approx((0.0242, 0.0900), abs=5e-4)


def test_a_wrong_label_among_many_images_does_not_silence_the_verdict() -> None:
    random = np.random.default_rng(9)
    logits, groups = random.normal(-5, 1, 1000), np.arange(1000) % 8
    limit = fitted(np.append(logits, 12.0), np.append(groups, 0)).find_upper(0.01)
    assert limit is not None
    assert limit < 0


def test_a_collection_unlike_the_others_makes_the_rate_worse_and_not_the_limit_missing() -> None:
    """One collection in ten reaches logits that no other one does."""
    random = np.random.default_rng(10)
    logits = np.append(random.normal(-3, 0.5, 450), random.normal(3, 0.5, 50))
    shares = fitted(logits, np.repeat(np.arange(10), 50))
    limit = shares.find_upper(0.01)
    assert limit is not None
    rate = shares.at_or_above(limit)
    assert rate.matches is not None
    assert rate.matches <= 5
    assert rate.estimate == pytest.approx(0.1, abs=0.03)
    assert rate.high > 0.3


def test_the_same_images_in_any_order_give_the_same_bytes() -> None:
    random = np.random.default_rng(11)
    logits, groups = random.normal(size=90).round(1), np.arange(90) % 6
    order = random.permutation(90)
    one = fitted(logits, groups, np.arange(90) // 2)
    other = fitted(logits[order], groups[order], (np.arange(90) // 2)[order])
    assert json.dumps(one.to_json()) == json.dumps(other.to_json())


@settings(max_examples=20)
@given(LOGITS)
def test_stored_rates_read_back(logits: list[float]) -> None:
    found = rates(logits, [-x for x in logits])
    assert LogitRates.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_more_groups_than_folds_are_left_out_together() -> None:
    random = np.random.default_rng(12)
    logits, numbers = generators(random, 300, size=3)
    shares = fitted(logits, numbers)
    assert shares.groups == 300
    limit = shares.find_lower(0.02)
    assert limit is not None
    assert shares.at_or_below(limit).estimate <= 0.02


def test_a_source_that_each_image_declares_for_itself_is_no_collection() -> None:
    logits = np.random.default_rng(13).normal(size=3000)
    alone = fitted(logits, np.arange(3000))
    together = fitted(logits, np.zeros(3000, np.int64))
    assert (alone.groups, alone.across_groups) == (3000, False)
    assert alone.at_or_above(2.0) == together.at_or_above(2.0)


def test_the_lower_rates_are_the_upper_ones_of_the_mirrored_logits() -> None:
    random = np.random.default_rng(14)
    logits, numbers = generators(random, 12)
    one, mirrored = fitted(logits, numbers), fitted(-logits, numbers)
    assert one.lower == mirrored.upper
    assert one.find_lower(0.02) == pytest.approx(-(mirrored.find_upper(0.02) or 0))
    for at in (-2.0, -0.5, float(logits[3])):
        assert one.at_or_below(at) == mirrored.at_or_above(-at)
