"""Provenance: one spelling, one stored form, and only text that both databases can store."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.errors import InvalidProvenance
from index.truth.adding import add_entries
from index.truth.corpora import CorpusKind, create_corpus
from index.truth.databases.database import Database
from index.truth.entries import get_entry
from index.truth.provenance import (
    MAX_EXTRA_CHARACTERS,
    MAX_INDEXED_CHARACTERS,
    Provenance,
    normalise_generator,
    storable_text,
)

seeded = settings(settings.get_profile("index"))
readable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("SDXL", "sdxl"),
        ("  flux.1 \t schnell\n", "flux.1-schnell"),
        ("\uff33\uff24\uff13", "sd3"),
        ("Straße", "strasse"),
        ("", ""),
    ],
)
def test_a_generator_has_one_spelling(written: Any, normal: Any) -> None:
    assert normalise_generator(written) == normal


@seeded
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_normalising_twice_is_normalising_once(text: Any) -> None:
    assert normalise_generator(normalise_generator(text)) == normalise_generator(text)


def test_blank_text_is_no_text() -> None:
    assert Provenance(" ", "\t", "", "\n").normalise() == Provenance()


def test_provenance_is_normalised_once_and_what_replaces_it_again() -> None:
    normalised = Provenance(" SD XL ", extra={"b": 1, "a": [None, "ä"]}).normalise()
    assert normalised.normalise() is normalised
    assert normalised == Provenance("sd-xl", extra={"b": 1, "a": [None, "ä"]})
    assert normalised.stored is not None
    assert normalised.stored.text == '{"a":[null,"ä"],"b":1}'
    assert replace(normalised, label=" x ").normalise() == Provenance(
        "sd-xl", "x", extra=normalised.extra
    )
    with pytest.raises(InvalidProvenance):
        replace(normalised, label="a\x00").normalise()


def test_text_that_postgresql_could_not_store_is_refused_for_both() -> None:
    for text in ("a\x00", "\udc80"):
        with pytest.raises(InvalidProvenance):
            normalise_generator(text)


@pytest.mark.parametrize("text", ["a\x00b", "\x00", "\ud800", "a\udfffb"])
@pytest.mark.parametrize("field", ["generator", "label", "licence", "source"])
def test_every_text_field_is_checked(field: str, text: str) -> None:
    with pytest.raises(InvalidProvenance):
        Provenance(**{field: text}).normalise()


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"a": float("nan")}, "not a JSON object"),
        ({"a": {1, 2}}, "not a JSON object"),
        ({"a": b"bytes"}, "not a JSON object"),
        ({"a": "x\x00y"}, "NUL"),
        ({"x\x00y": 1}, "NUL"),
        ({"a": "\\\x00"}, "NUL"),
        ({"a": ["\ud800"]}, "surrogate"),
    ],
)
def test_free_provenance_that_cannot_be_stored_says_why(extra: Any, reason: str) -> None:
    with pytest.raises(InvalidProvenance, match=reason):
        Provenance(extra=extra).normalise()


@pytest.mark.parametrize("text", [r"\u0000", r"\\u0000", r"C:\u0000\n"])
def test_a_backslash_before_u0000_is_no_nul_character(text: str) -> None:
    stored = Provenance(extra={text: text}).normalise().stored
    assert stored is not None
    assert json.loads(stored.text) == {text: text}


def test_free_provenance_that_is_nested_without_end_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    with pytest.raises(InvalidProvenance, match="not a JSON object"):
        Provenance(extra=endless).normalise()


def test_a_date_needs_a_time_zone() -> None:
    with pytest.raises(InvalidProvenance, match="time zone"):
        Provenance(acquired_at=datetime(2026, 1, 2)).normalise()
    dated = Provenance(acquired_at=datetime(2026, 1, 2, tzinfo=UTC))
    assert dated.normalise().acquired_at == dated.acquired_at


def test_a_date_before_the_first_year_of_utc_is_refused() -> None:
    an_hour_before = datetime.fromisoformat("0001-01-01T00:00:00+01:00")
    with pytest.raises(InvalidProvenance, match="years 1 to 9999"):
        Provenance(acquired_at=an_hour_before).normalise()


@pytest.mark.parametrize(
    ("text", "stored"),
    [(None, None), ("", None), (" \t\n", None), (" a ", "a"), ("a  b", "a  b"), ("\u00a0x", "x")],
)
def test_text_is_trimmed_and_blank_text_is_none(text: str | None, stored: str | None) -> None:
    assert storable_text(text) == stored


@seeded
@given(text=readable)
def test_trimming_twice_is_trimming_once(text: str) -> None:
    once = storable_text(text)
    assert storable_text(once) == once
    assert once is None or once == once.strip() != ""


@seeded
@given(one=readable, blanks=st.text(" \t\n", min_size=1, max_size=3), other=readable)
def test_case_and_blanks_do_not_make_another_generator(one: str, blanks: str, other: str) -> None:
    spelled = normalise_generator(f"{one} {other}")
    assert normalise_generator(f" {one}{blanks}{other} ") == spelled
    assert not any(character.isspace() for character in spelled)


@seeded
@given(
    extra=st.dictionaries(
        readable, st.none() | st.booleans() | st.integers() | readable | st.lists(readable)
    ),
    generator=st.none() | readable,
    label=st.none() | readable,
)
def test_normalising_a_normalised_provenance_changes_nothing(
    extra: Any, generator: str | None, label: str | None
) -> None:
    once = Provenance(generator, label, extra=extra).normalise()
    again = replace(once).normalise()  # a copy is checked again
    assert again is not once
    assert again == once
    assert again.stored is not None
    assert again.stored == once.stored
    assert json.loads(again.stored.text) == extra


def test_provenance_comes_back_from_either_database_as_it_was_normalised(
    database: Database, material: Any
) -> None:
    extra = {
        "path": "Fälle/π 100 %.png",
        "nested": {"list": [1, 2.5, None, True, {"emoji": "\U0001f600"}]},
        "empty": {},
        "large": 2**53 - 1,
        'quote"': "it's",
    }
    acquired_at = datetime(2026, 3, 4, 5, 6, 7, 890, UTC)
    with database.write() as conn:
        create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        new = material.entry(
            "a",
            generator=" Stable  Diffusion XL ",
            label=" cats ",
            licence="\t",
            source="somewhere",
            acquired_at=acquired_at,
            extra=extra,
        )
        (result,) = add_entries(conn, "fakes", material.space, [new])
        entry = get_entry(conn, result.entry_id)
    assert (entry.generator, entry.label, entry.licence, entry.source, entry.acquired_at) == (
        "stable-diffusion-xl",
        "cats",
        None,
        "somewhere",
        acquired_at,
    )
    assert entry.provenance == extra


@pytest.mark.parametrize("column", ["generator", "label"])
def test_a_name_that_postgresql_cannot_index_is_refused_on_both_databases(column: str) -> None:
    longest = "x" * MAX_INDEXED_CHARACTERS
    assert getattr(Provenance(**{column: longest}).normalise(), column) == longest
    with pytest.raises(InvalidProvenance, match="501 characters, more than 500"):
        Provenance(**{column: longest + "x"}).normalise()


def test_a_name_that_grows_too_long_in_its_normal_form_is_refused() -> None:
    with pytest.raises(InvalidProvenance, match="9,000 characters"):
        Provenance(generator="\ufdfa" * 500).normalise()  # one character that becomes 18


def test_free_provenance_without_end_is_refused() -> None:
    most = MAX_EXTRA_CHARACTERS - len('{"a":""}')
    assert Provenance(extra={"a": "x" * most}).normalise().stored is not None
    with pytest.raises(InvalidProvenance, match="the limit is 8,388,608"):
        Provenance(extra={"a": "x" * (most + 1)}).normalise()
