"""Images judged as look-ups would judge them, in an installation that holds all the others.

The images are dealt into folds. For each fold a calibration is measured on the others, as `lineup
calibrate` does it: the known fakes among them are the corpus, and the real images the reference.
The fold's images are then probes: the same quality gates, the same limits, the same verdicts. What
is left out of a look-up: re-encodings, and entries of the same picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from api.evaluation.embedding import Embeddings
from api.evaluation.retrieving import draw_rows
from api.evaluation.splits import deal_into_folds, has_enough_sources
from embedder.pictures.delivery import Condition
from index.calibration.calibration import AS_IS, Compared, Measured, calibrate
from index.calibration.for_probe import ProbeCalibration
from index.calibration.others import NOTHING, SamePictures, find_nearest
from index.calibration.population import CollectionName, Population
from index.calibration.standing import Applied, Applies
from index.evidence import ProbeFacts, judge_similarities
from index.policy import Choices, LogitCalibration, choose_policy
from index.verdict import ClassifierPolicy, Policy, Verdict

# Each fold needs a calibration of its own: a second for 1,500 images as they are, and one more for
# each delivery.
FOLDS = 4
# With fewer images of a kind to calibrate on, a calibration has none of its parts.
MIN_KNOWN = 10
MOST_KNOWN = 5_000  # of each kind, for a calibration


@dataclass(frozen=True, slots=True)
class Rules:
    """What a look-up is judged by beside a calibration: the operator's and the model's choices."""

    choices: Choices
    false_match_rate: float


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Probes of one delivery, by their rows (m,) in the population: the verdicts of a look-up, and
    those of one without a calibration.
    """

    rows: NDArray[np.int64]
    verdicts: tuple[Verdict, ...]
    without: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True, eq=False)
class JudgedImages:
    """All images judged, as they are and after each delivery.

    `limits` are those of the calibrations, for images as they are. `keeps_sources` says of real and
    of synthetic images whether those of one source were judged together. `known` are the fewest
    real and synthetic images that a calibration was measured on.
    """

    as_is: Judged
    delivered: Mapping[Condition, Judged]
    limits: tuple[ClassifierPolicy | None, ...]
    keeps_sources: tuple[bool, bool]
    known: tuple[int, int]


def judge_images(embedded: Embeddings, rules: Rules, seed: int) -> JudgedImages | None:
    """Judge every image by a calibration on the images of other folds.

    Images of one declared source are in one fold, if there are enough sources of their kind. None
    if there are too few images.
    """
    keeps = tuple(
        has_enough_sources(embedded.sources[embedded.synthetic == kind]) for kind in (False, True)
    )
    fold = np.zeros(len(embedded.synthetic), np.int64)
    for kind, keeps_sources in zip((False, True), keeps, strict=True):
        rows = np.flatnonzero(embedded.synthetic == kind)
        units = embedded.sources[rows] if keeps_sources else np.arange(len(rows))
        fold[rows] = deal_into_folds(units, FOLDS, seed)
    known = [
        min(int((~out & (embedded.synthetic == kind)).sum()) for out in _list_folds(fold))
        for kind in (False, True)
    ]
    if min(known) < MIN_KNOWN:
        return None
    folds = [
        _Fold(embedded, out, rules, number, seed) for number, out in enumerate(_list_folds(fold), 1)
    ]
    return JudgedImages(
        as_is=_join(each.judge_as_is() for each in folds),
        delivered={
            condition: _join(each.judge_delivered(condition) for each in folds)
            for condition in embedded.delivered
        },
        limits=tuple(each.limits for each in folds),
        keeps_sources=(keeps[0], keeps[1]),
        known=(known[0], known[1]),
    )


class _Fold:
    """Some of the images as probes, in an installation that holds and calibrates the others."""

    def __init__(
        self, embedded: Embeddings, out: NDArray[np.bool_], rules: Rules, number: int, seed: int
    ) -> None:
        self._embedded, self._out, self._rules = embedded, out, rules
        self._policies: dict[str | None, tuple[ProbeCalibration, Policy, LogitCalibration]] = {}
        images = replace(embedded.population, collections=_name_collections(embedded))
        known = (np.flatnonzero(~out & (embedded.synthetic == kind)) for kind in (False, True))
        rows = [each[draw_rows(len(each), MOST_KNOWN, seed)] for each in known]
        self._reals, self._fakes = (images.taking(each) for each in rows)
        self._among = SamePictures(self._reals), SamePictures(self._fakes)
        measured = {AS_IS: Measured(self._reals, self._fakes)} | {
            condition.value: Measured(*(_deliver(images, embedded, condition, of) for of in rows))
            for condition in embedded.delivered
        }
        self._applied = Applied(
            id=number,
            created_at=datetime.now(UTC),
            generation=0,
            against=("known fakes",),
            reference=("known-real images",),
            calibration=calibrate(
                Compared(self._fakes, self._reals, len(self._fakes)), measured, seed
            ),
            applies=Applies.EXACT,
        )

    @property
    def limits(self) -> ClassifierPolicy | None:
        """The limits of the logit for images as they are."""
        return self._find_policy(AS_IS)[1].classifier

    def judge_as_is(self) -> Judged:
        rows = np.flatnonzero(self._out)
        facts = [self._embedded.facts[row] for row in rows]
        return self._judge(rows, self._embedded.population.taking(rows), facts)

    def judge_delivered(self, condition: Condition) -> Judged:
        delivered = self._embedded.delivered[condition]
        places = np.flatnonzero(self._out[delivered.rows])
        rows = delivered.rows[places]
        probes = replace(
            self._embedded.population.taking(rows),
            vectors=delivered.vectors[places],
            logits=delivered.logits[places],
        )
        return self._judge(rows, probes, [delivered.facts[place] for place in places])

    def _judge(
        self, rows: NDArray[np.int64], probes: Population, facts: Sequence[ProbeFacts]
    ) -> Judged:
        reals, fakes = (
            find_nearest(probes, members, same).maxima
            for members, same in zip((self._reals, self._fakes), self._among, strict=True)
        )
        plain = choose_policy(None, None, self._rules.choices)
        verdicts, without = [], []
        for each, real, fake in zip(facts, reals.tolist(), fakes.tolist(), strict=True):
            nearest = fake if fake > NOTHING else None, real if real > NOTHING else None
            calibration, policy, logits = self._find_policy(each.condition)
            verdicts.append(judge_similarities(each, *nearest, calibration, policy, logits))
            without.append(judge_similarities(each, *nearest, None, plain, None))
        return Judged(rows, tuple(verdicts), tuple(without))

    def _find_policy(
        self, condition: str | None
    ) -> tuple[ProbeCalibration, Policy, LogitCalibration]:
        """Return what a probe is judged by that seems to have been delivered in this way."""
        if condition not in self._policies:
            calibration = ProbeCalibration.of(
                self._applied, condition, len(self._fakes), self._rules.false_match_rate
            )
            logits = LogitCalibration.of(self._applied, condition)
            policy = choose_policy(calibration, logits, self._rules.choices)
            self._policies[condition] = calibration, policy, logits
        return self._policies[condition]


def _list_folds(fold: NDArray[np.int64]) -> Iterator[NDArray[np.bool_]]:
    for number in range(FOLDS):
        yield np.asarray(fold == number, np.bool_)


def _name_collections(embedded: Embeddings) -> tuple[CollectionName, ...]:
    """Return the collection of each image: its declared source, as in a corpus."""
    return tuple(
        CollectionName("synthetic" if image.synthetic else "real", image.source)
        if image.source_is_declared
        else CollectionName("synthetic" if image.synthetic else "real", None)
        for image in embedded.images
    )


def _deliver(
    images: Population, embedded: Embeddings, condition: Condition, rows: NDArray[np.int64]
) -> Population:
    """Return those of the images that were delivered in this way, as they look after it."""
    delivered = embedded.delivered[condition]
    places = np.flatnonzero(np.isin(delivered.rows, rows))
    return replace(
        images.taking(delivered.rows[places]),
        vectors=delivered.vectors[places],
        logits=delivered.logits[places],
    )


def _join(parts: Iterable[Judged]) -> Judged:
    """Return the probes of all folds, by rising row."""
    some = list(parts)
    rows = np.concatenate([each.rows for each in some])
    order = np.argsort(rows, kind="stable")
    verdicts = [verdict for each in some for verdict in each.verdicts]
    without = [verdict for each in some for verdict in each.without]
    return Judged(
        rows[order],
        tuple(verdicts[place] for place in order),
        tuple(without[place] for place in order),
    )
