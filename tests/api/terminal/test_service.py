"""`lineup init` and what `lineup serve` hands to the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.http import serving
from api.settings import Settings
from tests.api.terminal.commands import assert_one_line, run


def test_a_data_folder_is_made_once_and_made_again(tmp_path: Path) -> None:
    first, second = run(tmp_path / "new", "init"), run(tmp_path / "new", "init")

    assert first.exit_code == second.exit_code == 0
    assert first.stdout == second.stdout
    assert first.stdout.startswith("sqlite: schema 0")
    assert first.stdout.endswith(f"index and thumbnails in {tmp_path / 'new'}\n")
    assert (tmp_path / "new" / "lineup.db").is_file()


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_one_line(run(tmp_path / "file", "init"), 7, str(tmp_path / "file"))


@pytest.mark.parametrize(
    "words",
    [
        "corpora",
        "jobs",
        "jobs show 1",
        "entries list known",
        "search any.png",
        "show some-id",
        "replay some-id",
        "inspect known",
        "quarantine 1 --reason x",
        "release 1",
        "calibrate",
        "calibrations",
        "calibrations show 1",
        "index plan",
        "export known",
        "reembed --model builtin",
        "models activate builtin",
        "worker --once",
        "fsck",
        "backup any.tar",
    ],
)
def test_without_data_a_command_says_where_it_looked_and_what_to_run(
    tmp_path: Path, words: str
) -> None:
    done = run(tmp_path / "none", *words.split())

    assert_one_line(done, 7, "No Lineup data here")
    assert str(tmp_path / "none") in done.stderr
    assert "`lineup init`" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LINEUP_PORT", "abc"),
        ("LINEUP_BATCH_SIZE", "0"),
        ("LINEUP_SIMILARITY_THRESHOLD", "1.5"),
        ("LINEUP_ALLOWED_HOSTS", '["example.org"'),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(data: Path, name: str, value: str) -> None:
    assert_one_line(run(data, "corpora", **{name: value}), 2, name)


@pytest.mark.parametrize(
    ("words", "host", "port", "allowed"),
    [
        ((), "127.0.0.1", 8787, False),
        (("--host", "::1", "--port", "0"), "::1", 0, False),
        (("--host", "0.0.0.0", "--allow-unauthenticated"), "0.0.0.0", 8787, True),
    ],
)
def test_the_server_gets_the_address_of_the_command_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    host: str,
    port: int,
    allowed: bool,
) -> None:
    calls = []

    def serve(settings: Settings, *, allow_unauthenticated: bool) -> None:
        calls.append((settings.host, settings.port, allow_unauthenticated, settings.data_dir))

    monkeypatch.setattr(serving, "serve", serve)
    assert run(tmp_path, "serve", *words).exit_code == 0
    assert calls == [(host, port, allowed, tmp_path)]


def test_a_host_that_others_reach_needs_consent(tmp_path: Path) -> None:
    assert_one_line(
        run(tmp_path / "data", "serve", "--host", "0.0.0.0"), 4, "--allow-unauthenticated"
    )
    assert not (tmp_path / "data").exists()


def test_a_port_that_cannot_be_is_wrong_usage(tmp_path: Path) -> None:
    assert run(tmp_path, "serve", "--port", "65536").exit_code == 2
