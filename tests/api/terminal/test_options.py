"""Words of the command line that become values of the API."""

from __future__ import annotations

import pytest
import typer

from api.errors import InvalidRequest
from api.lookups.request import LookupQuery
from api.terminal.options import check_request, corpus_kind
from index.truth.corpora import CorpusKind


@pytest.mark.parametrize("kind", list(CorpusKind))
def test_a_kind_is_one_of_two_words(kind: CorpusKind) -> None:
    assert corpus_kind(kind.value) is kind


@pytest.mark.parametrize("text", ["fake", "KNOWN_FAKE", ""])
def test_another_word_is_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="neither known_fake nor known_real"):
        corpus_kind(text)


def test_every_field_that_does_not_fit_is_named_with_its_value() -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_request(LookupQuery, k=-1, false_match_rate=3, stability=False)

    assert "k -1: " in str(refused.value)
    assert "; false_match_rate 3: " in str(refused.value)
    assert "stability" not in str(refused.value)


def test_a_request_that_fits_is_made() -> None:
    assert check_request(LookupQuery, k=3).k == 3
