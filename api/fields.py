"""Types that requests and answers share: names, times, free text and JSON, and the base models.

`Order` is the base of everything that somebody asks for. Its values are refused at once if the
databases or JSON could not hold them: one rule for the fields of a request, for the free provenance
of many images and of one, over HTTP and in the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from math import isfinite
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationInfo,
    field_validator,
)

from index.errors import InvalidProvenance
from index.jsontext import canonical_json
from index.truth.corpora import NAME_PATTERN
from index.truth.instants import in_utc
from index.truth.provenance import storable_text

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
CORPUS_NAME = f"^{NAME_PATTERN.pattern}$"  # `$` is the end of the text in pydantic's expressions
CorpusName = Annotated[
    str,
    Field(
        description="Name of a corpus.",
        pattern=CORPUS_NAME,
        examples=["casework-2026-sdxl"],
    ),
]

MAX_PLACE = 100  # characters of a place that an error repeats
MAX_LEVELS = 64  # of free JSON; SQLite reads 1,000 levels, and Python's recursion ends there too
LEAST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1  # what both databases hold
# The provenance of all images of a request is stored once for each of them.
MAX_PROVENANCE_BYTES = 2**16


def find_fault(value: Any) -> tuple[str, str] | None:  # noqa: ANN401 -- any JSON
    """Return where and why a value cannot be held by every database and every JSON reader.

    That is text with NUL or half of a surrogate pair, a number that is not finite or needs more
    than 64 bits, and what is nested in more than `MAX_LEVELS` levels. The place has dots, and is
    empty for the value itself.
    """
    pending: list[tuple[str, int, Any]] = [("", 0, value)]
    while pending:
        place, level, each = pending.pop()
        reason = _find_fault(each)
        if reason is None and isinstance(each, (Mapping, list, tuple)):
            if level == MAX_LEVELS:
                reason = f"has more than {MAX_LEVELS} levels of JSON"
            names = each if isinstance(each, Mapping) else ()
            reason = reason or next(filter(None, map(_find_fault, names)), None)
            if reason is None and _is_embedding(each):
                continue
            # Cut at once: each of a million values would hold the names above it, however long.
            pending += [
                (f"{place}.{key}"[: MAX_PLACE + 1], level + 1, inner) for key, inner in _parts(each)
            ]
        if reason is not None:
            return place.removeprefix(".")[:MAX_PLACE], reason
    return None


def check_value(value: Any) -> Any:  # noqa: ANN401 -- any JSON
    """Return a value without a fault. Raises ValueError, which says where and why."""
    if fault := find_fault(value):
        raise ValueError(" ".join(fault).lstrip())
    return value


def _is_embedding(value: object) -> bool:
    """Whether a value is a list of finite floats only; then nothing in it needs a closer look."""
    return isinstance(value, list) and {*map(type, value)} == {float} and all(map(isfinite, value))


def _parts(value: Mapping[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, Mapping) else enumerate(value)


def _find_fault(value: object) -> str | None:
    match value:
        case str():
            try:
                storable_text(value)
            except InvalidProvenance as err:
                return err.reason
        case bool():
            return None
        case float() if not isfinite(value):
            return "is not a finite number"
        case int() if not LEAST_INTEGER <= value <= LARGEST_INTEGER:
            return "is a number of more than 64 bits"
    return None


_STORED: Any = {"stored": True}


def check_size(provenance: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    """Return provenance that is small enough for each image of a request. Raises ValueError."""
    if info.context is _STORED:
        return provenance
    size = len(canonical_json(provenance).encode())
    if size > MAX_PROVENANCE_BYTES:
        raise ValueError(f"has {size:,} bytes as JSON; the limit is {MAX_PROVENANCE_BYTES:,}")
    return provenance


PlainText = Annotated[str, BeforeValidator(check_value)]
FreeJSON = Annotated[dict[str, Any], AfterValidator(check_value)]  # the provenance of one image
FreeJSONForMany = Annotated[dict[str, Any], AfterValidator(check_size)]
SourceLocation = Annotated[str, Field(min_length=1, max_length=8192)]  # a signed URL is long
FilterText = Annotated[str, Field(max_length=1000)]
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


class Order(Answer):
    """Base of what somebody asks for: every field passes `check_value` first.

    `checked_later` names the fields that have an error of their own for such values.
    """

    checked_later: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def read(cls, stored: Any) -> Self:  # noqa: ANN401 -- JSON as stored
        """Return an order that is stored already, perhaps by a release that checked less."""
        return cls.model_validate(stored, context=_STORED)

    @field_validator("*", mode="before")
    @classmethod
    def _check(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 -- any JSON
        if info.context is _STORED or info.field_name in cls.checked_later:
            return value
        return check_value(value)


class FailedItem(Answer):
    """An item that could not be used, and why."""

    name: str = Field(description="Name of the item within its source, or path of the file.")
    reason: str = Field(description="Reason, machine-readable.", examples=["truncated"])
    detail: str = Field(description="Reason, for people.")
