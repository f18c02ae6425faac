from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from api.sources.item import Item, Source, UnreadableItem, UnusableSource
from api.sources.manifest import PATH_COLUMNS, ManifestSource, find_path_column, stays_beneath

ReadWhole = Callable[
    [Callable[[], Source]], list[tuple[str, bytes | str, Mapping[str, object], str | None]]
]


def written(path: Path, content: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8", newline="")
    return str(path)


def items(location: str, **options: object) -> list[Item]:
    with closing(ManifestSource(location, **options)) as source:  # type: ignore[arg-type]
        return [item for span in source.spans(2) for item in source.items(span)]


def reason(item: Item) -> str:
    with pytest.raises(UnreadableItem) as caught:
        item.read(100)
    return caught.value.reason


@pytest.mark.parametrize(
    ("content", "column", "problem"),
    [
        ("name,label\nx,y\n", None, "no column of paths; its columns are name, label"),
        ("path,label\nx,y\n", "datei", "no column 'datei'; its columns are path, label"),
        ("path,label\nx,y\n", "PATH", "no column 'PATH'"),
    ],
)
def test_a_manifest_without_a_path_column_is_refused(
    tmp_path: Path, content: str, column: str | None, problem: str
) -> None:
    location = written(tmp_path / "m.csv", content)

    with pytest.raises(UnusableSource, match=problem):
        ManifestSource(location, column)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("m.csv", "a.png,1,2"),
        ("m.csv", ",1"),
        ("m.csv", "  ,1"),
        ("m.csv", "a\x00.png,1"),
        ("m.jsonl", '{"path": 1}'),
        ("m.jsonl", '{"label": "x"}'),
        ("m.jsonl", '{"path": null}'),
        ("m.jsonl", '{"path": "a\\u0000"}'),
        ("m.jsonl", "[]"),
        ("m.jsonl", "{"),
    ],
)
def test_a_row_without_a_path_is_an_item_that_says_so(tmp_path: Path, name: str, row: str) -> None:
    first = '{"path": "a.png", "label": "1"}' if name == "m.jsonl" else "path,label\na.png,1"
    location = written(tmp_path / name, f"{first}\n{row}\n")

    good, bad = items(location)

    assert good.name == "a.png"
    assert bad.name == f"{name}, row 1"
    assert bad.declared == {}
    assert bad.location is None
    assert reason(bad) == "malformed_row"


def test_a_missing_image_is_an_item_that_says_so(tmp_path: Path) -> None:
    (item,) = items(written(tmp_path / "m.csv", "path,label\nnot/there.png,x\n"))

    assert (item.name, item.declared, item.location) == (
        "not/there.png",
        {"label": "x"},
        str(tmp_path / "not/there.png"),
    )
    assert reason(item) == "not_found"


@pytest.mark.parametrize(
    "path", ["/a.png", "../a.png", "b/../../a.png", "..\\a.png", "C:\\a.png", "C:a.png", "s3://a/b"]
)
def test_a_confined_manifest_does_not_lead_out_of_its_folder(tmp_path: Path, path: str) -> None:
    location = written(tmp_path / "inner" / "m.csv", f"path,label\n{path},x\n")
    written(tmp_path / "a.png", "secret")

    (item,) = items(location, confined=True)

    assert (item.name, item.declared, item.location) == (path, {"label": "x"}, None)
    assert reason(item) == "outside_source"


@pytest.mark.parametrize("path", ["a.png", "./b/a.png", "..a/b..png", "über/🖼.png"])
def test_names_within_a_folder_stay_beneath_it(path: str) -> None:
    assert stays_beneath(path)


@pytest.mark.parametrize("column", PATH_COLUMNS)
def test_the_usual_names_of_a_path_column_are_known_whatever_their_case(column: str) -> None:
    assert find_path_column(["label", f" {column.title()}"]) == f" {column.title()}"


def test_of_several_path_columns_the_usual_one_is_taken_and_the_others_are_told(
    tmp_path: Path,
) -> None:
    location = written(
        tmp_path / "m.jsonl", '{"image": "a.png", "File_Name": "b.png", "n": [1, null, {"x": 2.5}]}'
    )

    (item,) = items(location)

    assert item.name == "b.png"
    assert item.declared == {"image": "a.png", "n": [1, None, {"x": 2.5}]}


def test_a_named_column_goes_before_the_usual_ones(tmp_path: Path) -> None:
    location = written(tmp_path / "m.csv", "path,where\na.png,b.png\n")

    (item,) = items(location, path_column="where")

    assert (item.name, item.declared) == ("b.png", {"path": "a.png"})


def test_an_absolute_path_and_an_address_stay_what_they_are(tmp_path: Path) -> None:
    elsewhere = written(tmp_path / "elsewhere" / "a.png", "abc")
    location = written(tmp_path / "m" / "m.tsv", f"path\n{elsewhere}\nfile://{elsewhere}\n")

    found = items(location)

    assert [item.location for item in found] == [elsewhere, f"file://{elsewhere}"]
    assert [item.read(2) for item in found] == [b"abc", b"abc"]


def test_a_manifest_on_the_web_names_what_is_beside_it(
    memory_files: Callable[[str, bytes], str], read_whole: ReadWhole
) -> None:
    memory_files("memory://set/images/a.png", b"abc")
    rows = "".join(f'images/a.png,"line\n{number}"\n' for number in range(20))
    location = memory_files("memory://set/m.csv", f"path,label\n{rows}".encode())

    found = read_whole(lambda: ManifestSource(location))

    assert found[7] == ("images/a.png", b"abc", {"label": "line\n7"}, "memory://set/images/a.png")


def test_items_are_the_same_from_spans_of_any_size_in_any_order(
    tmp_path: Path, read_whole: ReadWhole
) -> None:
    rows = []
    for number in range(40):
        written(tmp_path / "images" / f"{number}.png", f"image {number}")
        declared = json.dumps(
            {"file": f"images/{number}.png", "caption": "é" * number, "seed": number}
        )
        rows.append(declared if number % 7 else declared[:-1])
    location = written(tmp_path / "m.ndjson", '{"file": "images/1.png"}\n\n' + "\n".join(rows))

    found = read_whole(lambda: ManifestSource(location))

    assert len(found) == 41
    assert found[3] == (
        "images/2.png", b"image 2", {"caption": "éé", "seed": 2}, str(tmp_path / "images" / "2.png")
    )  # fmt: skip
    assert found[8][:2] == ("m.ndjson, row 8", "malformed_row")
