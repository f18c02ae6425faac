"""What the page writes before any look-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.http.routes.page import find_missing, mark_code
from tests.api.small_lineup import fill, open_small


@pytest.mark.parametrize(
    ("words", "html"),
    [
        ("run `lineup calibrate`", "run <code>lineup calibrate</code>"),
        ("`a` and `b`", "<code>a</code> and <code>b</code>"),
        ("<b>&`<i>`", "&lt;b&gt;&amp;<code>&lt;i&gt;</code>"),
        ("no command", "no command"),
        ("", ""),
    ],
)
def test_a_command_becomes_code_and_no_markup_comes_through(words: str, html: str) -> None:
    assert str(mark_code(words)) == html


def test_an_empty_installation_misses_nothing_that_its_own_panel_does_not_say(
    tmp_path: Path,
) -> None:
    with open_small(tmp_path) as lineup:
        assert find_missing(lineup) == []
        fill(lineup)
        assert {each.topic for each in find_missing(lineup)} == {"calibration"}
