"""Values that text can hold, and those that it cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sources.json_values import JSON, require_storable
from index.jsontext import canonical_json

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=9,
)


@given(VALUES)
def test_a_value_that_is_accepted_can_be_stored(value: JSON) -> None:
    try:
        require_storable(value)
    except ValueError:
        with pytest.raises(ValueError, match=r".*"):
            canonical_json(value).encode()
    else:
        assert canonical_json(value).encode()


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "\ud800", ["\udfff"], {"\ud800": 1}, {"a": [float("nan")]}],
)
def test_what_no_text_can_hold_is_refused_at_any_depth(value: JSON) -> None:
    with pytest.raises(ValueError, match=r".+"):
        require_storable(value)
