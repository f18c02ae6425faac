import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.verbal import ENFSI_2015, VerbalScale

seeded = settings(settings.get_profile("index"))


@pytest.mark.parametrize(
    "steps", [(), ((-1.0, "a"),), ((1.0, "a"), (1.0, "b")), ((2.0, "a"), (1.0, "b"))]
)
def test_a_scale_that_does_not_rise_from_zero_is_refused(
    steps: tuple[tuple[float, str], ...],
) -> None:
    with pytest.raises(ValueError, match="rise"):
        VerbalScale("mine", steps, "neither", "{} for", "{} against")


@pytest.mark.parametrize(
    ("ratio_log10", "words"),
    [
        (0.0, "supports neither"),
        (0.3, "supports neither"),
        (0.31, "weak support for the first"),
        (1.0, "moderate support for the first"),
        (-1.0, "moderate support for the alternative"),
        (2.5, "moderately strong support"),
        (3.0, "strong support"),
        (5.9, "very strong support"),
        (300.0, "extremely strong support"),
    ],
)
def test_words_are_those_of_the_guideline(ratio_log10: float, words: str) -> None:
    assert ENFSI_2015.words_for(ratio_log10).startswith(words)


@seeded
@given(st.floats(-300, 300))
def test_a_ratio_and_its_inverse_get_the_same_words_turned_round(log10: float) -> None:
    one, other = ENFSI_2015.words_for(log10), ENFSI_2015.words_for(-log10)
    assert one.split(" support")[0] == other.split(" support")[0]
    assert (one == other) == (abs(log10) < ENFSI_2015.steps[0][0])


def test_a_scale_that_was_stored_says_the_same() -> None:
    assert VerbalScale.from_json(json.loads(json.dumps(ENFSI_2015.to_json()))) == ENFSI_2015
