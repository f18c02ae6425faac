"""The answer of a replay as JSON: what is equal, what differs, and by what rules it was judged."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.fields import Answer
from api.lookups.answers.json import LookupAnswer
from api.lookups.answers.method_json import ComputationAnswer
from index.verdict import (
    ClassifierOutcome,
    ClassifierReason,
    SimilarityOutcome,
    SimilarityReason,
)


class Difference(Answer):
    """A value that differs between the stored answer and the replay."""

    place: str = Field(
        examples=["/similarity/neighbours/0/cosine_similarity"],
        description="JSON pointer to the value.",
    )
    then: Any = Field(description="The stored value. Null if it is missing.")
    now: Any = Field(description="The recomputed value. Null if it is missing.")


class VerdictsAnswer(Answer):
    """The two verdicts on one probe."""

    similarity: SimilarityOutcome = Field(description="Verdict on similarity.")
    similarity_reason: SimilarityReason = Field(description="Its reason, machine-readable.")
    classifier: ClassifierOutcome | None = Field(
        description="Verdict of the classifier. Null if there is no logit."
    )
    classifier_reason: ClassifierReason | None = Field(
        description="Its reason, machine-readable. Null if there is no logit."
    )

    @classmethod
    def of(cls, answer: LookupAnswer) -> VerdictsAnswer:
        """From a whole answer."""
        classifier = answer.classifier
        return cls(
            similarity=answer.similarity.verdict,
            similarity_reason=answer.similarity.reason,
            classifier=None if classifier is None else classifier.verdict,
            classifier_reason=None if classifier is None else classifier.reason,
        )


class RulesAnswer(Answer):
    """The rules of then and of today judge the same values."""

    then: int = Field(description="Version of the rules that the look-up was judged by.")
    now: int = Field(description="Version of the rules of this release.")
    verdicts_then: VerdictsAnswer = Field(description="The verdicts of then, in today's words.")
    verdicts_now: VerdictsAnswer = Field(description="The verdicts by today's rules.")
    words: str = Field(description="What changed, in one sentence.")


class ReembeddedAnswer(Answer):
    """The probe's bytes, embedded again here and now, compared with the stored embedding."""

    then: ComputationAnswer = Field(description="What computed the stored embedding.")
    now: ComputationAnswer = Field(description="What computed it again.")
    cosine_similarity: float = Field(
        ge=-1, le=1, description="Cosine similarity of the stored and the new embedding."
    )
    logit_difference: float | None = Field(
        ge=0, description="Difference of the two logits. Null if none was stored."
    )
    similarity_difference: float = Field(
        ge=0,
        description="Largest difference of a similarity, among entries that both lists have.",
    )
    allowed_cosine: float = Field(
        description="The embeddings are equal within the tolerance from this cosine similarity on."
    )
    allowed_logit_difference: float = Field(
        description="The logits are equal within the tolerance up to this difference."
    )
    equal_within: bool = Field(
        description="True if the new embedding and logit differ by no more than that. It is what "
        "rounding explains if both were computed alike, and otherwise the limits within which a "
        "precision is accepted."
    )
    verdicts: VerdictsAnswer = Field(
        description="The verdicts by the new embedding, judged as in `replayed`."
    )
    words: str = Field(description="The comparison in one sentence.")


class ReplayAnswer(Answer):
    """A stored look-up, recomputed on the generation that it saw.

    The search, the figures and the verdicts are recomputed from the stored embedding and logit of
    the probe and of its re-encodings. No image is read, unless its bytes are sent.
    """

    lookup_id: str = Field(description="Id of the look-up that was recomputed.")
    generation: int = Field(description="The generation that was searched, then and now.")
    equal: bool = Field(
        description="True if every value is the same. Sentences may differ: a later release may "
        "word them differently. If the rules have changed, verdicts and reasons are no values; "
        "see `rules`."
    )
    within: float | None = Field(
        description="The largest difference of two values: 0 if all are the same. Null if one "
        "differs by more than another machine's rounding of the same computation explains (1e-9)."
    )
    words: str = Field(description="The comparison in one sentence.")
    evidence_sha256: str | None = Field(
        description="`evidence_sha256` of the stored answer. Null in look-ups stored before "
        "schema 0004."
    )
    replayed_sha256: str = Field(
        description="`evidence_sha256` of the recomputed answer, computed with the stored answer's "
        "sentences, terms and fields; if the rules have changed, also with its verdicts and what "
        "follows from them. It equals the stored `evidence_sha256` if every value is the same."
    )
    exact: bool = Field(
        description="True if the stored look-up compared every entry. The replay always does. If "
        "false, it can find a nearer entry."
    )
    rules: RulesAnswer | None = Field(
        None, description="What other rules make of the same values. Null if they are the same."
    )
    differences: list[Difference] = Field(description="The differences found, at most 50.")
    reembedded: ReembeddedAnswer | None = Field(
        None, description="The probe embedded again. Null if its image was not sent."
    )
    replayed: LookupAnswer = Field(
        description="The recomputed answer, judged by today's rules. It is not stored."
    )
