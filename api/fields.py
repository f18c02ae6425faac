"""What all answers share: names, instants, and models that are frozen and strict."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
)

MAX_FILTER_PLACES = 16
MAX_FILTER_VALUES = 1000  # of one criterion; a database takes only so many in one statement
Sha256 = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{64}$",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]
CorpusName = Annotated[
    str,
    Field(
        description="Of a corpus.",
        pattern="^[a-z0-9][a-z0-9._-]{0,63}$",
        examples=["casework-2026-sdxl"],
    ),
]

Place = Annotated[str, Field(min_length=1, max_length=1000)]
Scalar = Annotated[
    StrictBool | StrictInt | StrictFloat | Annotated[str, Field(max_length=10_000)] | None,
    Field(union_mode="smart"),
]


def in_utc(instant: datetime) -> datetime:
    """The same instant in UTC; without a zone it is UTC.

    Raises ValueError on one that UTC cannot express.
    """
    try:
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError as err:
        raise ValueError("is not in the years 1 to 9999 of UTC") from err


Instant = Annotated[datetime, AfterValidator(in_utc)]


class Answer(BaseModel):
    """Frozen, and strict about unknown fields, so that a misspelt one is an error and not
    ignored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class FailedItem(Answer):
    """An item that was not taken, and why."""

    name: str = Field(description="Path of the file, as it was found.")
    reason: str = Field(description="Machine-readable.", examples=["truncated"])
    detail: str = Field(description="For a person.")
