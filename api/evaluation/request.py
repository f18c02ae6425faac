"""What is asked of an evaluation."""

from __future__ import annotations

from pydantic import Field

from api.fields import Answer
from embedder.pictures.delivery import Condition

MOST_SEED = 2**32 - 1


class EvaluationRequest(Answer):
    """An evaluation as it was asked for; with the same images and model it gives the same figures
    again.
    """

    source: str = Field(
        description="Absolute path or URL of a folder, an archive, a table or a manifest."
    )
    pattern: str | None = Field(
        None,
        max_length=1000,
        description="Label, generator and source in the names of items: `{label}/{generator}/*`.",
    )
    path_column: str | None = Field(None, description="Of a manifest: the column with the paths.")
    image_column: str | None = Field(
        None, description="Of a Parquet table: the column with the images."
    )
    conditions: list[Condition] = Field(
        [], description="Deliveries that the classifier is measured under as well."
    )
    max_images: int | None = Field(
        None, ge=2, description="Images that are measured at most, drawn at random."
    )
    condition_images: int | None = Field(
        None,
        ge=2,
        description="Images that are measured under every condition at most, drawn at random "
        "from these.",
    )
    seed: int = Field(0, ge=0, le=MOST_SEED, description="Of sampling, halves and resampling.")
