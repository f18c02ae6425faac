"""One error tree for `api`, drawn in the docstring, with facts in its leaves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import api.errors
import api.sources.item
from api.errors import (
    AddressUnavailable,
    MissingExtra,
    NothingToCalibrate,
    Overloaded,
    ServiceError,
    SpaceIncomplete,
    UnlistedModel,
    UnsupportedBody,
)


def leaves() -> set[str]:
    return {error.__name__ for error in ServiceError.__subclasses__()}


def test_the_tree_in_the_docstring_is_the_tree_of_the_code() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", api.errors.__doc__ or ""))
    assert drawn == leaves()


def test_the_errors_of_sources_are_leaves_of_this_tree() -> None:
    assert {"UnreadableItem", "UnusableSource"} <= leaves()
    unreadable = api.sources.item.UnreadableItem("truncated", "it ends early")
    assert (unreadable.reason, str(unreadable)) == ("truncated", "it ends early")


def test_a_source_is_named_so_that_a_terminal_can_print_it() -> None:
    unusable = api.sources.item.UnusableSource("caf\udce9.zip", "no such file")
    assert str(unusable) == "caf\\xe9.zip: no such file"
    assert (unusable.location, unusable.reason) == ("caf\udce9.zip", "no such file")


def test_every_message_is_one_line_that_says_what_to_do() -> None:
    errors = [
        Overloaded(64, 3),
        UnsupportedBody("", ["image/png", "application/json"]),
        UnlistedModel("x", ["a", "b"]),
        SpaceIncomplete("m", 1200, 3400),
        NothingToCalibrate([]),
        NothingToCalibrate(["a", "b"]),
        AddressUnavailable("127.0.0.1", 8787, "Address already in use"),
        MissingExtra("demo", "`lineup demo`"),
        api.errors.FileAlreadyExists(Path("x.parquet")),
        api.errors.NotReplayable("some-id"),
    ]
    words = [str(error) for error in errors]

    assert all("\n" not in text for text in words)
    assert "try again in 3 s" in words[0]
    assert words[1].endswith("send image/png or application/json")
    assert "a, b" in words[2]
    assert "1,200 of 3,400 entries" in words[3]
    assert "`lineup reembed --model m`" in words[3]
    assert "kinds" in words[4]
    assert "a, b" in words[5]
    assert "127.0.0.1:8787: Address already in use" in words[6]
    assert "--port" in words[6]
    assert "pip install 'lineup-forensics[demo]'" in words[7]
    assert "--force" in words[8]


def test_leaves_carry_their_facts() -> None:
    error = AddressUnavailable("::1", 80, "Permission denied")
    assert (error.host, error.port, error.reason) == ("::1", 80, "Permission denied")
    with pytest.raises(ServiceError):
        raise error
