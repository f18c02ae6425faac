"""Instants that every part holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.truth.instants import in_utc

OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)), OFFSETS)
def test_a_time_with_a_zone_is_the_same_instant_in_utc(naive: datetime, zone: timezone) -> None:
    given_time = naive.replace(tzinfo=zone)
    assert in_utc(given_time) == given_time
    assert in_utc(given_time).tzinfo is UTC


@given(st.datetimes())
def test_a_time_without_a_zone_is_utc(naive: datetime) -> None:
    assert in_utc(naive) == naive.replace(tzinfo=UTC)


@given(st.datetimes(), OFFSETS)
def test_an_instant_is_in_utc_or_refused(naive: datetime, zone: timezone) -> None:
    """No other error than ValueError: the callers catch no other."""
    offset = zone.utcoffset(None)
    if timedelta(0) <= naive - datetime.min - offset and naive - datetime.max <= offset:
        assert in_utc(naive.replace(tzinfo=zone)).replace(tzinfo=None) == naive - offset
    else:
        with pytest.raises(ValueError, match="years 1 to 9999"):
            in_utc(naive.replace(tzinfo=zone))


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59.999999-00:00:01"]
)
def test_a_time_outside_of_the_years_of_utc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        in_utc(datetime.fromisoformat(text))
