"""Types that requests and answers share: names, digests, times, scalars and the strict base."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api.calibrations.request import CalibrationRequest
from api.corpora.json import NewCorpus
from api.evaluation.request import EvaluationRequest
from api.fields import (
    MAX_LEVELS,
    Answer,
    CorpusName,
    Instant,
    Order,
    Place,
    Scalar,
    Sha256,
    check_value,
    find_fault,
)
from api.ingest.request import IngestRequest
from api.inspection.json import QuarantineRequest
from api.lookups.request import LookupRequest
from api.worker.submitting import IngestOrder
from index.errors import InvalidCorpusName
from index.truth.corpora import check_name
from index.truth.provenance import Provenance


class Example(Answer):
    number: float = 0.0


@pytest.mark.parametrize(
    "name", ["", "A", "ä", "-a", ".a", "_a", "a b", "a/b", "a" * 65, "a\n", "a\x00"]
)
def test_a_name_that_a_path_or_a_terminal_could_misread_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(CorpusName).validate_python(name)


@pytest.mark.parametrize("name", ["a", "0", "casework-2026_sdxl.1", "a" * 64])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert TypeAdapter(CorpusName).validate_python(name) == name


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 64 + "\n"])
def test_a_digest_is_64_lower_hex_digits(digest: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Sha256).validate_python(digest)
    assert TypeAdapter(Sha256).validate_python("09af" * 16) == "09af" * 16


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59-12:00"])
def test_a_time_outside_of_the_years_of_utc_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="years 1 to 9999"):
        TypeAdapter(Instant).validate_python(text)


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", None, 2**53, 0.1])
def test_a_scalar_keeps_its_type(value: object) -> None:
    read: Any = TypeAdapter(Scalar).validate_json(TypeAdapter(Scalar).dump_json(value))
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("value", [[], {}, [1], {"a": 1}, "x" * 10_001])
def test_a_scalar_is_no_list_no_object_and_no_book(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Scalar).validate_python(value)


@pytest.mark.parametrize(("place", "fits"), [("", False), ("a", True), ("x" * 1001, False)])
def test_a_place_has_1_to_1000_characters(place: str, fits: bool) -> None:
    if fits:
        assert TypeAdapter(Place).validate_python(place) == place
        return
    with pytest.raises(ValidationError):
        TypeAdapter(Place).validate_python(place)


def test_an_answer_refuses_a_misspelt_field_and_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="nubmer"):
        Example.model_validate({"nubmer": 1.0})
    with pytest.raises(ValidationError, match="frozen"):
        Example().number = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks_are_written_as_null(number: float) -> None:
    assert Example(number=number).model_dump_json() == '{"number":null}'


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(JSON)
def test_what_passes_is_stored_and_read_back_as_provenance(value: Any) -> None:
    """One check for the values of an order, as strict as the database is for one entry."""
    if find_fault(value) is None:
        Provenance(extra={"value": value}).normalise()
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        assert json.loads(text.encode()) == value
    else:
        with pytest.raises(ValueError, match=r"NUL|surrogate|finite|64 bits|levels"):
            check_value(value)


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


BAD = {
    "NUL": "a\x00b",
    "half of a surrogate pair": "a\ud800b",
    "not a number": math.nan,
    "infinite": -math.inf,
    "65 bits": 2**63,
    "a key": {"a\x00": 1},
    "too deep": nested(MAX_LEVELS + 1),
}


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_a_value_that_no_database_holds_is_refused_with_its_place(value: Any) -> None:
    assert find_fault(nested(MAX_LEVELS)) is None
    fault = find_fault({"ok": 1, "deep": [0, value]})
    assert fault is not None
    assert fault[0].startswith("deep.1")
    with pytest.raises(ValidationError) as caught:
        IngestOrder(provenance={"deep": [0, value]})
    assert caught.value.errors()[0]["loc"] == ("provenance",)


@pytest.mark.parametrize(
    ("order", "field", "value"),
    [
        *((IngestOrder, name, "a\x00") for name in ("generator", "label", "licence", "origin")),
        *((IngestOrder, name, "a\ud800") for name in ("pattern", "path_column", "image_column")),
        (IngestOrder, "sources", ["/a\x00"]),
        (IngestOrder, "sources", [""]),
        (IngestOrder, "sources", ["x" * 9000]),
        (IngestOrder, "provenance", {"x": "y" * 2**16}),
        (IngestRequest, "folder", "/a\x00"),
        (IngestRequest, "corpus", "a\x00"),
        (CalibrationRequest, "against", ["ok", "No Name"]),
        (EvaluationRequest, "source", "a\x00"),
        (EvaluationRequest, "path_column", "x" * 2000),
        (LookupRequest, "filter", {"generators": ["a\x00"]}),
        (LookupRequest, "filter", {"provenance": {"/a": [math.nan]}}),
        (LookupRequest, "filter", {"labels": ["x" * 2000]}),
        (LookupRequest, "logit", math.inf),
        (LookupRequest, "false_match_rate", math.nan),
        (NewCorpus, "description", "a\x00"),
        (QuarantineRequest, "reason", "a\ud800"),
    ],
)
def test_an_order_names_its_wrong_field_at_once(
    order: type[Order], field: str, value: object
) -> None:
    with pytest.raises(ValidationError) as caught:
        order.model_validate({field: value})
    assert field in {each["loc"][0] for each in caught.value.errors()}


def test_an_order_that_is_stored_already_is_read_as_it_is() -> None:
    """A job of an earlier release goes on, and its items have the reasons."""
    stored = {
        "sources": ["/a"],
        "corpus": "known",
        "generator": "a\x00",
        "provenance": {"x": "y" * 2**17, "n": math.nan},
    }
    assert IngestRequest.read(stored).generator == "a\x00"


@given(st.text(max_size=70) | st.from_regex("[a-z0-9._-]{1,66}"))
def test_a_name_is_that_of_a_corpus_by_one_rule(name: str) -> None:
    try:
        TypeAdapter(CorpusName).validate_python(name)
    except ValidationError:
        with pytest.raises(InvalidCorpusName):
            check_name(name)
    else:
        assert check_name(name) == name


def test_a_long_name_is_not_repeated_for_each_value_below_it() -> None:
    # 5,000 places of half a megabyte would take 2.4 GB.
    tracemalloc.start()
    try:
        assert find_fault({"k" * 500_000: [1] * 5_000}) is None
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()
