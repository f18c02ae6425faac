"""Copies as JSON: what shows that an entry and the probe are versions of one picture, which stages
looked for copies, and which did not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from api.copies.stages import CopyStage, StageOutcome, StageReport
from api.fields import Answer
from api.lookups.answers.copy_words import Size, describe_copy
from api.lookups.answers.stage_words import describe_gaps, describe_stage
from api.lookups.views_json import BoxAnswer, Share, ViewHashAnswer
from index.cache.searching.questions import Neighbour
from index.copies import (
    CopyEvidence,
    Correspondence,
    LeadLimits,
    Symmetry,
    ViewHash,
)
from index.truth.perceptual import MAX_HAMMING_DISTANCE


class CorrespondenceAnswer(Answer):
    """How the entry's picture lies in the probe, by the keypoints that both have."""

    inliers: int = Field(ge=0, description="Number of pairs of keypoints that fit the transform.")
    matches: int = Field(ge=0, description="Number of pairs of keypoints that look alike.")
    homography: list[float] = Field(
        min_length=9,
        max_length=9,
        description="The transform as a matrix of 3 x 3, row by row. It takes a point of the "
        "entry's picture to the probe; both in fractions of width and height, from the top left.",
    )
    scale: float = Field(
        gt=0,
        description="Pixels of the probe for one pixel of the entry's picture, in the sizes in "
        "which they were compared.",
    )
    rotation_degrees: float = Field(
        ge=-180,
        le=180,
        description="How far the entry's picture is turned clockwise in the probe, after it was "
        "mirrored where `mirrored` is true.",
    )
    mirrored: bool = Field(description="Whether left and right changed places.")
    probe_covered: Share = Field(
        description="Share of the probe that shows the entry's picture. Below 1 there is something "
        "around it: a border, a frame, other pictures."
    )
    entry_covered: Share = Field(
        description="Share of the entry's picture that lies within the probe. Below 1 the probe is "
        "cut. A border or a caption may hide some of it, so at most this share shows."
    )

    @classmethod
    def of(cls, found: Correspondence | None) -> CorrespondenceAnswer | None:
        """From what geometry found."""
        if found is None:
            return None
        return cls(
            inliers=found.inliers,
            matches=found.matches,
            homography=list(found.homography),
            scale=found.scale,
            rotation_degrees=found.rotation_degrees,
            mirrored=found.mirrored,
            probe_covered=found.probe_covered,
            entry_covered=found.entry_covered,
        )

    def to_correspondence(self) -> Correspondence:
        """As `index` has it."""
        return Correspondence(
            self.inliers,
            self.matches,
            tuple(self.homography),
            self.scale,
            self.rotation_degrees,
            self.mirrored,
            self.probe_covered,
            self.entry_covered,
        )


class CopyAnswer(Answer):
    """What shows, or suggests, that the probe is an edited version of the entry's picture."""

    words: str = Field(
        description="What was done to the entry's picture, on what that rests and how sure it is, "
        "in sentences.",
        examples=[
            "mirrored, cut to 40 % of the picture; verified by 61 keypoints that fit one transform"
        ],
    )
    symmetry: Symmetry | None = Field(
        None,
        description="The symmetry by which the two perceptual hashes are nearest: upright, "
        "mirrored (left and right change places), flipped (top and bottom), turned_90, turned_180, "
        "turned_270 (clockwise), transposed or transversed (mirrored at a diagonal). Null if no "
        "view of the probe is near by hash.",
    )
    part: BoxAnswer | None = Field(
        None,
        description="The part of the probe whose hash is nearest. Null for the whole picture, and "
        "if no view of the probe is near by hash.",
    )
    kept: BoxAnswer | None = Field(
        None,
        description="The part of the entry's picture that this view of the probe is taken for, as "
        "if the rest had been cropped. Null for all of it.",
    )
    hamming_distance: int | None = Field(
        None,
        ge=0,
        le=256,
        description="Number of differing bits of the entry's perceptual hash and that of the "
        "probe's nearest view. Null if no view is near.",
    )
    descriptor_similarity: float | None = Field(
        None,
        description="Cosine similarity of the two copy descriptors. Null if they were not "
        "compared. It is not to be compared with `cosine_similarity`: the spaces differ.",
    )
    verified: bool | None = Field(
        None,
        description="Whether local features of both pictures fit one transform. Null if they were "
        "not compared.",
    )
    correspondence: CorrespondenceAnswer | None = Field(
        None, description="The transform that they fit. Null unless `verified` is true."
    )
    false_match_probability: float | None = Field(
        None,
        ge=0,
        le=1,
        description="How often a look-up of an unrelated picture finds an entry that fits at least "
        "this well, as the upper end of its interval. Null if it was not measured.",
    )

    @classmethod
    def of(cls, neighbour: Neighbour, probe_size: Size | None) -> CopyAnswer | None:
        """From what is known of a neighbour; None if nothing shows or suggests a copy.

        `probe_size` is the width and the height of the probe in pixels, None if not known.
        """
        found, words = neighbour.copy, describe_copy(neighbour, probe_size)
        if found is None or words is None:
            return None
        view = found.view
        return cls(
            words=words,
            symmetry=None if view is None else view.symmetry,
            part=None if view is None else BoxAnswer.of(view.part),
            kept=None if view is None else BoxAnswer.of(view.kept),
            hamming_distance=found.hamming_distance,
            descriptor_similarity=found.descriptor_similarity,
            verified=found.verified,
            correspondence=CorrespondenceAnswer.of(found.correspondence),
            false_match_probability=found.false_match_probability,
        )


class StageAnswer(Answer):
    """One stage that looks for copies: what it did, or why it did not run."""

    stage: CopyStage = Field(
        description="perceptual_hash: the hashes of the probe in eight symmetries, without its "
        "borders and in parts. descriptor: the copy descriptor. geometry: local features of the "
        "candidates, which must fit one transform."
    )
    outcome: StageOutcome = Field(
        description="ran: it looked. not_installed: this installation lacks it. switched_off: its "
        "settings leave it out. no_image: the probe came without its bytes, and without what the "
        "stage needs. low_quality: the picture has too little structure. no_candidates: no entry "
        "was near enough to be looked at. failed: it ended with an error, and the other stages "
        "answered."
    )
    compared: int = Field(
        0, ge=0, description="Number of entries that this stage compared with the probe."
    )
    found: int = Field(0, ge=0, description="Number of these in which it saw a copy or a lead.")
    not_comparable: int = Field(
        0,
        ge=0,
        description="Number of entries that it was given and could not compare: their corpora keep "
        "nothing that it could compare.",
    )
    generation: int | None = Field(
        None,
        description="Generation of the copy space that the descriptor searched: it can be some "
        "changes behind that of the answer. Null for the other stages.",
    )
    exact: bool | None = Field(
        None,
        description="Whether the descriptor's search left out no nearer entry. Null for the other "
        "stages.",
    )
    words: str = Field(description="The same in one sentence.")

    @classmethod
    def of(cls, report: StageReport, views: int) -> StageAnswer:
        """From what a stage did. `views` counts the hashes of the probe."""
        return cls(
            stage=report.stage,
            outcome=report.outcome,
            compared=report.compared,
            found=report.found,
            not_comparable=report.not_comparable,
            generation=report.generation,
            exact=report.exact,
            words=describe_stage(report, views if report.stage is CopyStage.PERCEPTUAL_HASH else 0),
        )


class ComparedAnswer(Answer):
    """An entry that was compared by copy descriptor or by geometry, whatever came out: a replay
    takes these values as they are, since it reads no picture.
    """

    entry_id: int = Field(description="Id of the entry.")
    descriptor_similarity: float | None = Field(
        None, description="Cosine similarity of the copy descriptors. Null if not compared."
    )
    verified: bool | None = Field(
        None, description="Whether geometry verified the entry. Null if it did not look at it."
    )
    correspondence: CorrespondenceAnswer | None = Field(
        None, description="The transform. Null unless `verified` is true."
    )
    false_match_probability: float | None = Field(
        None, ge=0, le=1, description="As with the neighbour. Null if it was not measured."
    )

    @classmethod
    def of(cls, entry_id: int, found: CopyEvidence) -> ComparedAnswer:
        """From what the stages found."""
        return cls(
            entry_id=entry_id,
            descriptor_similarity=found.descriptor_similarity,
            verified=found.verified,
            correspondence=CorrespondenceAnswer.of(found.correspondence),
            false_match_probability=found.false_match_probability,
        )

    def to_evidence(self) -> CopyEvidence:
        """As `index` has it."""
        found = self.correspondence
        return CopyEvidence(
            descriptor_similarity=self.descriptor_similarity,
            verified=self.verified,
            correspondence=None if found is None else found.to_correspondence(),
            false_match_probability=self.false_match_probability,
        )


class LeadLimitsAnswer(Answer):
    """From when on an entry that geometry did not verify is a lead, `possible_copy`."""

    most_bits: int = Field(
        ge=0,
        le=256,
        description="Largest number of differing bits of a lead by perceptual hash. Up to 31 an "
        "entry is a near duplicate, so at 31 there is no lead by hash.",
    )
    least_similarity: float | None = Field(
        None,
        description="Smallest similarity of copy descriptors of a lead. Null if none follows from "
        "a descriptor.",
    )
    least_refuted_similarity: float | None = Field(
        None,
        description="The same where local features of the two pictures fit no transform.",
    )
    source: str = Field(
        description="Where these limits were measured, and at what rate.",
        examples=["at a false-match rate of 1% by calibration 4"],
    )

    @classmethod
    def of(cls, limits: LeadLimits) -> LeadLimitsAnswer:
        """From the limits of a policy."""
        return cls(
            most_bits=limits.most_bits,
            least_similarity=limits.least_similarity,
            least_refuted_similarity=limits.least_refuted_similarity,
            source=limits.source,
        )

    def to_limits(self) -> LeadLimits:
        """As `index` has them."""
        return LeadLimits(
            self.most_bits, self.least_similarity, self.least_refuted_similarity, self.source
        )


class CopiesAnswer(Answer):
    """Which stages looked for edited copies of stored pictures, and what they could not find."""

    stages: list[StageAnswer] = Field(
        description="Every stage that Lineup has, in the order in which a look-up runs them, also "
        "those that did not run."
    )
    not_looked_for: str | None = Field(
        None,
        description="What this look-up could not have found, in sentences: read it beside "
        "not_similar. Null if every stage ran on everything.",
        examples=[
            "this installation has no copy descriptor: crops, collages and screenshots are found "
            "only if the picture's hash, or its embedding, is near too"
        ],
    )
    leads: LeadLimitsAnswer = Field(
        LeadLimitsAnswer(most_bits=MAX_HAMMING_DISTANCE, source="not measured"),
        description="From when on an entry is a lead.",
    )
    views: list[ViewHashAnswer] = Field(
        [],
        description="Hashes of the probe: of the whole picture as it is, and those of the parts "
        "and symmetries by which an entry was near. Others were compared too, and near to nothing. "
        "Empty if the probe has no hash.",
    )
    compared: list[ComparedAnswer] = Field(
        [], description="Entries that were compared by copy descriptor or by geometry."
    )

    @classmethod
    def of(
        cls,
        reports: Sequence[StageReport],
        leads: LeadLimits,
        hashed: Sequence[ViewHash],
        views: Sequence[ViewHash],
        compared: Mapping[int, CopyEvidence],
    ) -> CopiesAnswer:
        """From what the stages did, and what they found by entry id. Of the hashes that were
        compared, `views` are kept.
        """
        hashes = sum(each.hash.reliable for each in hashed)
        return cls(
            stages=[StageAnswer.of(each, hashes) for each in reports],
            not_looked_for=describe_gaps(reports, hashes),
            leads=LeadLimitsAnswer.of(leads),
            views=[ViewHashAnswer.of(each) for each in views],
            compared=[
                ComparedAnswer.of(entry_id, compared[entry_id]) for entry_id in sorted(compared)
            ],
        )
