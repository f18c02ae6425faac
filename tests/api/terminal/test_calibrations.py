"""`lineup calibrate` and `calibrations`, over a real calibration of a few images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api.calibrations.json import SHOWN_BITS, CalibrationAnswer
from api.terminal.calibrations import print_calibration, print_calibrations, print_copies
from tests.api.terminal.commands import answer, assert_one_line, run, write_image

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("calibrated")
    for seed in range(6):
        write_image(base / "fakes" / f"{seed}.png", seed)
        write_image(base / "reals" / f"{seed}.png", seed + 20)
    for corpus, kind in (("fakes", "known_fake"), ("reals", "known_real")):
        done = run(base / "data", "ingest", base / corpus, "--corpus", corpus, "--kind", kind)
        assert done.exit_code == 0, done.output
    return base / "data"


@pytest.fixture(scope="module")
def measured(calibrated: Path) -> CalibrationAnswer:
    conditions = ("--condition", "as_is", "--condition", "jpeg75")
    done = run(calibrated, "calibrate", *conditions, "--no-shipped", "--json")
    assert done.exit_code == 0, done.output
    return CalibrationAnswer.model_validate_json(done.stdout.splitlines()[-1])


def test_a_calibration_is_a_row_for_each_kind_of_delivery(
    measured: CalibrationAnswer, capsys: Capture
) -> None:
    print_calibration(measured)
    title, header, as_is, jpeg75, pooled, note, *_ = capsys.readouterr().out.splitlines()

    assert title == (
        f"calibration {measured.id}  fakes (6 entries) compared with reals, generation 12, seed 0"
    )
    assert header.split()[:3] == ["delivery", "images", "photographs"]
    assert [each.split()[0] for each in (as_is, jpeg75, pooled)] == [
        "as_is",
        "jpeg75",
        "any_delivery",
    ]
    assert as_is.split()[1:3] == ["6", "6"]
    threshold = measured.strata[0].thresholds[0]
    assert f"{threshold.cosine_similarity:.4f} (" in as_is
    assert note.startswith("at 1 %: the similarity that 1 % of known-real images reach")


def test_copies_are_a_row_for_each_finding_with_its_bound(
    measured: CalibrationAnswer, capsys: Capture
) -> None:
    assert measured.copies is not None
    print_copies(measured.copies)
    header, *rows, note = capsys.readouterr().out.splitlines()
    assert header.split()[-6:] == ["images", "photographs", "seen", "rate", "at", "most"]
    assert [" ".join(row.split()[:5]) for row in rows[:4]] == [
        f"a view within {bits} bits" for bits in SHOWN_BITS
    ]
    # Six photographs: nothing seen says little, and the answer says so.
    assert rows[0].split()[5:8] == ["6", "6", "0"]
    assert float(rows[0].split()[-2]) >= 50
    assert "Fewer than 100 photographs support no such rate" in note
    assert "Leads are listed up to the distance" in note


def test_no_hit_is_a_count_and_not_a_share(measured: CalibrationAnswer, capsys: Capture) -> None:
    found = next(
        each.hit_rate for each in measured.strata[0].thresholds if each.false_match_rate == 0.01
    )
    assert found is not None
    assert found.matches == 0
    assert found.estimate > 0

    print_calibration(measured)

    as_is = capsys.readouterr().out.splitlines()[2]
    assert f"none of {found.images} (tells nothing)" in as_is


def test_collections_are_told_where_there_are_several(
    measured: CalibrationAnswer, capsys: Capture
) -> None:
    document = json.loads(measured.model_dump_json())
    for threshold in document["strata"][0]["thresholds"]:
        threshold["collections"] = [
            {"corpus": "reals", "source": "lab", "images": 4, "matches": 1},
            {"corpus": "reals", "source": None, "images": 2, "matches": 0},
        ]
    print_calibration(CalibrationAnswer.model_validate(document))
    lines = capsys.readouterr().out.splitlines()

    assert lines[6].split()[:2] == ["collection", "images"]
    assert lines[7].split()[-2:] == ["%", "(1)"]
    assert "lab" in lines[7]
    assert lines[8].rstrip().endswith("0 % (0)")


def test_calibrations_are_listed(calibrated: Path, measured: CalibrationAnswer) -> None:
    listed = run(calibrated, "calibrations")
    header, row, first = listed.stdout.splitlines()

    assert header.split() == [
        "calibration",
        "measured",
        "against",
        "entries",
        "reference",
        "images",
        "conditions",
    ]
    assert row.split()[0] == str(measured.id)
    assert row.endswith("as_is, jpeg75, any_delivery")
    assert "photographs shipped with builtin" in first
    assert answer(calibrated, "calibrations")["calibrations"][0]["id"] == measured.id


def test_a_calibration_is_shown_again(calibrated: Path, measured: CalibrationAnswer) -> None:
    shown = run(calibrated, "calibrations", "show", measured.id)
    assert shown.stdout.startswith(f"calibration {measured.id}  fakes")
    assert answer(calibrated, "calibrations", "show", measured.id)["seed"] == 0
    assert_one_line(run(calibrated, "calibrations", "show", 99), 5, "99")


def test_there_may_be_no_calibration(capsys: Capture) -> None:
    print_calibrations([])
    assert capsys.readouterr().out == "there is no calibration yet: `lineup calibrate` makes one\n"


def test_a_calibration_needs_both_kinds_and_known_names(data: Path, calibrated: Path) -> None:
    assert_one_line(run(data, "calibrate"), 5, "needs known fakes and known-real images")
    assert_one_line(run(calibrated, "calibrate", "--against", "nobody"), 5, "'nobody'")
    assert_one_line(run(calibrated, "calibrate", "--condition", "fax"), 4, "conditions")


def test_it_is_made_for_a_person_with_its_job(calibrated: Path) -> None:
    done = run(calibrated, "calibrate", "--condition", "jpeg90", "--seed", 7)

    assert done.exit_code == 0, done.output
    assert "embedded again" in done.stdout
    assert "seed 7" in done.stdout
