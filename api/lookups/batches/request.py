"""What a batch of look-ups is asked for: one query, and several probes without their images.

A probe that does not fit its schema is kept with what is wrong, so that the others are answered.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from api.fields import Order
from api.lookups.request import LookupQuery, SentProbe

MAX_PROBES = 256
# A neighbour takes about 1 kB of an answer: 10 MB in all.
MAX_NEIGHBOURS = 10_240
MAX_FAULTS = 10  # of one probe that an answer lists
ProbeName = Annotated[str, Field(max_length=1000)]


class BatchProbe(SentProbe):
    """One probe of a batch."""

    name: ProbeName | None = Field(
        None,
        description="The client's own name of the probe. The answer repeats it; it is not stored.",
    )


class UnfitProbe(BatchProbe):
    """A probe that does not fit its schema; `faults` are as `InvalidRequest` takes them."""

    faults: tuple[dict[str, str], ...]


def keep_unfit(value: Any, read: ValidatorFunctionWrapHandler) -> BatchProbe:  # noqa: ANN401 -- any JSON
    """Return a probe, or an `UnfitProbe` instead of raising."""
    try:
        probe: BatchProbe = read(value)
    except ValidationError as err:
        faults = err.errors(include_url=False, include_context=False, include_input=False)
        first = [
            {"field": ".".join(map(str, each["loc"])), "detail": each["msg"]}
            for each in faults[:MAX_FAULTS]
        ]
        has_name = isinstance(value, dict) and all(each["loc"][:1] != ("name",) for each in faults)
        return UnfitProbe(name=value.get("name") if has_name else None, faults=tuple(first))
    return probe


class LookupBatch(Order):
    """Several look-ups with one query."""

    checked_later = frozenset({"probes"})  # each by itself

    query: LookupQuery = Field(
        LookupQuery(),
        description="How to search for each probe. `stability` needs images and is refused. `k` "
        f"times the number of probes is at most {MAX_NEIGHBOURS:,}.",
    )
    probes: list[Annotated[BatchProbe, WrapValidator(keep_unfit)]] = Field(
        min_length=1,
        max_length=MAX_PROBES,
        description="The probes. A body has at most 100,000 values altogether, so embeddings of "
        "1,024 numbers come about 90 at a time.",
    )

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.query.stability:
            raise ValueError("stability re-encodes the probes and needs their images")
        if self.query.k * len(self.probes) > MAX_NEIGHBOURS:
            raise ValueError(f"k times the number of probes is more than {MAX_NEIGHBOURS:,}")
        return self
