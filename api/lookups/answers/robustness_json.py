"""Whether a verdict would change, as JSON: without its strongest entry, and after re-encodings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from api.fields import Answer
from index import evidence
from index.evidence import ReEncodingOutcome, Support
from index.verdict import SimilarityOutcome, SimilarityReason


class WithoutStrongest(Answer):
    """The verdict without the strongest supporting entry."""

    entry_id: int = Field(description="Id of the entry that was left out.")
    verdict: SimilarityOutcome = Field(description="The verdict without this entry.")
    reason: SimilarityReason = Field(description="Reason for that verdict, machine-readable.")
    nearest_similarity: float | None = Field(
        description="Cosine similarity to the nearest of the remaining known fakes. Null if there"
        " is none."
    )

    @classmethod
    def of(cls, without: evidence.WithoutStrongest) -> WithoutStrongest:
        """From what the assessment found."""
        return cls(
            entry_id=without.entry_id,
            verdict=without.similarity.verdict,
            reason=without.similarity.reason,
            nearest_similarity=without.nearest_similarity,
        )


class RestsOnAnswer(Answer):
    """The entries that support the verdict."""

    entry_ids: list[int] = Field(
        description="Ids of the known fakes that show the same image, or are at least as near as "
        "the threshold."
    )
    without_strongest: WithoutStrongest | None = Field(
        description="The verdict without the strongest of these entries. Null if there are none."
    )
    stands: bool = Field(description="True if the verdict is the same without the strongest entry.")

    @classmethod
    def of(cls, support: Support) -> RestsOnAnswer:
        """From what the assessment found."""
        without = support.without_strongest
        return cls(
            entry_ids=list(support.entry_ids),
            without_strongest=None if without is None else WithoutStrongest.of(without),
            stands=support.stands,
        )


class ReEncodingAnswer(Answer):
    """The probe after one re-encoding."""

    name: str = Field(examples=["jpeg75"], description="Name of the re-encoding.")
    logit: float = Field(description="Logit of the classifier for the re-encoded probe.")
    nearest_similarity: float | None = Field(
        description="Cosine similarity to the nearest known fake."
    )
    generator: str | None = Field(
        description="Generator of the nearest known fake. Null if not declared."
    )
    threshold: float | None = Field(
        None,
        description="Similarity threshold for images delivered in this way (for example JPEG 75)."
        " Null: the probe's threshold is used.",
    )
    synthetic_logit: float | None = Field(
        None,
        description="Limit of `synthetic` for images delivered in this way. If this and "
        "`no_traces_logit` are null, the probe's limits are used.",
    )
    no_traces_logit: float | None = Field(
        None, description="Limit of `no_traces` for images delivered in this way."
    )
    flips: list[Literal["logit", "similarity"]] = Field(
        [],
        description="Which values are on the other side of their limit than for the probe as "
        "sent: logit, similarity, or both.",
    )

    @classmethod
    def of(cls, outcome: ReEncodingOutcome) -> ReEncodingAnswer:
        """From what the assessment found."""
        probe = outcome.reencoding
        limits = probe.classifier
        flips: list[Literal["logit", "similarity"]] = ["logit"] if outcome.flips_logit else []
        return cls(
            name=probe.name,
            logit=probe.logit,
            nearest_similarity=probe.nearest_similarity,
            generator=probe.generator,
            threshold=None if probe.threshold is None else probe.threshold.value,
            synthetic_logit=None if limits is None else limits.synthetic_logit,
            no_traces_logit=None if limits is None else limits.no_traces_logit,
            flips=[*flips, "similarity"] if outcome.flips_similarity else flips,
        )


class LeftOutAnswer(Answer):
    """A re-encoding that could not be used."""

    name: str = Field(description="Name of the re-encoding.")
    reason: str = Field(description="Reason, machine-readable.", examples=["too_small"])


class StabilityAnswer(Answer):
    """How far the logit and the similarity move when the probe is re-encoded.

    The list of re-encodings is fixed.
    """

    reencodings: list[ReEncodingAnswer] = Field(
        description="The probe after each re-encoding, in a fixed order."
    )
    left_out: list[LeftOutAnswer] = Field(
        description="Re-encodings that could not be used, for example because the result is too "
        "small for the model."
    )
    logit_low: float | None = Field(
        description="Smallest logit of all re-encodings. Null if none could be used."
    )
    logit_high: float | None = Field(
        description="Largest logit of all re-encodings. Null if none could be used."
    )
    similarity_low: float | None = Field(
        description="Smallest similarity to the nearest known fake. Null if no known fakes were "
        "searched."
    )
    similarity_high: float | None = Field(
        description="Largest similarity to the nearest known fake. Null if no known fakes were "
        "searched."
    )
    generators: list[str] = Field(
        description="Generators of the nearest known fakes of all re-encodings."
    )
    reencoded_width: int | None = Field(
        default=None,
        description="Width in pixels of what was re-encoded, if that was not the whole picture: a "
        "very large one is re-encoded around what the model reads, or after it was reduced. Null "
        "if the whole picture was, and in look-ups stored by releases that did so always.",
    )
    reencoded_height: int | None = Field(
        default=None, description="Height in pixels of what was re-encoded, like reencoded_width."
    )

    @classmethod
    def of(
        cls,
        outcomes: Sequence[ReEncodingOutcome],
        left_out: Sequence[LeftOutAnswer],
        part: tuple[int, int] | None = None,
    ) -> StabilityAnswer:
        """From what the assessment found, with the ranges over all re-encodings.

        `part` is the size of what was re-encoded, None for the whole picture.
        """
        probes = [each.reencoding for each in outcomes]
        similarities = [
            each.nearest_similarity for each in probes if each.nearest_similarity is not None
        ]
        logits = [each.logit for each in probes]
        return cls(
            reencodings=[ReEncodingAnswer.of(each) for each in outcomes],
            left_out=list(left_out),
            logit_low=min(logits, default=None),
            logit_high=max(logits, default=None),
            similarity_low=min(similarities, default=None),
            similarity_high=max(similarities, default=None),
            generators=sorted({each.generator for each in probes if each.generator is not None}),
            reencoded_width=None if part is None else part[0],
            reencoded_height=None if part is None else part[1],
        )

    @property
    def part(self) -> tuple[int, int] | None:
        """The size of what was re-encoded; None for the whole picture."""
        if self.reencoded_width is None or self.reencoded_height is None:
            return None
        return self.reencoded_width, self.reencoded_height
