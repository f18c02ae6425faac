"""Whether the stated rates of a stratum hold: each collection is left out and counted in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class StratumCheck:
    """How often the stated intervals of a stratum contained what was counted in a collection that
    was left out.

    `rates` intervals of `collections` collections were checked; `inside` of them held.
    """

    holds: bool
    collections: int
    rates: int
    inside: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**stored)
