"""Damaged files: every command and route names them by an error with a type, or takes no harm."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from api.problems import EXIT_STORAGE
from tests.functional.damaging import Original, Reader, describe
from tests.functional.shelves import jpeg
from tests.functional.terminal import lineup
from tests.functional.test_golden import unpack

LONG = pytest.mark.prove
FEW = 2  # commands for each damage in the short form; the long one runs all


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = unpack(tmp_path_factory.mktemp("original"))
    (folder / "p.jpg").write_bytes(jpeg(3))
    return folder


def reader(original: Path, copy: Path) -> Reader:
    with closing(sqlite3.connect(original / "data" / "lineup.db")) as conn:
        (lookup,) = conn.execute("SELECT id FROM lookups ORDER BY id LIMIT 1 OFFSET 5").fetchone()
    return Reader(copy, original / "p.jpg", lookup, "fakes")


@pytest.mark.parametrize(
    ("pattern", "count", "seed", "all_readers"),
    [
        ("lineup.db", 8, 17, False),  # every kind of damage, and two flips in the schema's page
        pytest.param("lineup.db", 200, 2, True, marks=LONG),
        pytest.param("index/*/*", 40, 3, True, marks=LONG),
        pytest.param("thumbnails/*/*", 20, 4, True, marks=LONG),
    ],
)
def test_damage_is_named_or_does_no_harm(
    original: Path, tmp_path: Path, pattern: str, count: int, seed: int, all_readers: bool
) -> None:
    draw, found = random.Random(seed), []
    for damage, copy in Original(original / "data", pattern).copies(
        tmp_path / "copy" / "data", count, seed
    ):
        reads = reader(original, copy)
        names = [*reads.commands()]
        for name in names if all_readers else ["fsck", *draw.sample(names, FEW)]:
            reads.run(name)
        if all_readers:
            reads.serve()
        if reads.defects:
            found.append(describe(damage, reads.defects))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("table", "column", "value", "command"),
    [
        ("jobs", "state", "'resting'", ["jobs"]),
        ("jobs", "request", "'{\"sour'", ["jobs"]),
        ("jobs", "created_at", "'2026-02-30 00:00:00.000000'", ["jobs"]),
        ("embedding_spaces", "fingerprint", "'nonsense'", ["calibrations"]),
        ("corpora", "kind", "'known_fate'", ["corpora"]),
        ("entries", "provenance", "'{\"a\":'", ["entries", "list", "fakes"]),
        ("entries", "acquired_at", "CAST(x'c328' AS TEXT)", ["entries", "list", "fakes"]),
        ("images", "width", "'wide'", ["entries", "list", "fakes"]),
        ("calibrations", "document", "'{}'", ["calibrations", "show", 1]),
    ],
)
def test_a_value_that_cannot_be_read_is_named_with_its_row(
    original: Path, tmp_path: Path, table: str, column: str, value: str, command: list[object]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "lineup.db").write_bytes((original / "data" / "lineup.db").read_bytes())
    with closing(sqlite3.connect(data / "lineup.db")) as conn:
        conn.execute("PRAGMA ignore_check_constraints = 1")
        conn.execute(f"UPDATE {table} SET {column} = {value}")
        conn.commit()
    done = lineup(data, *command)
    assert done.exit_code == EXIT_STORAGE, done.stderr
    assert "Traceback" not in done.stderr
    assert "`lineup fsck`" in " ".join(done.stderr.split())
    checked = lineup(data, "fsck")
    assert checked.exit_code in (3, EXIT_STORAGE)
    assert table.rstrip("s") in checked.output + checked.stderr
