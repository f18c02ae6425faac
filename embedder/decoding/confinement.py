"""What the process that decodes bytes from outside is kept from, as words for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ConfinementLevel(StrEnum):
    """From the strongest to the weakest. Each level was verified by the worker itself."""

    FULL = "full"  # no files, no network, no programs, no other process; bounded memory and time
    PARTIAL = "partial"  # some of these hold; the detail says which do not
    LIMITS = "limits"  # a process of its own with bounded memory and time, and nothing more
    PROCESS = "process"  # a process of its own with bounded time: a crash or hang stays in it
    NONE = "none"  # threads of this process decode


@dataclass(frozen=True, slots=True)
class Confinement:
    """`detail` is one sentence: what a decoder that is taken over can and cannot do here."""

    level: ConfinementLevel
    detail: str
