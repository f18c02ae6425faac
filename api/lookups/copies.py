"""The copy stages of one look-up: which candidates are proposed, verified and rated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

from api.copies.running import GeometryRun
from api.copies.searching import OpenedProduct, search_copies
from api.copies.stages import CopyStage, StageOutcome, StageReport
from api.lookups.answers.copies_json import CopiesAnswer
from api.lookups.probe import Probe, milliseconds
from api.lookups.questions import REALS, Found, make_filter
from api.lookups.request import LookupQuery
from embedder.decoding.picture import Picture
from index.cache.searching.questions import Neighbour, SearchResult
from index.calibration.copies import CopyRates, shipped_copy_rates
from index.calibration.for_probe import ProbeCalibration
from index.copies import CopyEvidence, LeadLimits, ViewHash
from index.leads import is_lead, is_same_picture
from index.policy import choose_lead_limits
from index.view_hashes import select_views


@dataclass(frozen=True, slots=True)
class Proposed:
    """Entries that the copy descriptor proposes, with the similarities of the descriptors.

    `descriptor` is the fingerprint of the copy descriptor; None if it did not run.
    """

    report: StageReport
    candidates: tuple[tuple[int, float], ...] = ()
    descriptor: str | None = None
    took_ms: float | None = None


def propose(product: OpenedProduct, picture: Picture | None, query: LookupQuery) -> Proposed:
    """Propose the entries that are nearest by copy descriptor: of those that the query selects, and
    of all known-real images.

    Raises `InvalidFilter`, `UnknownCorpus`.
    """
    started = perf_counter()
    found = search_copies(product, picture, make_filter(query.filter), REALS, exact=query.exact)
    took_ms = None if found.descriptor is None else milliseconds(started, perf_counter())
    return Proposed(found.report, found.candidates, found.descriptor, took_ms)


@dataclass(frozen=True, slots=True)
class RatesThatApply:
    """What was measured of the copy stages, for the corpus that was searched.

    `calibration_id` is None where no calibration applies: then the rates came with the package.
    """

    rates: CopyRates
    corpus_size: int
    calibration_id: int | None

    def choose_limits(self, descriptor: str | None) -> LeadLimits:
        """From when on an entry is a lead. `descriptor` is the fingerprint of the copy descriptor
        that ran, None without one.
        """
        return choose_lead_limits(self.rates, self.corpus_size, descriptor, self.calibration_id)

    def rate(self, evidence: Mapping[int, CopyEvidence]) -> dict[int, CopyEvidence]:
        """Return evidence, by entry id, with how often unrelated pictures fit as well."""
        return {entry_id: self._rate(found) for entry_id, found in evidence.items()}

    def _rate(self, found: CopyEvidence) -> CopyEvidence:
        if found.correspondence is None:
            return found
        rate = self.rates.inlier_rate(found.correspondence.inliers, self.corpus_size)
        return replace(found, false_match_probability=None if rate is None else rate.high)


def join_copies(
    probe: Probe,
    found: Found,
    proposed: Proposed,
    geometry: GeometryRun,
    rates: RatesThatApply,
    leads: LeadLimits,
    k: int,
) -> tuple[Found, CopiesAnswer]:
    """Rate what the stages found, and let copies and leads join the neighbours. Return what the
    look-up found then, and what its answer says of copies.
    """
    evidence = rates.rate(geometry.evidence)
    near, joined = found.list_found(), found.join(evidence, leads, k)
    answer = CopiesAnswer.of(
        [
            report_hashes(probe, joined, leads),
            report_descriptor(proposed.report, joined, leads),
            geometry.report,
        ],
        leads,
        probe.views,
        list_views(probe, near),
        list_compared(near, evidence, leads),
    )
    return joined, answer


def report_descriptor(report: StageReport, found: Found, limits: LeadLimits) -> StageReport:
    """Return what the search by copy descriptor did, with the copies and leads that it proposed,
    and how many of the entries that were searched have no vector of it.
    """
    proposed = (
        each
        for each in found.list_found()
        if each.copy is not None and each.copy.descriptor_similarity is not None
    )
    count = sum(is_same_picture(each) or is_lead(each, limits) for each in proposed)
    return replace(report, found=count, not_comparable=_count_missing(report, found.listed))


def _count_missing(report: StageReport, listed: SearchResult) -> int:
    """Return how many entries have no vector of the copy descriptor. Where the two searches were of
    different generations, return how many at least: a change adds or removes one vector.
    """
    if report.outcome is not StageOutcome.RAN:
        return 0
    between = 0 if report.generation is None else abs(listed.generation - report.generation)
    return max(0, listed.searched - report.compared - between)


def find_rates(calibration: ProbeCalibration | None, searched: int | None) -> RatesThatApply:
    """Return the rates of the calibration that applies to a search of so many known fakes, else
    those that came with the package.
    """
    if calibration is None:
        return RatesThatApply(shipped_copy_rates(), max(searched or 0, 1), None)
    applied = calibration.applied
    return RatesThatApply(applied.calibration.copy_rates, calibration.corpus_size, applied.id)


def report_hashes(probe: Probe, found: Found, limits: LeadLimits) -> StageReport:
    """Return what the comparison of perceptual hashes did."""
    if not probe.views:
        return StageReport(CopyStage.PERCEPTUAL_HASH, StageOutcome.NO_IMAGE)
    if not any(each.hash.reliable for each in probe.views):
        return StageReport(CopyStage.PERCEPTUAL_HASH, StageOutcome.LOW_QUALITY)
    by_hash = replace(limits, least_similarity=None, least_refuted_similarity=None)
    neighbours = found.list_found()
    return StageReport(
        CopyStage.PERCEPTUAL_HASH,
        StageOutcome.RAN,
        compared=found.listed.searched,
        found=sum(each.near_duplicate is True or is_lead(each, by_hash) for each in neighbours),
    )


def list_compared(
    found: Iterable[Neighbour], evidence: Mapping[int, CopyEvidence], leads: LeadLimits
) -> dict[int, CopyEvidence]:
    """Return, by entry id, what geometry found, and what a copy descriptor found of copies and
    leads: a replay takes that as it is, and compares the hashes again. Other entries change
    nothing.
    """
    known = [
        each._replace(copy=evidence[each.entry.id]) if each.entry.id in evidence else each
        for each in found
    ]
    return {
        each.entry.id: replace(each.copy, view=None, hamming_distance=None)
        for each in known
        if each.copy is not None and (each.copy.verified is not None or _is_stated(each, leads))
    }


def _is_stated(neighbour: Neighbour, leads: LeadLimits) -> bool:
    """Return whether the answer states the similarity of the entry's copy descriptor."""
    found = neighbour.copy
    return (
        found is not None
        and found.descriptor_similarity is not None
        and (is_same_picture(neighbour) or is_lead(neighbour, leads))
    )


def list_views(probe: Probe, found: Iterable[Neighbour]) -> tuple[ViewHash, ...]:
    """Return the hashes that a replay has to compare. The others were near to nothing in this
    generation.
    """
    near = (each.copy.view for each in found if each.copy is not None)
    return select_views(probe.views, (view for view in near if view is not None))


def propose_again(compared: Mapping[int, CopyEvidence]) -> tuple[tuple[int, float], ...]:
    """Return the entries that a copy descriptor proposed in a stored look-up."""
    return tuple(
        (entry_id, found.descriptor_similarity)
        for entry_id, found in compared.items()
        if found.descriptor_similarity is not None
    )
