"""What a calibration is asked for: by the command, by the API, and in the stored row."""

from __future__ import annotations

from pydantic import Field

from api.fields import CorpusName, Order
from embedder.pictures.delivery import Condition


class CalibrationRequest(Order):
    """The corpora to calibrate, and how."""

    against: list[CorpusName] | None = Field(
        None,
        description="Names of the corpora of known fakes. Null for all corpora that exist when "
        "the job runs.",
    )
    reference: list[CorpusName] | None = Field(
        None,
        description="Names of the corpora of known-real images, which form the reference "
        "population. Null for all.",
    )
    conditions: list[Condition] = Field(
        list(Condition),
        description="Kinds of delivery to measure beside unchanged images, for example JPEG 75. "
        "Each needs the images' files.",
    )
    max_images: int = Field(
        500,
        ge=1,
        le=100_000,
        description="Largest number of known-real images, and of known fakes, that are re-encoded"
        " and embedded for each kind of delivery. They are drawn at random. For "
        "unchanged images, all stored embeddings are used.",
    )
    with_shipped: bool = Field(
        True,
        description="Whether the photographs that came with the model join the known-real images "
        "as further collections, if it has any.",
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the random choice and of the bootstrap."
    )
