"""Types that requests and answers share: names, times, and a frozen, strict base model."""

from __future__ import annotations

from datetime import datetime
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

from index.truth.instants import in_utc

MAX_FILTER_PLACES = 16
MAX_FILTER_VALUES = (
    1000  # of one criterion; databases limit the number of parameters of a statement
)
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
        description="Name of a corpus.",
        pattern="^[a-z0-9][a-z0-9._-]{0,63}$",
        examples=["casework-2026-sdxl"],
    ),
]

Place = Annotated[str, Field(min_length=1, max_length=1000)]
Scalar = Annotated[
    StrictBool | StrictInt | StrictFloat | Annotated[str, Field(max_length=10_000)] | None,
    Field(union_mode="smart"),
]


Instant = Annotated[datetime, AfterValidator(in_utc)]


class Answer(BaseModel):
    """Base of requests and answers: frozen, and strict about unknown fields.

    A misspelt field is an error instead of being ignored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class FailedItem(Answer):
    """An item that could not be used, and why."""

    name: str = Field(description="Name of the item within its source, or path of the file.")
    reason: str = Field(description="Reason, machine-readable.", examples=["truncated"])
    detail: str = Field(description="Reason, for people.")
