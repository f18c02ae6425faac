from __future__ import annotations

from api.lookups.answers.names import VERDICT_NAMES
from index.verdict import ClassifierOutcome, SimilarityOutcome

ACQUITTALS = ("authentic", "genuine", "real", "clean", "original")


def test_each_verdict_has_a_name_and_no_name_is_without_a_verdict() -> None:
    assert set(VERDICT_NAMES) == {*map(str, ClassifierOutcome), *map(str, SimilarityOutcome)}


def test_no_name_reads_as_an_acquittal() -> None:
    assert [
        name for name in VERDICT_NAMES.values() if any(word in name for word in ACQUITTALS)
    ] == []
