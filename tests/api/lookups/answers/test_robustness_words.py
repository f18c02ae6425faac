from __future__ import annotations

from api.lookups.answers.robustness_json import RestsOnAnswer, WithoutStrongest
from api.lookups.answers.robustness_words import describe_rests_on, describe_stability
from index.verdict import SimilarityOutcome, SimilarityReason
from tests.api.lookups.worded import stability


def test_supporting_entries_are_listed_with_the_verdict_without_the_strongest() -> None:
    without = WithoutStrongest(
        entry_id=7,
        verdict=SimilarityOutcome.NOT_SIMILAR,
        reason=SimilarityReason.BELOW_THRESHOLD,
        nearest_similarity=0.5,
    )

    def words(ids: list[int], *, stands: bool = False) -> str:
        answer = RestsOnAnswer(entry_ids=ids, without_strongest=without, stands=stands)
        return describe_rests_on(answer, without)

    assert words([7]) == "entry 7; without entry 7 the verdict is not similar"
    assert words([7], stands=True) == "entry 7; without entry 7 the verdict stays not similar"
    assert words([7, 8, 9, 10, 11]).startswith("entries 7, 8, 9, 10, 11; ")
    assert words([7, 8, 9, 10, 11, 12]).startswith("entries 7, 8, 9, 10, 11, ...; ")


def test_stability_states_ranges_and_generators() -> None:
    assert describe_stability(stability(), 4, 2) == (
        "2 re-encodings: logit -1.00 to +2.00, similarity 0.8123 to 0.9000, nearest known fakes by "
        "flux or sdxl"
    )
    assert "logit -1.004 to +2.000, similarity 0.81234 to" in describe_stability(stability(), 5, 3)
    part = stability(reencoded_width=400, reencoded_height=1200)
    assert describe_stability(part, 4, 2).endswith(
        "(of the large picture, 400 x 1,200 pixels were re-encoded)"
    )
    unsearched = stability(similarity_low=None, similarity_high=None, generators=[])
    assert describe_stability(unsearched, 4, 2) == "2 re-encodings: logit -1.00 to +2.00"
    assert (
        describe_stability(stability(logit_low=None), 4, 2)
        == "no re-encoding of the probe can be used"
    )
