from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api.copies.running import GeometryRun, list_candidates, run_geometry
from api.copies.stages import StageOutcome
from api.copies.verifying import MAX_CANDIDATES
from embedder.copies.features import LocalFeatures, can_extract, extract_features
from index.copies import CopyEvidence, View
from tests.index.assessing import neighbour

needs_opencv = pytest.mark.skipif(not can_extract(), reason="OpenCV is not installed")
NEAR = {"near_duplicate": True}


def described(entry_id: int, similarity: float) -> Any:
    return neighbour(entry_id, 0.1, copy=CopyEvidence(descriptor_similarity=similarity))


def hashed(entry_id: int, bits: int) -> Any:
    return neighbour(entry_id, 0.1, copy=CopyEvidence(view=View(), hamming_distance=bits))


def duplicate(entry_id: int, bits: int) -> Any:
    return neighbour(entry_id, 0.1, near_duplicate=True)._replace(hamming_distance=bits)


def ids(candidates: Sequence[Any]) -> list[int]:
    return [each.entry.id for each in candidates]


def test_candidates_of_each_kind_take_turns() -> None:
    found = [
        *(described(10 + n, n / 10) for n in range(3)),
        *(hashed(20 + n, 40 + n) for n in range(3)),
        *(neighbour(30 + n, 0.5 + n / 10) for n in range(3)),
    ]
    assert ids(list_candidates(found)) == [12, 11, 20, 32, 10, 21, 31, 22, 30]
    assert ids(list_candidates(found[::-1])) == ids(list_candidates(found))


def test_the_nearest_near_duplicates_are_explained_and_the_others_come_last() -> None:
    found = [duplicate(1, 8), duplicate(2, 2), duplicate(3, 4), described(4, 0.9)]
    assert ids(list_candidates(found)) == [2, 3, 4, 1]


def test_the_same_file_needs_no_verification_and_there_are_never_too_many() -> None:
    identical = neighbour(1, 1.0, identical=True, near_duplicate=True)
    found = [identical, *(neighbour(n, 0.5) for n in range(2, 60))]
    candidates = list_candidates(found)
    assert len(candidates) == MAX_CANDIDATES
    assert 1 not in ids(candidates)


@dataclass
class Shelf:
    """Stands in for `StoredFeatures`."""

    features: LocalFeatures | None = None
    fails: bool = False

    def find_all(self, sha256s: Sequence[str]) -> Iterator[LocalFeatures | None]:
        if self.fails:
            raise RuntimeError("a defect")
        return iter([self.features] * len(sha256s))


def some_features(*, flat: bool = False) -> LocalFeatures:
    rough = np.random.default_rng(3).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    image = Image.fromarray(rough * (not flat)).resize((128, 128))
    found = extract_features(image)
    assert found is not None
    return found


PROBES: dict[str, Callable[[], LocalFeatures | None] | None] = {
    "no image": None,
    "none": lambda: None,
    "flat": lambda: some_features(flat=True),
    "usual": some_features,
}


def run(
    shelf: Shelf, probe: Callable[[], LocalFeatures | None] | None, count: int = 3
) -> GeometryRun:
    candidates = [neighbour(n, 0.5) for n in range(1, count + 1)]
    return run_geometry(shelf, probe, candidates)  # type: ignore[arg-type]


@needs_opencv
@pytest.mark.parametrize(
    ("probe", "count", "expected"),
    [
        ("no image", 3, StageOutcome.NO_IMAGE),
        ("none", 3, StageOutcome.LOW_QUALITY),
        ("flat", 3, StageOutcome.LOW_QUALITY),
        ("usual", 0, StageOutcome.NO_CANDIDATES),
    ],
)
def test_why_nothing_is_compared(probe: str, count: int, expected: StageOutcome) -> None:
    done = run(Shelf(some_features()), PROBES[probe], count)
    assert (done.report.outcome, done.evidence, done.took_ms) == (expected, {}, None)
    assert done.report.compared == 0


@needs_opencv
def test_a_defect_is_reported_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    done = run(Shelf(fails=True), some_features)
    assert done.report.outcome is StageOutcome.FAILED
    assert done.report.detail == "the error is in the log"
    assert "a defect" in caplog.text


@needs_opencv
def test_a_run_counts_what_it_compared() -> None:
    kept = run(Shelf(some_features()), some_features)
    assert (kept.report.compared, kept.report.not_comparable) == (3, 0)
    assert kept.took_ms is not None
    assert kept.report.found == 3


@needs_opencv
def test_features_of_the_probe_are_made_only_where_a_candidate_can_be_compared() -> None:
    made = list[LocalFeatures]()

    def make() -> LocalFeatures:
        made.append(some_features())
        return made[-1]

    nothing = run(Shelf(None), make)
    assert (nothing.report.compared, nothing.report.not_comparable) == (0, 3)
    assert (nothing.report.outcome, nothing.report.found, made) == (StageOutcome.RAN, 0, [])
    run(Shelf(some_features()), make)
    assert len(made) == 1
