"""`lineup inspect`, `quarantine` and `release`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from api.inspection.json import InspectionAnswer
from api.terminal.inspection import print_inspection
from tests.api.terminal.commands import answer, assert_one_line, run, write_image

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of fakes of which two are in a corpus of reals too."""
    base = tmp_path_factory.mktemp("doubtful")
    for seed in range(4):
        write_image(base / "fakes" / f"{seed}.png", seed)
    (base / "reals").mkdir()
    for seed in range(2):
        shutil.copy(base / "fakes" / f"{seed}.png", base / "reals" / f"real-{seed}.png")
    for corpus, kind in (("fakes", "known_fake"), ("reals", "known_real")):
        done = run(base / "data", "ingest", base / corpus, "--corpus", corpus, "--kind", kind)
        assert done.exit_code == 0, done.output
    return base / "data"


@pytest.fixture
def inspection(doubtful: Path) -> dict[str, Any]:
    document: dict[str, Any] = answer(doubtful, "inspect", "fakes")
    return document


def test_contradictions_are_counted_and_listed(doubtful: Path) -> None:
    done = run(doubtful, "inspect", "fakes", "--limit", 1)
    lines = done.stdout.splitlines()

    assert done.exit_code == 0
    assert lines[0].startswith("fakes: 4 of 4 entries, ")
    assert "compared with 2 known-real images and 0 known fakes" in lines[0]
    assert "2 contradictions: the same picture is also known_real" in lines
    (row,) = [line for line in lines if line.startswith("identical")]
    assert row.split()[1] == "1"
    assert row.endswith("real-0.png")
    assert "  1 of 2 are listed; --limit 2 lists all" in lines
    assert lines[-1].startswith("These are reasons to look, not proofs.")


def test_what_is_not_embedded_is_said(inspection: dict[str, Any], capsys: Capture) -> None:
    print_inspection(
        InspectionAnswer.model_validate({**inspection, "entry_count": 10, "compared": 4})
    )
    assert "  6 have no embedding of the active model and were not inspected\n" in (
        capsys.readouterr().out
    )


def test_fakes_that_look_real_are_listed_with_both_similarities(
    inspection: dict[str, Any], capsys: Capture
) -> None:
    entry = {"id": 3, "corpus": "fakes", "generator": "gan", "location": "3.png"}
    near = {"entry": entry, "cosine_similarity": 0.912}
    suspect = {"entry": entry, "logit": -2.5, "nearest_real": near, "nearest_fake": near}
    found = {"no_traces_logit": -0.89, "total": 1, "items": [suspect]}
    print_inspection(InspectionAnswer.model_validate({**inspection, "looks_real": found}))
    lines = capsys.readouterr().out.splitlines()
    title = next(number for number, line in enumerate(lines) if "look real" in line)

    assert lines[title].startswith("1 look real: logit up to -0.89, and nearer to a known-real")
    assert lines[title + 1].split()[0] == "logit"
    assert lines[title + 2].split() == ["-2.50", "0.912", "0.912", "3", "gan", "3.png"]


def test_without_a_limit_nothing_looks_real(inspection: dict[str, Any], capsys: Capture) -> None:
    print_inspection(InspectionAnswer.model_validate({**inspection, "looks_real": None}))
    assert "look real: not judged" in capsys.readouterr().out


def test_hubs_and_groups_of_near_duplicates_are_listed(
    inspection: dict[str, Any], capsys: Capture
) -> None:
    entries = [
        {"id": number, "corpus": "fakes", "generator": None, "location": f"{number}.png"}
        for number in range(1, 7)
    ]
    hubs = {
        "pictures": 28,
        "expected": 0.25,
        "skewness": 10.3,
        "limit_count": 5,
        "total": 1,
        "items": [{"entry": entries[0], "count": 9}],
    }
    clusters = {"total": 1, "entry_count": 6, "items": [{"size": 6, "entries": entries}]}
    changed = {**inspection, "hubs_for_photographs": hubs, "clusters": clusters}
    print_inspection(InspectionAnswer.model_validate(changed))
    printed = capsys.readouterr().out

    assert (
        "1 hubs: the nearest entry of at least 5 of 28 known-real images (0.25 expected, skewness "
        "10.3)" in printed
    )
    assert "1 groups of near duplicates, with 6 entries" in printed
    assert "6  1 1.png, 2 2.png, 3 3.png, 4 4.png and 2 more\n" in printed


def test_an_entry_goes_into_quarantine_and_comes_back(tmp_path: Path, images: Path) -> None:
    data = tmp_path / "data"
    run(data, "ingest", images / "known", "--corpus", "known")
    assert run(data, "inspect", "known", "--quarantined").stdout == "no entry is in quarantine\n"

    put = run(data, "quarantine", 2, "--reason", "filed by mistake")
    listed = run(data, "inspect", "known", "--quarantined").stdout.splitlines()
    back = run(data, "release", 2)
    again = run(data, "release", 2)

    assert put.stdout.startswith("entry 2 of known is in quarantine; `lineup release 2`")
    assert listed[0].split()[:2] == ["entry", "since"]
    assert listed[1].split()[0] == "2"
    assert listed[1].endswith("filed by mistake")
    assert back.stdout == "the image of entry 2 is back in known, as entry 4\n"
    assert again.exit_code in {0, 5}
    assert_one_line(run(data, "quarantine", 99, "--reason", "x"), 5, "99")
    assert_one_line(run(data, "quarantine", 1, "--reason", ""), 4, "reason")


def test_quarantine_is_listed_page_by_page(tmp_path: Path, images: Path) -> None:
    data = tmp_path / "data"
    run(data, "ingest", images / "known", "--corpus", "known")
    for entry in (1, 2):
        run(data, "quarantine", entry, "--reason", "x")
    *_, more = run(data, "inspect", "known", "--quarantined", "--limit", 1).stdout.splitlines()
    rest = answer(data, "inspect", "known", "--quarantined", "--cursor", more.split()[-1])[
        "entries"
    ]

    assert more.startswith("more: --cursor ")
    assert [each["entry"]["id"] for each in rest] == [2]


def test_a_corpus_that_is_not_there_is_one_line(data: Path) -> None:
    assert_one_line(run(data, "inspect", "nobody"), 5, "'nobody'")
