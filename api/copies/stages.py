"""The stages that look for copies: what each is, and why one did not run.

Plain values. Which stages an installation has is asked of the parts themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

IN_THE_LOG = "the error is in the log"  # the detail of a stage that failed


class CopyStage(StrEnum):
    """One way of looking for copies, in the order in which a look-up runs them."""

    PERCEPTUAL_HASH = "perceptual_hash"
    DESCRIPTOR = "descriptor"
    GEOMETRY = "geometry"


class StageOutcome(StrEnum):
    """Whether a stage ran, or why not."""

    RAN = "ran"
    NOT_INSTALLED = "not_installed"  # a package or a file of this installation is missing
    SWITCHED_OFF = "switched_off"  # the installation has it, and its settings leave it out
    NO_IMAGE = "no_image"  # the probe came without its bytes, and nobody sent what the stage needs
    LOW_QUALITY = "low_quality"  # the picture has too little structure for this stage
    NO_CANDIDATES = "no_candidates"  # no entry was near enough to be looked at
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage of a look-up did.

    `compared` counts the entries that it compared, `found` those of them in which it saw a copy or
    a lead, and `not_comparable` those that it was given and could not compare, because nothing to
    compare them by is kept. `detail` says for people why a stage did not run; None if it ran.
    `generation` and `exact` are those of the search in the copy space, None for other stages.
    """

    stage: CopyStage
    outcome: StageOutcome
    compared: int = 0
    found: int = 0
    not_comparable: int = 0
    detail: str | None = None
    generation: int | None = None
    exact: bool | None = None
