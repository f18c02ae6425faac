"""What a calibration is asked for, in the words of the command, the API and the stored row."""

from __future__ import annotations

from pydantic import Field

from api.fields import Answer, CorpusName
from embedder.pictures.delivery import Condition


class CalibrationRequest(Answer):
    """Which corpora are calibrated against which photographs, and how."""

    against: list[CorpusName] | None = Field(
        None, description="Corpora of known fakes; null for all there are when it is measured."
    )
    reference: list[CorpusName] | None = Field(
        None, description="Corpora of known-real images, the reference population; null for all."
    )
    conditions: list[Condition] = Field(
        list(Condition),
        description="Ways of delivery to measure beside images as they are. Each needs the "
        "images' files.",
    )
    max_images: int = Field(
        500,
        ge=1,
        le=100_000,
        description="Known-real images, and known fakes, that are embedded again after each "
        "delivery, by the seed. "
        "As they are all of them are measured, whose embeddings are stored.",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Of the choice and of the bootstrap.")
