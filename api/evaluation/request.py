"""The request of an evaluation."""

from __future__ import annotations

from pydantic import Field

from api.fields import Order, SourceLocation
from embedder.pictures.delivery import Condition

MOST_SEED = 2**32 - 1


class EvaluationRequest(Order):
    """The images to evaluate a model on, and how.

    With the same images and the same model, the figures are the same.
    """

    source: SourceLocation = Field(
        description="Absolute path or URL of a folder, an archive, a table or a manifest."
    )
    pattern: str | None = Field(
        None,
        max_length=1000,
        description="Pattern that reads label, generator and source from the items' names: "
        "`{label}/{generator}/*`.",
    )
    path_column: str | None = Field(
        None, max_length=1000, description="Name of the column with the paths, for a manifest."
    )
    image_column: str | None = Field(
        None,
        max_length=1000,
        description="Name of the column with the images, for a Parquet table.",
    )
    conditions: list[Condition] = Field(
        [],
        description="Kinds of delivery, such as jpeg75, after which the classifier is measured "
        "too.",
    )
    max_images: int | None = Field(
        None,
        ge=2,
        description="Largest number of images to measure, drawn at random. Null for all, and "
        "for 1,000 over HTTP.",
    )
    condition_images: int | None = Field(
        None,
        ge=2,
        description="Largest number of images to measure after every kind of delivery, drawn at "
        "random from the measured ones. Null for all.",
    )
    seed: int = Field(
        0, ge=0, le=MOST_SEED, description="Seed of sampling, halving and resampling."
    )
