"""What look-ups are judged by: the limits of the operator, of the model, and of a calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from api.lineup import Lineup
from index.calibration.for_probe import ProbeCalibration
from index.calibration.verbal import VerbalScale
from index.verdict import ClassifierPolicy, Policy, Threshold


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an opened Lineup.

    `threshold` is the operator's where `threshold_is_configured`, and wins over that of a
    calibration; otherwise it is the model's, for probes to which no calibration gives one.
    `model_side` is the edge in pixels of what the model reads.
    """

    false_match_rate: float
    threshold: Threshold | None
    threshold_is_configured: bool
    classifier: ClassifierPolicy | None
    model_side: int
    scale: VerbalScale

    @classmethod
    def of(cls, lineup: Lineup) -> Self:
        """As the settings and the model have them."""
        return cls(
            false_match_rate=lineup.settings.false_match_rate,
            threshold=lineup.threshold,
            threshold_is_configured=lineup.settings.similarity_threshold is not None,
            classifier=lineup.classifier_policy,
            model_side=lineup.embedder.info.image_size,
            scale=lineup.verbal_scale,
        )

    def choose_policy(self, calibration: ProbeCalibration | None) -> Policy:
        """By which a probe is judged, with the calibration that applies to it."""
        threshold = self.threshold
        if calibration is not None and not self.threshold_is_configured:
            threshold = calibration.threshold or threshold
        return Policy(threshold, self.classifier)

    def find_thresholds(
        self, calibration: ProbeCalibration | None, conditions: Sequence[str]
    ) -> list[Threshold | None]:
        """The thresholds of re-encodings that were delivered in these ways; None: the probe's."""
        if calibration is None or self.threshold_is_configured:
            return [None] * len(conditions)
        return calibration.find_thresholds(conditions)
