"""Provenance in the names of files."""

from __future__ import annotations

import pytest

from api.errors import InvalidRequest
from api.ingest.patterns import Pattern


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("*/x", "no {name}"),
        ("{a}/{a}", "{a} occurs twice"),
        ("{a b}/x", "position 0"),
        ("{a}/}", "position 4"),
        ("{1}/x", "position 0"),
        ("", "no {name}"),
    ],
)
def test_a_pattern_that_means_nothing_says_why(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        Pattern(text)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{generator}/*", "a.png"),
        ("{generator}/*", "sdxl/train/a.png"),
        ("{generator}/{split}/*", "sdxl/a.png"),
        ("{generator}/*", "/a.png"),
        ("x-{generator}.png", "y-sdxl.png"),
    ],
)
def test_a_name_that_does_not_fit_says_nothing(pattern: str, name: str) -> None:
    assert Pattern(pattern).read(name) is None


@pytest.mark.parametrize(
    ("pattern", "name", "declared"),
    [
        ("{generator}/{split}/*", "sdxl/train/a.png", {"generator": "sdxl", "split": "train"}),
        ("{generator}/**", "sdxl/train/deep/a.png", {"generator": "sdxl"}),
        ("**/{label}-*.png", "x/y/cat-1.png", {"label": "cat"}),
        ("{generator}_{number}.jp?g", "sd 1.5_7.jpeg", {"generator": "sd 1.5", "number": "7"}),
        ("a+(b)/{generator}/*", "a+(b)/x/1.png", {"generator": "x"}),
        ("{generator}/*", "new\nline/a.png", {"generator": "new\nline"}),
    ],
)
def test_a_placeholder_takes_one_part_of_a_path(
    pattern: str, name: str, declared: dict[str, str]
) -> None:
    assert Pattern(pattern).read(name) == declared
