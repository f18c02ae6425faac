"""The calibration that a look-up used, as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from api.fields import Answer, CorpusName
from index.calibration.calibration import FallBack
from index.calibration.for_probe import ProbeCalibration
from index.calibration.standing import Applies


class CalibrationUsed(Answer):
    """The calibration that the false-match rate, the likelihood ratio and the attribution come
    from.
    """

    id: int = Field(
        description="Id of the calibration. GET /v1/calibrations/{id} or `lineup calibrations "
        "show ID` prints it."
    )
    created_at: datetime = Field(description="When the calibration was stored, in UTC.")
    generation: int = Field(description="Number of the last change that the calibration measured.")
    applies: Literal["exact", "upper_bound"] = Field(
        description="exact: the calibrated corpora were searched. upper_bound: only part of them "
        "was searched, so the true false-match rate is at most the stated one."
    )
    against: list[CorpusName] = Field(description="Names of the calibrated corpora of known fakes.")
    reference: list[str] = Field(
        description="The reference population: names of the corpora of known-real images, and "
        "`photographs shipped with` a model if they were used."
    )
    corpus_size: int = Field(
        description="Number of entries of known fakes when the calibration was measured."
    )
    entries_since: int | None = Field(
        description="Entries added since the calibration (negative if removed). The rate is "
        "predicted for the corpus's current size. Null if only part of the corpora "
        "was searched."
    )
    probe_condition: str | None = Field(
        description="The kind of delivery that the probe's file looks like, by its format, its "
        "size and its JPEG tables. Null if no image was sent.",
        examples=["jpeg75"],
    )
    condition: str = Field(
        description="The kind of delivery whose figures are used: `probe_condition` if the "
        "calibration measured it and its rates held, otherwise any_delivery, or as_is in "
        "calibrations of earlier releases.",
        examples=["as_is"],
    )
    fell_back_from: str | None = Field(
        None,
        description="The kind of delivery of the probe, if figures of another one are used.",
        examples=["webp80"],
    )
    fell_back_because: FallBack | None = Field(
        None,
        description="Why: not_measured, or does_not_hold if its stated rates did not hold for "
        "collections that were left out.",
    )
    holds: bool = Field(
        True,
        description="False if the stated rates did not hold for collections that were left out, "
        "and no wider kind of delivery was measured. There is no threshold then.",
    )
    provisional: bool = Field(
        False,
        description="True if the known-real images came with the model, and too few are of this "
        "installation. The figures are stated, and similarity gives no verdict.",
    )
    has_hit_rates: bool = Field(
        True,
        description="False if the calibration was measured by a release without hit rates. "
        "Similarity gives no verdict then.",
    )
    images: int = Field(
        description="Number of known-real images measured for this kind of delivery."
    )
    sources: int = Field(description="Number of photographs that these images come from.")
    supports_threshold: bool = Field(
        description="True if there were enough images for the false-match rate that was asked "
        "for: the upper end of its interval is at most five times the rate. If false, similarity "
        "gives no verdict."
    )

    @classmethod
    def of(
        cls, found: ProbeCalibration | None, probe_condition: str | None
    ) -> CalibrationUsed | None:
        """From the calibration as it applies to the probe."""
        if found is None:
            return None
        applied, stratum = found.applied, found.stratum
        measured = applied.calibration.corpus_size
        is_exact = applied.applies is Applies.EXACT
        return cls(
            id=applied.id,
            created_at=applied.created_at,
            generation=applied.generation,
            applies=applied.applies.value,
            against=list(applied.against),
            reference=list(applied.reference),
            corpus_size=measured,
            entries_since=found.corpus_size - measured if is_exact else None,
            probe_condition=probe_condition,
            condition=found.condition,
            fell_back_from=found.fell_back_from,
            fell_back_because=found.because,
            holds=stratum.holds,
            provisional=found.is_provisional,
            has_hit_rates=found.discrimination is not None,
            images=stratum.references,
            sources=stratum.sources,
            supports_threshold=found.threshold is not None,
        )
