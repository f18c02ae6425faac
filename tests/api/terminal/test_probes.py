"""Which files a command line names, and which failures of a folder are not worth a complaint."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.sources.item import UnusableSource
from api.terminal.probes import ProbeFile, find_probes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.jpg", "sub/z.webp", "sub/.hidden.png", ".git/x.png", "notes.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "o.png").touch()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "outside")
    return tmp_path / "in"


def test_a_folder_is_read_sorted_with_subfolders_without_hidden_files_and_links(
    folder: Path,
) -> None:
    found = list(find_probes([folder]))

    assert [str(probe.path.relative_to(folder)) for probe in found] == [
        "a.jpg",
        "b.png",
        "notes.txt",
        "sub/z.webp",
    ]
    assert not any(probe.named for probe in found)


def test_files_are_taken_as_they_are_named_in_their_order(folder: Path) -> None:
    named = [folder / "missing.png", folder / "notes.txt", folder / "sub" / ".hidden.png"]

    assert list(find_probes(named)) == [ProbeFile(path, named=True) for path in named]


def test_paths_stay_relative_where_they_were_given_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert [str(probe.path) for probe in find_probes([Path("sub")])] == ["sub/z.webp"]


@pytest.mark.parametrize(
    ("name", "named", "reason", "ignored"),
    [
        ("notes.txt", False, "not_an_image", True),
        ("NOTES", False, "not_an_image", True),
        ("photo.JPG", False, "not_an_image", False),
        ("notes.txt", True, "not_an_image", False),
        ("notes.txt", False, "truncated", False),
        ("photo.png", False, "truncated", False),
    ],
)
def test_a_text_in_a_folder_is_ignored_and_a_broken_image_is_not(
    name: str, named: bool, reason: str, ignored: bool
) -> None:
    assert ProbeFile(Path(name), named=named).may_be_ignored(reason) is ignored


def test_a_folder_that_vanishes_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    probes = find_probes([tmp_path / "in"])
    (tmp_path / "in").rmdir()
    assert list(probes) == [ProbeFile(tmp_path / "in", named=True)]


def test_a_folder_without_permission_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", deny)
    with pytest.raises(UnusableSource, match="Permission denied"):
        list(find_probes([tmp_path / "in"]))
