"""What look-ups are judged by beside a calibration: the operator's choices and the model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from api.lineup import Lineup
from index.calibration.verbal import VerbalScale
from index.policy import Choices


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an opened Lineup.

    `choices` are the operator's and the model's. `model_side` is the edge in pixels of what the
    model reads. `caution` is a warning about the model, None if there is none.
    """

    false_match_rate: float
    choices: Choices
    model_side: int
    scale: VerbalScale
    caution: str | None = None

    @classmethod
    def of(cls, lineup: Lineup) -> Self:
        """As the settings and the model have them."""
        settings, info = lineup.settings, lineup.model.info
        return cls(
            false_match_rate=settings.false_match_rate,
            choices=Choices(
                threshold=lineup.threshold,
                classifier=lineup.classifier_policy,
                miss_rate=settings.no_traces_miss_rate,
                false_alarm_rate=settings.synthetic_false_alarm_rate,
            ),
            model_side=info.image_size,
            scale=lineup.verbal_scale,
            caution=info.caution,
        )
