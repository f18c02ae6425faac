"""Provenance in the names of files."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidRequest
from api.ingest.patterns import MAX_NAME_CHARACTERS, MAX_PATTERN_CHARACTERS, Pattern

# What earlier releases made of each token, for the standard library's regular expressions.
EXPRESSIONS = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
TOKENS = [*EXPRESSIONS, "a", "b", "/", "{x}", "{y}", "{z}"]


def _names_each_once(tokens: list[str]) -> bool:
    names = [token for token in tokens if token.startswith("{")]
    return bool(names) and len(set(names)) == len(names)


def _read_by_expression(tokens: list[str], name: str) -> Mapping[str, str] | None:
    """Read a name as earlier releases did. A `*` that follows a `*` is one `**`."""
    text = "".join(tokens)
    parts = re.findall(r"\{.\}|\*\*|.", text)
    expression = "".join(
        f"(?P<{part[1]}>[^/]+?)" if part[0] == "{" else EXPRESSIONS.get(part, part)
        for part in parts
    )
    found = re.fullmatch(expression, name, re.DOTALL)
    return None if found is None else found.groupdict()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("*/x", "no {name}"),
        ("{a}/{a}", "{a} occurs twice"),
        ("{a b}/x", "position 0"),
        ("{a}/}", "position 4"),
        ("{1}/x", "position 0"),
        ("", "no {name}"),
        ("{a}" + "x" * MAX_PATTERN_CHARACTERS, "1,003 characters, more than 1,000"),
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


@given(
    st.lists(st.sampled_from(TOKENS), min_size=1, max_size=9).filter(_names_each_once),
    st.text("ab/\n", max_size=12),
)
def test_a_pattern_reads_what_the_regular_expression_of_earlier_releases_reads(
    tokens: list[str], name: str
) -> None:
    assert Pattern("".join(tokens)).read(name) == _read_by_expression(tokens, name)


@pytest.mark.parametrize(
    "pattern",
    [
        "**a" * 12 + "{g}zzz",
        "*a" * 490 + "{g}z",
        "".join(f"{{n{number}}}" for number in range(170)) + "z",
        "?" * 990 + "{g}z",
    ],
)
@pytest.mark.parametrize("length", [180, 10_000, MAX_NAME_CHARACTERS])
def test_no_pattern_takes_long_over_a_name_that_it_almost_fits(pattern: str, length: int) -> None:
    """A regular expression takes longer than the age of the universe over some of these."""
    parsed, began = Pattern(pattern), time.thread_time()
    assert parsed.read("a" * length) is None
    # Measured: 0.05 s for the slowest. One more character must not double it.
    assert time.thread_time() - began < 1


def test_a_name_longer_than_any_path_fits_no_pattern() -> None:
    assert Pattern("{g}").read("a" * MAX_NAME_CHARACTERS) == {"g": "a" * MAX_NAME_CHARACTERS}
    assert Pattern("{g}").read("a" * (MAX_NAME_CHARACTERS + 1)) is None
