"""Running the stages of one probe: each reports what it did, is timed, and may fail alone.

A stage that fails is said in the answer. It never ends a look-up: the other stages, and the search
by embedding, answer without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from api.copies.stages import IN_THE_LOG, CopyStage, StageOutcome, StageReport
from api.copies.stored_features import StoredFeatures
from api.copies.verifying import NoFeatures, choose_candidates, take_turns, verify
from embedder.copies.features import LocalFeatures, can_extract
from index.cache.searching.questions import Neighbour
from index.copies import CopyEvidence

log = logging.getLogger(__name__)

# Near duplicates that are copies already, and are verified all the same, to say what was done.
EXPLAINED = 2
HOW_TO_INSTALL = "pip install 'lineup-forensics[copies]' brings it"


@dataclass(frozen=True, slots=True)
class GeometryRun:
    """What geometry added to the evidence of candidates, by entry id. `took_ms` is None if it
    compared nothing.
    """

    report: StageReport
    evidence: Mapping[int, CopyEvidence] = field(default_factory=dict)
    took_ms: float | None = None


def list_candidates(found: Sequence[Neighbour]) -> list[Neighbour]:
    """Return the entries that are worth verifying: the nearest of the near duplicates, of which
    geometry says what was done to them, then the others in the order of `take_turns`, then the
    other near duplicates.
    """
    others = [each for each in found if not each.near_duplicate]
    described = sorted(
        (each for each in others if _descriptor_similarity(each) is not None),
        key=lambda each: (-(_descriptor_similarity(each) or 0), each.entry.id),
    )
    hashed = [each for each in others if _bits(each) is not None]
    near = sorted(
        (each for each in found if each.near_duplicate and not each.identical),
        key=lambda each: (each.hamming_distance or 0, each.entry.id),
    )
    turns = take_turns(
        described,
        sorted(hashed, key=lambda each: (_bits(each) or 0, each.entry.id)),
        sorted(others, key=lambda each: (-each.nearness, each.entry.id)),
    )
    chosen = choose_candidates(turns)
    return choose_candidates([*near[:EXPLAINED], *chosen, *near[EXPLAINED:]])


def run_geometry(
    stored: StoredFeatures,
    find_probe: Callable[[], LocalFeatures | None] | None,
    found: Sequence[Neighbour],
) -> GeometryRun:
    """Verify the candidates among what was found by local features. `find_probe` makes those of the
    probe, which is asked for where a candidate can be compared; None if the probe came without its
    image.
    """
    if not can_extract():
        return _skip(StageOutcome.NOT_INSTALLED, HOW_TO_INSTALL)
    if find_probe is None:
        return _skip(StageOutcome.NO_IMAGE)
    candidates = list_candidates(found)
    if not candidates:
        return _skip(StageOutcome.NO_CANDIDATES)
    started = perf_counter()
    try:
        evidence = verify(stored, find_probe, candidates)
    except NoFeatures:
        return _skip(StageOutcome.LOW_QUALITY)
    except Exception:
        log.exception("candidates were not verified")
        return _skip(StageOutcome.FAILED, IN_THE_LOG)
    took_ms = round((perf_counter() - started) * 1000, 3)
    compared = [each for each in evidence.values() if each.verified is not None]
    report = StageReport(
        CopyStage.GEOMETRY,
        StageOutcome.RAN,
        compared=len(compared),
        found=sum(each.verified is True for each in compared),
        not_comparable=len(candidates) - len(compared),
    )
    return GeometryRun(report, evidence, took_ms)


def _skip(outcome: StageOutcome, detail: str | None = None) -> GeometryRun:
    return GeometryRun(StageReport(CopyStage.GEOMETRY, outcome, detail=detail))


def _descriptor_similarity(neighbour: Neighbour) -> float | None:
    return None if neighbour.copy is None else neighbour.copy.descriptor_similarity


def _bits(neighbour: Neighbour) -> int | None:
    return None if neighbour.copy is None else neighbour.copy.hamming_distance
