"""Verification of candidates by geometry: does the probe show a stored picture, edited?

How long it takes is bounded by the number of candidates and of keypoints, never by the clock: the
same probe has the same evidence on a busy machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import TypeVar

from api.copies.stored_features import StoredFeatures
from embedder.copies.features import LocalFeatures, can_extract
from embedder.copies.matching import Fit, find_correspondence
from index.cache.searching.questions import Neighbour
from index.copies import CopyEvidence, Correspondence

# The most entries that one look-up verifies.
MAX_CANDIDATES = 20


Candidate = TypeVar("Candidate")


class NoFeatures(Exception):
    """A candidate can be compared, and the probe has no local features: it is flat."""


def take_turns(
    described: Sequence[Candidate], hashed: Sequence[Candidate], similar: Sequence[Candidate]
) -> Iterator[Candidate]:
    """Yield candidates in the order in which they are verified: in turn two by copy descriptor, one
    by a far perceptual hash and one by embedding. Each list has the most likely first.

    One that is in several lists comes several times. A calibration chooses by this order too, so
    that it measures what look-ups verify.
    """
    turns = zip_longest(described[::2], described[1::2], hashed, similar)
    return (each for each in chain.from_iterable(turns) if each is not None)


def choose_candidates(*lists: Iterable[Neighbour], most: int = MAX_CANDIDATES) -> list[Neighbour]:
    """Return the entries to verify: the first of each list, then the second of each, and so on.

    They show at most `most` images, each with all its entries in the lists, which may be in
    several corpora. Identical ones need no verification.
    """
    chosen: dict[str, dict[int, Neighbour]] = {}
    for each in chain.from_iterable(zip_longest(*lists)):
        if each is None or each.identical:
            continue
        sha256 = each.entry.sha256
        if sha256 in chosen or len(chosen) < most:
            chosen.setdefault(sha256, {}).setdefault(each.entry.id, each)
    return [entry for entries in chosen.values() for entry in entries.values()]


def verify(
    stored: StoredFeatures,
    find_probe: Callable[[], LocalFeatures | None],
    candidates: Sequence[Neighbour],
) -> Mapping[int, CopyEvidence]:
    """Compare the probe with candidates, the most likely first. The entries of the first
    `MAX_CANDIDATES` images are compared. `find_probe` returns the features of the probe; it is
    called once, where there is something to compare them with.

    Returns by entry id the candidate's evidence with what geometry adds: `verified` is True with a
    correspondence, False if it did not fit, None if it could not be compared. Without OpenCV,
    nothing is compared. Never raises for an entry's file. Raises `NoFeatures`, and what
    `find_probe` raises.
    """
    images = list(dict.fromkeys(each.entry.sha256 for each in candidates))[:MAX_CANDIDATES]
    if not can_extract():
        images = []
    compared = dict[str, _Compared]()
    probe: LocalFeatures | None = None
    for sha256, found in zip(images, stored.find_all(images), strict=True):
        if found is None:
            continue
        if probe is None:
            probe = _require_features(find_probe())
        compared[sha256] = _compare(found, probe)
    return {
        each.entry.id: _add(each.copy or CopyEvidence(), compared.get(each.entry.sha256))
        for each in candidates
    }


@dataclass(frozen=True, slots=True)
class _Compared:
    """What a comparison found: None if the pictures do not correspond."""

    correspondence: Correspondence | None


def _require_features(probe: LocalFeatures | None) -> LocalFeatures:
    if probe is None or not probe.count:
        raise NoFeatures
    return probe


def _compare(entry: LocalFeatures, probe: LocalFeatures) -> _Compared:
    fit = find_correspondence(entry, probe)
    return _Compared(make_correspondence(fit) if fit is not None and fit.fits else None)


def _add(evidence: CopyEvidence, compared: _Compared | None) -> CopyEvidence:
    if compared is None:
        return evidence
    found = compared.correspondence
    return replace(evidence, verified=found is not None, correspondence=found)


def make_correspondence(fit: Fit) -> Correspondence:
    """Return a fit as the value that `index` knows."""
    return Correspondence(
        inliers=fit.inliers,
        matches=fit.matches,
        homography=fit.homography,
        scale=fit.scale,
        rotation_degrees=fit.rotation_degrees,
        mirrored=fit.mirrored,
        probe_covered=fit.probe_covered,
        entry_covered=fit.entry_covered,
    )
