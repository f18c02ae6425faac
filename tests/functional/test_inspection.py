"""A corpus cleaned as a keeper does it, by commands alone: inspected, an image put into quarantine,
and released.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.functional.shelves import encoded, jpeg, picture
from tests.functional.terminal import answer, lineup

FAKES, PHOTOGRAPHS = 4, 3
PLANTED = "planted.jpg"


def write(folder: Path, seeds: range) -> None:
    folder.mkdir()
    for seed in seeds:
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed))


def test_a_photograph_among_known_fakes_is_found_and_stays_away_until_it_is_released(
    dialect: str, database_url: str, tmp_path: Path
) -> None:
    fakes, photographs, data = tmp_path / "fakes", tmp_path / "photographs", tmp_path / "data"
    database = ("--database-url", database_url)
    write(fakes, range(FAKES))
    write(photographs, range(100, 100 + PHOTOGRAPHS))
    shutil.copy(photographs / "100.jpg", fakes / PLANTED)
    (fakes / "again.jpg").write_bytes(encoded(picture(3), "JPEG", quality=60))
    answer(data, *database, "ingest", photographs, "--corpus", "camera", "--kind", "known_real")
    answer(data, *database, "ingest", fakes, "--corpus", "known")

    found = answer(data, *database, "inspect", "known")
    (named,) = found["contradictions"]["items"]
    assert named["relation"] == "identical"
    assert (named["entry"]["location"], named["other"]["location"]) == (PLANTED, "100.jpg")
    (cluster,) = found["clusters"]["items"]
    assert sorted(entry["location"] for entry in cluster["entries"]) == ["3.jpg", "again.jpg"]

    entry_id = named["entry"]["id"]
    answer(data, *database, "quarantine", entry_id, "--reason", "a photograph of case 7")
    again = answer(data, *database, "ingest", fakes, "--corpus", "known")
    assert (again["added"], again["linked"], again["skipped"]) == (0, 0, FAKES + 2)
    assert again["reasons"]["skipped"]["quarantined"] == 1
    (listed,) = answer(data, *database, "inspect", "known", "--quarantined")["entries"]
    assert (listed["entry"]["id"], listed["reason"]) == (entry_id, "a photograph of case 7")
    assert answer(data, *database, "fsck")["findings"] == []

    assert answer(data, *database, "release", entry_id)["made"]
    assert lineup(data, *database, "release", entry_id).exit_code == 5
    printed = lineup(data, *database, "inspect", "known").stdout
    assert "1 contradictions" in printed
    assert PLANTED in printed
    assert answer(data, *database, "fsck")["findings"] == []


def test_what_is_in_quarantine_is_skipped_by_a_dry_run_and_makes_nothing_a_near_duplicate(
    tmp_path: Path,
) -> None:
    data, folder = tmp_path / "data", tmp_path / "in"
    write(folder, range(1))
    answer(data, "ingest", folder, "--corpus", "known")
    answer(data, "quarantine", 1, "--reason", "tried")
    tried = answer(data, "ingest", folder, "--corpus", "known", "--dry-run")
    assert (tried["new"], tried["linked"], tried["skipped"]) == (0, 0, 1)
    (folder / "copy.jpg").write_bytes(encoded(picture(0), "JPEG", quality=60))
    job = answer(data, "ingest", folder, "--corpus", "known", "--dedup", "near")
    assert (job["added"], job["near_duplicates"], job["reasons"]["skipped"]) == (
        1,
        0,
        {"quarantined": 1},
    )
    assert "tried" in lineup(data, "inspect", "known", "--quarantined").stdout
