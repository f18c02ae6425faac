"""`lineup copies`: a database that is older than its descriptor is described, and then searched."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from api.operations.filling import ActivatedDescriptor
from api.terminal.copies import print_activated
from tests.api.terminal.commands import answer, assert_one_line, run, write_image
from tests.conftest import unavailable
from tests.onnx_files import pixel_network

SETTING = "LINEUP_COPY_DESCRIPTOR"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A descriptor of the operator's own: the mean colour of a picture."""
    if importlib.util.find_spec("onnxruntime") is None:
        unavailable("onnxruntime is not installed")
    path = tmp_path / "colour.onnx"
    path.write_bytes(pixel_network())
    return path


def test_the_help_says_what_a_running_ingest_does(tmp_path: Path) -> None:
    shown = " ".join(run(tmp_path, "copies", "activate", "--help").stdout.replace("│", " ").split())
    assert "An ingest that is running keeps the descriptor that it began with" in shown


def test_an_older_database_is_described_activated_and_searched(
    network: Path, tmp_path: Path
) -> None:
    data, folder = tmp_path / "data", tmp_path / "in"
    for seed in range(3):
        write_image(folder / f"{seed}.png", seed)
    assert run(data, "ingest", folder, "--corpus", "known").exit_code == 0
    assert answer(data, "fsck")["checked"]["embeddings"] == 3

    activated = answer(data, "copies", "activate", network)
    assert (activated["entries"], activated["described"]) == (3, 0)
    done = run(data, "copies", "backfill", "--descriptor", network)
    assert done.exit_code == 0, done.output
    assert "3 found = 3 described + 0 skipped + 0 failed" in done.stdout
    again = run(data, "copies", "backfill", "--descriptor", network)
    assert "completed  0 found" in again.stdout

    checked = answer(data, "fsck")
    assert (checked["clean"], checked["checked"]["embeddings"]) == (True, 6)
    spaces = answer(data, "index", "plan")["indexes"]
    assert {(each["kind"], each["entries"]) for each in spaces} == {("forensic", 3), ("copy", 3)}
    found = run(data, "search", folder / "1.png", "--json", **{SETTING: "auto"})
    assert '"stage": "descriptor"' in found.stdout, found.output
    doctor = run(data, "doctor", **{SETTING: "auto"})
    assert "colour.onnx: 3 entries" in doctor.stdout

    shutil.move(network, tmp_path / "gone.onnx")
    doctor = run(data, "doctor", **{SETTING: "auto"})
    assert doctor.exit_code == 0
    assert "copies" in doctor.stdout
    assert run(data, "search", folder / "1.png", **{SETTING: "auto"}).exit_code == 0
    assert run(data, "copies", "deactivate").stdout == "no copy descriptor is active\n"


def test_no_descriptor_is_marked_until_one_is_activated(tmp_path: Path) -> None:
    """An installation with entries begins with none by itself: an empty one takes the first."""
    if importlib.util.find_spec("cv2") is None:
        unavailable("OpenCV is not installed")
    data, auto = tmp_path / "data", {SETTING: "auto"}
    assert run(data, "init").exit_code == 0
    assert "used by look-ups and ingests" in run(data, "copies", "list", **auto).stdout
    write_image(tmp_path / "in" / "1.png", 1)
    assert run(data, "ingest", tmp_path / "in", "--corpus", "known").exit_code == 0
    listed = run(data, "copies", "list", **auto).stdout
    assert "None is used: `lineup copies backfill` activates" in " ".join(listed.split())
    assert "*" not in listed
    assert "no copy descriptor is active: `lineup" in run(data, "doctor", **auto).stdout
    assert run(data, "copies", "activate", "lineup-copy").exit_code == 0
    assert "used by look-ups and ingests" in run(data, "copies", "list", **auto).stdout


def test_a_descriptor_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run(data, "init").exit_code == 0
    assert_one_line(run(data, "copies", "activate", "nowhere"), 6, "nowhere")
    assert_one_line(run(data, "copies", "backfill"), 6, "LINEUP_COPY_DESCRIPTOR is none")


def test_an_incomplete_descriptor_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    print_activated(
        ActivatedDescriptor(descriptor="sscd", copy_space="a" * 64, entries=1200, described=1199)
    )
    out = capsys.readouterr().out
    assert "1,199 of 1,200 entries" in out
    assert "lineup copies backfill" in out
