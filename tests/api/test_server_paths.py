"""A client reads names, never folders; its own words and addresses come back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidVerbalScale, SourceNotAllowed
from api.server_paths import (
    PathHider,
    describe_for_client,
    hide_paths,
    hider_of,
    name_path,
    name_provenance,
    name_request,
    name_source,
)
from api.sources.item import UnusableSource
from index.errors import BackupCorrupt, NoData, SnapshotCorrupt

WORDS = st.text("abc é.-_[]()'\"", min_size=1, max_size=6)
FOLDER = WORDS.map(lambda part: f"F{part}m")
PART = WORDS.map(lambda part: f"m{part}m")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/srv/case 7/fakes", "fakes"),
        ("/srv/roots/a/b.zip", "a/b.zip"),
        ("/srv/roots2/b.zip", "b.zip"),
        (f"/srv/data/uploads/{'0' * 32}/photo.zip", "upload:photo.zip"),
        (f"/srv/data/uploads/{'0' * 64}.paths", "standard input"),
        ("file:///srv/roots/x.zip", "x.zip"),
        (r"C:\Users\ann\fakes", "fakes"),
        ("s3://bucket/fakes", "s3://bucket/fakes"),
        ("https://ann:secret@host:8/a.zip?token=1#x", "https://host:8/a.zip"),
        ("relative/name", "relative/name"),
        ("/", "/"),
    ],
)
def test_a_source_is_named_within_its_root_or_by_its_last_part(source: str, name: str) -> None:
    assert name_source(source, ["/srv/roots", f"/srv/data/uploads/{'0' * 32}"]) == name


def test_a_request_has_no_roots_and_no_folder_and_its_other_words() -> None:
    request = {
        "sources": ["/srv/a", "/r/b"],
        "roots": ["/r"],
        "folder": "/home/ann",
        "generator": "/x/y",
    }
    assert name_request(request) == {"sources": ["a", "b"], "generator": "/x/y"}
    assert name_request({"model": "/srv/models/own"}) == {"model": "own"}
    assert name_request({"descriptor": "/srv/own.onnx"}) == {"descriptor": "own.onnx"}
    assert name_request({"model": "builtin", "sources": None}) == {
        "model": "builtin",
        "sources": None,
    }


@given(st.lists(FOLDER, min_size=1, max_size=4), st.lists(PART, min_size=1, max_size=3))
def test_a_path_below_a_known_folder_becomes_relative_in_any_sentence(
    folder: list[str], name: list[str]
) -> None:
    root, inside = "/" + "/".join(folder), "/".join(name)
    hider = PathHider.below([root])
    assert hider.hide_folders(f"{root}/{inside}: no such file") == f"{inside}: no such file"
    assert hider.hide_folders(f"of {root} nothing") == f"of {folder[-1]} nothing"
    assert root not in hider.hide(f"{root}/{inside}: {(root + '/' + inside)!r} file://{root}/x")


def test_a_folder_that_only_begins_alike_is_not_taken_for_it() -> None:
    hider = PathHider.below(["/srv/a", "/", "", None, "relative"])
    assert hider.folders == ("/srv/a",)
    assert hider.hide_folders("/srv/ab/c and /srv/a.b") == "/srv/ab/c and /srv/a.b"


def test_other_absolute_paths_become_their_last_part_and_routes_stay() -> None:
    assert hide_paths("cannot open '/var/lib/x y/z.db': full") == "cannot open 'z.db': full"
    assert hide_paths("GET /v1/models states it; https://a/b/c stays; 3/4 and a/b/c") == (
        "GET /v1/models states it; https://a/b/c stays; 3/4 and a/b/c"
    )


def test_the_messages_of_a_job_are_relative_to_its_sources() -> None:
    hider = hider_of({"sources": ["/srv/case/list.csv"], "roots": ["/mnt"], "folder": None})
    assert hider.hide("/srv/case/list.csv: row 3: /srv/case/img/a.png") == (
        "list.csv: row 3: img/a.png"
    )
    assert hider.hide("/mnt/x is outside") == "x is outside"


def test_provenance_loses_the_place_of_the_file_and_nothing_else() -> None:
    stated = {"path": "a/b.png", "location": "/srv/x/a/b.png", "camera": {"location": "/x/y"}}
    assert name_provenance(stated) == {"path": "a/b.png", "camera": {"location": "/x/y"}}
    assert name_provenance({"path": "/srv/x/b.png"}) == {"path": "b.png"}
    kept = {"location": "https://host/b.png", "path": 7}
    assert name_provenance(kept) == kept
    assert name_provenance({"location": "Berlin"}) == {"location": "Berlin"}


@pytest.mark.parametrize(
    "err",
    [
        SnapshotCorrupt(Path("/srv/MARK/a b/index (1)/7"), "it is cut"),
        BackupCorrupt(Path("/srv/MARK/it's.tar"), "/srv/MARK/x", "why"),
        InvalidVerbalScale(Path("/srv/MARK, and/scale.json"), "no scale"),
        UnusableSource("/srv/MARK/\udcff/x.zip", "it is gone"),
        NoData("/srv/MARK/lineup.db does not exist"),
        OSError(2, "No such file", "/srv/MARK/x"),
    ],
    ids=lambda err: type(err).__name__,
)
def test_an_error_names_files_without_their_folders(err: Exception) -> None:
    assert "MARK" in str(err)
    assert "MARK" not in describe_for_client(err)


def test_a_source_that_is_not_allowed_is_named_as_it_was_sent() -> None:
    sent = SourceNotAllowed("/etc/x/passwd", is_as_sent=True)
    assert describe_for_client(sent).startswith("/etc/x/passwd is")
    found = SourceNotAllowed("/srv/roots/link")  # by following a name out of a table
    assert describe_for_client(found).startswith("link is")


def test_the_last_part_of_a_path() -> None:
    assert [name_path(each) for each in ("/a/b", "a/b", r"\\host\share\b", "s3://a/b")] == [
        *("b", "a/b", "b", "s3://a/b")
    ]
