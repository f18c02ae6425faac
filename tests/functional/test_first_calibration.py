"""The first minutes of an installation: known fakes only, then known-real images, then verdicts."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.http.app import create_app
from api.settings import Settings
from tests.clients import NO_BROWSER
from tests.functional.terminal import answer, lineup

SIMILAR = "similar_to_known_fakes"


@pytest.fixture(scope="module")
def images(demonstration: Path) -> Path:
    """The demonstration's fakes, photographs and probes."""
    return demonstration / "lineup-demo" / "images"


@pytest.fixture(scope="module")
def data(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that has only ingested known fakes."""
    folder = tmp_path_factory.mktemp("first") / "data"
    pattern = "{generator}/{source_image}-*"
    answer(folder, "ingest", images / "demo-fakes", "--corpus", "fakes", "--pattern", pattern)
    return folder


def look_up(data: Path, *paths: Path) -> list[Any]:
    return [each["lookup"] for each in answer(data, "search", *paths)["lookups"]]


def test_an_ingest_of_known_fakes_says_what_is_missing(images: Path, data: Path) -> None:
    """In its last lines, in its JSON, and in what `lineup doctor` says."""
    again = ("ingest", images / "demo-fakes", "--corpus", "fakes")
    printed = lineup(data, *again).stdout
    job = answer(data, *again)
    doctor = answer(data, "doctor")

    for words in (printed, job["next_step"]):
        assert "provisional" in words
        assert "lineup ingest FOLDER --corpus NAME --kind known_real" in words
        assert "lineup calibrate" in words
    assert doctor["healthy"]
    (found,) = (each for each in doctor["findings"] if each["topic"] == "calibration")
    assert (found["level"], found["calibration"]["need"]) == ("advice", "provisional")
    assert "provisional" in lineup(data, "doctor").stdout


def test_it_is_calibrated_once_by_the_photographs_that_came_with_the_model(data: Path) -> None:
    (calibration,) = answer(data, "calibrations")["calibrations"]

    assert calibration["provisional"]
    assert calibration["reference"] == ["photographs shipped with builtin"]
    assert calibration["request"]["job"] is None
    assert len(calibration["strata"]) == 8
    assert all(each["images"] >= 250 for each in calibration["strata"])


def test_no_photograph_is_similar_and_every_answer_says_what_to_do(
    images: Path, data: Path
) -> None:
    photographs = sorted((images / "demo-reals").iterdir())[::4]
    for lookup in look_up(data, *photographs, *sorted((images / "probes").glob("*-fake-*.png"))):
        similarity = lookup["similarity"]
        if similarity["neighbours"][0]["relation"] == "near_duplicate":
            continue  # of the fake that was made of it
        assert (similarity["verdict"], similarity["reason"]) == ("inconclusive", "not_calibrated")
        assert similarity["calibration"]["provisional"]
        if lookup["quality"]["issue"] is None:
            assert similarity["false_match_rate"]["images"] >= 250
        assert "--kind known_real" in similarity["next_step"]
        assert similarity["uncalibrated_corpora"] == ["fakes"]


def test_identical_files_are_found_without_a_calibration(images: Path, data: Path) -> None:
    known = min((images / "demo-fakes" / "demo-nearest").iterdir())
    (lookup,) = look_up(data, known)

    assert lookup["similarity"]["verdict"] == SIMILAR
    assert lookup["similarity"]["neighbours"][0]["relation"] == "identical"


def test_with_known_real_images_a_calibration_gives_verdicts(images: Path, data: Path) -> None:
    pattern = "{source_image}-*"
    job = answer(
        data,
        *("ingest", images / "demo-reals", "--corpus", "reals", "--kind", "known_real"),
        *("--pattern", pattern),
    )
    assert job["next_step"].endswith("`lineup calibrate`")
    assert "--kind known_real" not in job["next_step"]
    measured = answer(data, "calibrate", "--condition", "as_is")
    assert not measured["provisional"]
    assert measured["reference"] == ["reals", "photographs shipped with builtin"]

    fakes = look_up(data, *sorted((images / "probes").glob("*-fake-*.png")))
    photographs = look_up(
        data, *(images / "probes" / f"{each}.png" for each in ("chelsea", "china"))
    )

    assert {each["similarity"]["verdict"] for each in fakes} == {SIMILAR}
    assert {each["similarity"]["verdict"] for each in photographs} == {"not_similar"}
    assert {each["similarity"]["next_step"] for each in (*fakes, *photographs)} == {None}
    (found,) = (e for e in answer(data, "doctor")["findings"] if e["topic"] == "calibration")
    assert (found["level"], found["words"]) == ("ok", "nothing is missing")


def test_a_server_measures_it_after_an_upload(images: Path, tmp_path: Path) -> None:
    archive = tmp_path / "fakes.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted((images / "demo-fakes" / "demo-nearest").iterdir())[:12]:
            packed.write(path, path.name)
    settings = Settings(data_dir=tmp_path / "data", offline=True)
    with TestClient(
        create_app(settings), base_url="http://localhost", headers=NO_BROWSER
    ) as client:
        job = client.post(
            "/v1/corpora/fakes/ingests", files={"source": ("fakes.zip", archive.read_bytes())}
        ).json()
        until = time.monotonic() + 60
        while not (found := client.get("/v1/calibrations").json()["calibrations"]):
            assert time.monotonic() < until
            time.sleep(0.1)
        done = client.get(f"/v1/jobs/{job['id']}").json()

    assert [each["provisional"] for each in found] == [True]
    assert done["state"] == "completed"
    assert "provisional" in done["next_step"]


def test_left_out_the_same_calibration_has_too_few_photographs(data: Path) -> None:
    alone = answer(data, "calibrate", "--condition", "as_is", "--no-shipped")

    assert alone["reference"] == ["reals"]
    assert alone["strata"][0]["images"] < 100
