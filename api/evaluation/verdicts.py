"""The shares of the verdicts that look-ups give: by kind of image, generator and delivery.

`judging` gives the verdicts; here they are counted. Intervals resample sources, where there are
enough of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from api.evaluation.embedding import Embeddings
from api.evaluation.json import (
    ClassifierShares,
    DeliveryVerdicts,
    Measure,
    SimilarityShares,
    VerdictEvaluation,
    VerdictGroup,
    VerdictLimits,
)
from api.evaluation.judging import FOLDS, MIN_KNOWN, Judged, JudgedImages, Rules, judge_images
from api.evaluation.splits import draw_resamples, has_enough_sources
from index.calibration.binomial import exact_interval
from index.calibration.calibration import AS_IS
from index.verdict import ClassifierOutcome, ClassifierPolicy, SimilarityOutcome, Verdict

NO_LIMITS = "no_limits"  # the reason where an image has no logit, too


def measure_verdicts(embedded: Embeddings, rules: Rules, seed: int) -> VerdictEvaluation:
    """Judge every image as a look-up would, and count the verdicts."""
    judged = judge_images(embedded, rules, seed)
    if judged is None:
        reason = f"the images of {FOLDS - 1} in {FOLDS} folds must hold {MIN_KNOWN} of each kind"
        return _build(rules, embedded, None, seed, reason)
    return _build(rules, embedded, judged, seed, None)


def _build(
    rules: Rules, embedded: Embeddings, judged: JudgedImages | None, seed: int, reason: str | None
) -> VerdictEvaluation:
    kept = ["sources" if keeps else "images" for keeps in judged.keeps_sources] if judged else []
    return VerdictEvaluation(
        folds=FOLDS,
        real_kept_together=kept[0] if kept else "images",
        synthetic_kept_together=kept[1] if kept else "images",
        calibrated_on_real=judged.known[0] if judged else 0,
        calibrated_on_synthetic=judged.known[1] if judged else 0,
        no_traces_miss_rate=rules.choices.miss_rate,
        synthetic_false_alarm_rate=rules.choices.false_alarm_rate,
        false_match_rate=rules.false_match_rate,
        limits=[_describe_limits(each) for each in judged.limits] if judged else [],
        groups=_by_kind(embedded, judged.as_is, seed) if judged else [],
        by_generator=_by_generator(embedded, judged.as_is, seed) if judged else [],
        by_condition=_by_condition(embedded, judged, seed) if judged else [],
        uncalibrated=_by_kind(embedded, judged.as_is, seed, calibrated=False) if judged else [],
        reason=reason,
    )


def _describe_limits(policy: ClassifierPolicy | None) -> VerdictLimits:
    low = None if policy is None else policy.no_traces_logit
    high = None if policy is None else policy.synthetic_logit
    return VerdictLimits(
        no_traces_logit=low,
        no_traces_from=None if policy is None or low is None else policy.no_traces_from.value,
        synthetic_logit=high,
        synthetic_from=None if policy is None or high is None else policy.synthetic_from.value,
    )


def _by_kind(
    embedded: Embeddings, judged: Judged, seed: int, *, calibrated: bool = True
) -> list[VerdictGroup]:
    verdicts = judged.verdicts if calibrated else judged.without
    synthetic = embedded.synthetic[judged.rows]
    return [
        _count(name, embedded, judged.rows, verdicts, synthetic == kind, seed)
        for name, kind in (("real", False), ("synthetic", True))
    ]


def _by_generator(embedded: Embeddings, judged: Judged, seed: int) -> list[VerdictGroup]:
    names = np.array([embedded.population.generators[row] or "" for row in judged.rows], np.str_)
    counts = Counter(names[names != ""].tolist())
    return [
        _count(name, embedded, judged.rows, judged.verdicts, names == name, seed)
        for name, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def _by_condition(embedded: Embeddings, judged: JudgedImages, seed: int) -> list[DeliveryVerdicts]:
    """Count the delivered images, as they were and after each delivery."""
    if not judged.delivered:
        return []
    places = np.flatnonzero(np.isin(judged.as_is.rows, embedded.conditioned))
    unchanged = Judged(
        judged.as_is.rows[places],
        tuple(judged.as_is.verdicts[place] for place in places),
        tuple(judged.as_is.without[place] for place in places),
    )
    by_name = {AS_IS: unchanged} | {name.value: each for name, each in judged.delivered.items()}
    found = []
    for name, each in by_name.items():
        real, synthetic = _by_kind(embedded, each, seed)
        found.append(DeliveryVerdicts(name=name, real=real, synthetic=synthetic))
    return found


def _count(
    name: str,
    embedded: Embeddings,
    rows: NDArray[np.int64],
    verdicts: Sequence[Verdict],
    wanted: NDArray[np.bool_],
    seed: int,
) -> VerdictGroup:
    """Count the verdicts on some of the images, `wanted` (m,) of those in `rows` (m,)."""
    places = np.flatnonzero(wanted)
    some = [verdicts[place] for place in places.tolist()]
    sources = embedded.sources[rows[places]]

    def measure(is_one: Callable[[Verdict], bool]) -> Measure:
        return measure_share(np.array([is_one(each) for each in some], np.bool_), sources, seed)

    def classified(outcome: ClassifierOutcome) -> Measure:
        return measure(lambda each: _class_of(each) is outcome)

    def compared(outcome: SimilarityOutcome) -> Measure:
        return measure(lambda each: each.similarity.verdict is outcome)

    return VerdictGroup(
        name=name,
        n=len(some),
        classifier=ClassifierShares(
            synthetic=classified(ClassifierOutcome.SYNTHETIC),
            no_traces=classified(ClassifierOutcome.NO_TRACES),
            inconclusive=classified(ClassifierOutcome.INCONCLUSIVE),
            reasons=_count_reasons(
                [NO_LIMITS if each.classifier is None else each.classifier.reason for each in some]
            ),
        ),
        similarity=SimilarityShares(
            similar=compared(SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES),
            not_similar=compared(SimilarityOutcome.NOT_SIMILAR),
            inconclusive=compared(SimilarityOutcome.INCONCLUSIVE),
            reasons=_count_reasons([each.similarity.reason for each in some]),
        ),
    )


def _class_of(verdict: Verdict) -> ClassifierOutcome:
    if verdict.classifier is None:
        return ClassifierOutcome.INCONCLUSIVE
    return verdict.classifier.verdict


def _count_reasons(reasons: Sequence[str]) -> Mapping[str, int]:
    counts = Counter(map(str, reasons))
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def measure_share(is_one: NDArray[np.bool_], sources: NDArray[np.int64], seed: int) -> Measure:
    """Return the share of images (m,) with its 95 % interval: percentiles over resampled sources,
    or images if there are too few sources. Where none or all of them are counted, resamples do not
    differ: then it is the exact interval of so many sources, or images.
    """
    if not len(is_one):
        return Measure.missing("there is no such image")
    share = float(is_one.mean())
    if share in {0.0, 1.0}:
        units = len(np.unique(sources)) if has_enough_sources(sources) else len(is_one)
        low, high = exact_interval(share * units, units)
        return Measure(value=share, low=low, high=high)
    everything = np.ones(len(is_one), np.bool_)
    drawn = [is_one[rows].mean() for rows in draw_resamples(everything, sources, seed)]
    low, high = map(float, np.quantile(drawn, [0.025, 0.975]))
    return Measure(value=share, low=min(low, share), high=max(high, share))
