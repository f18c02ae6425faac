"""`lineup corpora`, `entries` and `export`."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.corpora.export import ExportAnswer
from api.corpora.json import EntryAnswer
from api.terminal.corpora import print_export, where_from
from tests.api.terminal.commands import answer, assert_one_line, run

Capture = pytest.CaptureFixture[str]


def test_corpora_are_listed_with_kind_size_and_description(tmp_path: Path) -> None:
    assert run(tmp_path, "init").exit_code == 0
    assert run(tmp_path, "corpora").stdout == (
        "there is no corpus yet: `lineup ingest` creates one\n"
    )
    made = run(
        tmp_path, "corpora", "create", "case", "--kind", "known_real", "--description", "[red]x[/]"
    )
    listed = run(tmp_path, "corpora")

    assert made.exit_code == 0
    assert made.stdout == listed.stdout
    header, row = listed.stdout.splitlines()
    assert header.split() == ["corpus", "kind", "entries", "keeps", "created", "description"]
    assert row.startswith("case    known_real        0  thumbnail  20")
    assert row.endswith("[red]x[/]")


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (("corpora", "create", "known"), 5, "'known'"),
        (("corpora", "create", "UPPER"), 4, "UPPER"),
        (("corpora", "keep", "nobody", "none"), 5, "'nobody'"),
        (("corpora", "keep", "known", "everything"), 4, "everything"),
        (("corpora", "remove", "nobody", "--yes"), 5, "'nobody'"),
        (("entries", "list", "nobody"), 5, "'nobody'"),
        (("entries", "list", "known", "--cursor", "%"), 4, "cursor"),
        (("entries", "show", "99"), 5, "99"),
        (("entries", "remove", "99"), 5, "99"),
        (("export", "nobody"), 5, "'nobody'"),
    ],
)
def test_what_is_not_there_is_one_line(
    data: Path, words: tuple[str, ...], exit_code: int, message: str
) -> None:
    assert_one_line(run(data, *words), exit_code, message)


def test_a_corpus_keeps_something_else_from_now_on(tmp_path: Path) -> None:
    run(tmp_path, "corpora", "create", "case")
    assert run(tmp_path, "corpora", "keep", "case", "none").stdout == "case keeps none\n"
    assert answer(tmp_path, "corpora")["corpora"][0]["keep"] == "none"


def test_a_corpus_stores_local_features_where_that_was_chosen(tmp_path: Path) -> None:
    run(tmp_path, "corpora", "create", "case", "--features")
    assert answer(tmp_path, "corpora")["corpora"][0]["features"]
    kept = run(tmp_path, "corpora", "keep", "case", "none")
    assert kept.stdout == "case keeps none and local features\n"
    run(tmp_path, "corpora", "keep", "case", "none", "--no-features")
    assert not answer(tmp_path, "corpora")["corpora"][0]["features"]


def test_a_removal_that_is_not_confirmed_removes_nothing(tmp_path: Path) -> None:
    run(tmp_path, "corpora", "create", "empty")

    assert run(tmp_path, "corpora", "remove", "empty").exit_code == 1
    assert len(answer(tmp_path, "corpora")["corpora"]) == 1
    done = run(tmp_path, "corpora", "remove", "empty", "--yes")
    assert (done.exit_code, done.stdout) == (0, "empty was removed with 0 entries\n")
    assert answer(tmp_path, "corpora")["corpora"] == []


def test_entries_are_listed_page_by_page(data: Path) -> None:
    first = run(data, "entries", "list", "known", "--limit", 2)
    *rows, more = first.stdout.splitlines()
    cursor = more.split()[-1]
    second = run(data, "entries", "list", "known", "--limit", 2, "--cursor", cursor)

    assert [row.split()[0] for row in rows] == ["entry", "1", "2"]
    assert rows[1].split()[1:3] == ["known", "noise"]
    assert "176 x 176" in rows[1]
    assert rows[1].endswith("0.png")
    assert [row.split()[0] for row in second.stdout.splitlines()] == ["entry", "3"]
    assert len(answer(data, "entries", "list", "known")["entries"]) == 3


def test_an_entry_is_shown_and_removed(tmp_path: Path, images: Path) -> None:
    run(tmp_path, "ingest", images / "known", "--corpus", "known")

    assert '"path": "0.png"' in run(tmp_path, "entries", "show", 1).stdout
    done = run(tmp_path, "entries", "remove", 1)
    assert done.stdout == "entry 1 was removed from known\n"
    left = answer(tmp_path, "entries", "list", "known")["entries"]
    assert [entry["id"] for entry in left] == [2, 3]


def test_a_corpus_is_exported_and_not_over_a_file(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "known.parquet"
    done = run(data, "export", "known", "--output", target)

    assert done.exit_code == 0
    assert done.stdout.startswith(f"known: 3 entries in {target}, ")
    assert target.read_bytes().startswith(b"PAR1")
    assert_one_line(run(data, "export", "known", "--output", target), 5, "--force")
    assert answer(data, "export", "known", "--output", target, "--force")["entries"] == 3
    assert run(data, "export", "known", "--to", "csv").exit_code == 2


def test_an_export_is_told_in_one_line(capsys: Capture) -> None:
    print_export(
        ExportAnswer(
            corpus="known",
            file="known.parquet",
            entries=1200,
            byte_size=34_567,
            embedding_space="ab" * 32,
            generation=1300,
        )
    )
    assert capsys.readouterr().out == (
        "known: 1,200 entries in known.parquet, 34,567 bytes, embedding space abababababababab, "
        "generation 1,300\n"
    )


@pytest.mark.parametrize(
    ("provenance", "source", "where"),
    [({"path": "a/b.png"}, "set", "a/b.png"), ({}, "set", "set"), ({}, None, "")],
)
def test_an_entry_comes_from_its_path_or_its_source(
    data: Path, provenance: dict[str, str], source: str | None, where: str
) -> None:
    listed = answer(data, "entries", "list", "known")["entries"][0]
    entry = EntryAnswer.model_validate({**listed, "provenance": provenance, "source": source})
    assert where_from(entry) == where
