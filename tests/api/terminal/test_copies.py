"""`lineup copies list`: which copy descriptors there are, which is used, and what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.copies.json import CopyDescriptorsAnswer
from api.terminal.copies import print_descriptors
from tests.api.terminal.commands import answer, assert_one_line, run
from tests.onnx_files import pixel_network

pytest.importorskip("onnxruntime")
Capture = pytest.CaptureFixture[str]


def test_a_named_descriptor_that_is_nowhere_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "copies", "list", LINEUP_COPY_DESCRIPTOR="nobody")
    assert_one_line(done, 6, "unknown copy descriptor 'nobody'")


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.pt").write_bytes(b"PK\x03\x04")
    done = run(tmp_path, "copies", "list", LINEUP_COPY_DESCRIPTOR=str(tmp_path / "own.pt"))
    assert_one_line(done, 6, "a pickle can run code")


def test_where_none_is_used_the_reason_is_said(tmp_path: Path, capsys: Capture) -> None:
    listed = CopyDescriptorsAnswer.model_validate(answer(tmp_path / "none", "copies", "list"))
    without = listed.model_copy(update={"active": None, "detail": "it was switched off"})
    print_descriptors(without)
    assert capsys.readouterr().out.splitlines()[-1] == "None is used: it was switched off."
    done = run(tmp_path / "none", "copies", "list", LINEUP_COPY_DESCRIPTOR="none")
    assert done.exit_code == 0
    assert "None is used: LINEUP_COPY_DESCRIPTOR is none." in done.stdout
    assert not (tmp_path / "none").exists()


def test_an_own_file_is_listed_first_and_marked(tmp_path: Path) -> None:
    (tmp_path / "own.onnx").write_bytes(pixel_network())
    path = tmp_path / "own.onnx"
    done = run(tmp_path / "none", "copies", "list", LINEUP_COPY_DESCRIPTOR=str(path))
    header, first, second, *_ = done.stdout.splitlines()
    assert header.split()[:3] == ["descriptor", "fingerprint", "MB"]
    assert first.split()[:2] == ["*", "own.onnx"]
    assert second.split()[0] == "sscd"


def test_every_known_descriptor_says_its_size_licence_and_source(tmp_path: Path) -> None:
    listed = answer(tmp_path / "none", "copies", "list")
    named = {each["name"]: each for each in listed["descriptors"]}
    assert {"sscd", "sscd-distilled"} <= set(named)
    for each in named.values():
        assert each["byte_size"] > 0
        assert each["licence"]
        assert each["source"]
        assert each["installed"] == (not each["missing"])
    assert listed["active"] is None or named[listed["active"]]["active"]
