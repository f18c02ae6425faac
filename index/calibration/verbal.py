"""Verbal equivalents of a likelihood ratio, from a replaceable scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class VerbalScale:
    """Steps (log10 of the smallest ratio, words), rising; `neither` is used below the first step.

    `source` names the guideline. `supports` and `opposes` are sentences with a place for the words
    of a step, for ratios above and below 1.
    """

    source: str
    steps: tuple[tuple[float, str], ...]
    neither: str
    supports: str
    opposes: str

    def __post_init__(self) -> None:
        limits = [limit for limit, _ in self.steps]
        if not limits or limits[0] < 0 or any(b <= a for a, b in pairwise(limits)):
            raise ValueError(
                "the steps of a verbal scale must rise, from a log10 ratio of 0 or more"
            )

    def words_for(self, log10: float) -> str:
        """Return the words for a log10 ratio. A ratio and its inverse get the same words, for
        opposite propositions.
        """
        reached = [words for limit, words in self.steps if abs(log10) >= limit]
        if not reached:
            return self.neither
        return (self.supports if log10 > 0 else self.opposes).format(reached[-1])

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "steps": [[limit, words] for limit, words in self.steps],
            "neither": self.neither,
            "supports": self.supports,
            "opposes": self.opposes,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        steps: Sequence[Sequence[Any]] = stored["steps"]
        return cls(
            **{**stored, "steps": tuple((float(limit), str(words)) for limit, words in steps)}
        )


# ENFSI Guideline for Evaluative Reporting in Forensic Science (2015), glossary, "verbal
# equivalents", second example: 1 no support, 2-10 weak, 10-100 moderate, 100-1,000 moderately
# strong, 1,000-10,000 strong, 10,000-1,000,000 very strong, above extremely strong. The table does
# not cover ratios from 1 to 2; they count as neither.
ENFSI_2015 = VerbalScale(
    "ENFSI Guideline for Evaluative Reporting in Forensic Science, 2015",
    (
        (0.3010299956639812, "weak"),  # log10(2)
        (1.0, "moderate"),
        (2.0, "moderately strong"),
        (3.0, "strong"),
        (4.0, "very strong"),
        (6.0, "extremely strong"),
    ),
    neither="supports neither proposition over the other",
    supports="{} support for the first proposition rather than the alternative",
    opposes="{} support for the alternative rather than the first proposition",
)
