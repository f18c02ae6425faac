"""Types that requests and answers share: names, digests, times, scalars and the strict base."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from api.fields import Answer, CorpusName, Instant, Place, Scalar, Sha256


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
