"""What everybody says of an item, joined: the nearest voice is heard, and no contradiction is
lost.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ingest.patterns import Pattern
from api.ingest.provenance import join_provenance
from index.truth.provenance import Provenance

COLUMNS = ("generator", "label", "licence", "source")


def read(
    declared: dict[str, Any],
    for_all: Provenance | None = None,
    name: str = "sdxl/a.png",
    **more: Any,
) -> Provenance:
    return join_provenance(name, declared, for_all or Provenance(), **more)


def test_a_date_that_is_none_is_kept_as_it_was_written() -> None:
    provenance = read({"acquired_at": "last summer"})

    assert provenance.acquired_at is None
    assert provenance.extra["acquired_at_unread"] == "last summer"
    assert provenance.extra["source"] == {"acquired_at": "last summer"}


def test_a_contradiction_is_recorded_with_who_said_what_and_the_nearest_is_heard() -> None:
    provenance = read(
        {"generator": "SD XL"},
        Provenance(generator="flux"),
        pattern=Pattern("{generator}/*"),
        file_generator=("sd_xl_base_1.0", "png:parameters"),
    )

    assert provenance.generator == "SD XL"
    assert provenance.extra["conflicts"] == {
        "generator": {
            "source": "SD XL",
            "pattern": "sdxl",
            "option": "flux",
            "file": "sd_xl_base_1.0",
        }
    }


def test_different_spellings_of_one_generator_are_no_contradiction() -> None:
    provenance = read({"generator": "SD XL"}, Provenance(generator="sd-xl"))

    assert "conflicts" not in provenance.extra


def test_the_file_itself_is_heard_last_and_named() -> None:
    stated = {"png:parameters": "a cat\nModel: dreamshaper", "xmp:CreatorTool": "x"}

    provenance = read({}, file_fields=stated, file_generator=("dreamshaper", "png:parameters"))

    assert provenance.generator == "dreamshaper"
    assert provenance.extra["generator_from"] == "png:parameters"
    assert provenance.extra["file"] == stated


def test_a_name_that_the_pattern_does_not_fit_is_said() -> None:
    assert read({}, name="a.png", pattern=Pattern("{generator}/*")).extra == {
        "path": "a.png",
        "unmatched_pattern": "{generator}/*",
    }


def test_words_of_each_source_stay_verbatim_and_columns_are_read_from_them() -> None:
    declared = {
        "License": "CC0",
        "class": 3,
        "prompt": "a cat",
        "acquired_at": "2024-05-01T10:00:00",
        "blank": " ",
    }

    provenance = read(declared, Provenance(extra={"case": 7}), location="/x/a.png")

    assert (provenance.licence, provenance.label) == ("CC0", "3")
    assert provenance.acquired_at == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert provenance.extra == {
        "case": 7,
        "path": "sdxl/a.png",
        "location": "/x/a.png",
        "source": declared,
    }


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "1e400", "0000-00-00"]
)
def test_a_date_that_cannot_be_stored_is_kept_as_it_was_written(text: str) -> None:
    provenance = read({"acquired_at": text})

    assert provenance.acquired_at is None
    assert provenance.extra["acquired_at_unread"] == text
    assert provenance.normalise().stored


@pytest.mark.parametrize("column", ["generator", "label"])
def test_a_name_that_no_index_holds_stays_with_its_source_and_is_said(column: str) -> None:
    text = "a" + "\u0301" * 200_000 + "\u0316" * 200_000  # an hour in the normalisation

    provenance = read({column: text}, Provenance(generator="stated"))

    assert provenance.normalise().extra == {
        "path": "sdxl/a.png",
        "source": {column: text},
        f"{column}_unread": "400,001 characters",
        **({"conflicts": provenance.extra["conflicts"]} if column == "generator" else {}),
    }
    assert getattr(provenance, column) is None


words = st.none() | st.text(
    st.characters(min_codepoint=33, max_codepoint=122), min_size=1, max_size=4
)


@given(
    st.fixed_dictionaries(dict.fromkeys(COLUMNS, words)),
    st.fixed_dictionaries(dict.fromkeys(COLUMNS, words)),
)
def test_no_statement_is_ever_lost(
    source: dict[str, str | None], options: dict[str, str | None]
) -> None:
    """Whatever two voices say of a column, the column or the record of the contradiction holds
    both.
    """
    declared = {name: value for name, value in source.items() if value is not None}

    provenance = read(declared, Provenance(**options))  # type: ignore[arg-type]

    conflicts = provenance.extra.get("conflicts", {})
    for name in COLUMNS:
        said = [value for value in (source[name], options[name]) if value is not None]
        column = getattr(provenance, name)
        assert column == (said[0] if said else None)
        if name in conflicts:
            assert list(conflicts[name].values()) == said  # type: ignore[index]
        elif name != "generator":
            assert len(set(said)) <= 1
