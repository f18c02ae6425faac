"""The terminal over the shipped model, real SQLite and real FAISS: what its commands do, their JSON
and exit codes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner, Result

from api.http.app import create_app
from api.settings import Settings
from api.terminal import app

OF_THE_MOMENT = {"id", "created_at", "timings"}


def run(data: Path, *arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(app, ["--data-dir", str(data), *map(str, arguments)], env=environment)


def answer(data: Path, *arguments: object) -> Any:
    done = run(data, *arguments, "--json")
    assert done.exit_code in {0, 3}, done.stderr
    return json.loads(done.stdout.splitlines()[-1] if arguments[0] == "ingest" else done.stdout)


def assert_one_line(done: Result, exit_code: int, words: str) -> None:
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == exit_code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images in the folder `known`, and beside it `unseen.png` and the broken `cut.png`."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(3):
        write_image(folder / "known" / f"{seed}.png", seed)
    write_image(folder / "unseen.png", 3)
    (folder / "cut.png").write_bytes((folder / "unseen.png").read_bytes()[:500])
    return folder


@pytest.fixture(scope="module")
def data(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose corpus `known` holds the three images; no test changes it."""
    folder = tmp_path_factory.mktemp("data")
    done = run(folder, "ingest", images / "known", "--corpus", "known", "--generator", "noise")
    assert done.exit_code == 0, done.stderr
    return folder


def test_help_loads_no_model_library() -> None:
    script = (
        "import sys; from api.terminal import app; app(['--help'], 'lineup', "
        "standalone_mode=False); print(*sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())

    assert "Usage: lineup" in done.stdout
    assert "api.terminal.application" in loaded
    assert not {"torch", "transformers", "faiss"} & loaded


@pytest.mark.parametrize(
    ("command", "exit_code", "words"),
    [
        ("ingest missing --corpus known", 4, "missing: no such file or folder"),
        ("--database-url mysql://host/name corpora", 4, "mysql is not supported"),
        ("entries list known --cursor %", 4, "cursor"),
        ("entries list nobody", 5, "'nobody'"),
        ("entries show 99", 5, "99"),
        ("show nothing", 5, "'nothing'"),
        ("corpora remove nobody --yes", 5, "'nobody'"),
        ("corpora create known", 5, "'known' exists already"),
        ("--model nobody search any.png", 6, "unknown model 'nobody'"),
        ("--data-dir never-made fsck", 7, "lineup init"),
    ],
)
def test_a_refusal_is_one_line_and_its_exit_code(
    data: Path, command: str, exit_code: int, words: str
) -> None:
    assert_one_line(run(data, *command.split()), exit_code, words)


@pytest.mark.parametrize(
    ("command", "exit_code", "words"),
    [
        ("search unseen.png --corpus nobody", 5, "'nobody'"),
        ("ingest known --corpus known --kind known_real", 5, "known_fake, not known_real"),
        ("ingest known --corpus UPPER", 4, "corpus 'UPPER': String should match pattern"),
    ],
)
def test_a_corpus_that_does_not_fit_is_one_line_and_its_exit_code(
    data: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    exit_code: int,
    words: str,
) -> None:
    monkeypatch.chdir(images)

    assert_one_line(run(data, *command.split()), exit_code, words)


@pytest.mark.parametrize("command", ["corpora create UPPER", "search any.png --corpus UPPER"])
def test_an_impossible_corpus_name_is_one_line_and_its_exit_code(data: Path, command: str) -> None:
    assert_one_line(run(data, *command.split()), 4, "UPPER")


@pytest.mark.parametrize("command", ["bogus", "search", "search any.png -k 0", "corpora --bogus"])
def test_wrong_usage_ends_with_code_2(data: Path, command: str) -> None:
    done = run(data, *command.split())

    assert isinstance(done.exception, SystemExit)
    assert done.exit_code == 2
    assert "Usage: lineup" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LINEUP_PORT", "abc"),
        ("LINEUP_BATCH_SIZE", "0"),
        ("LINEUP_SIMILARITY_THRESHOLD", "1.5"),
        ("LINEUP_ALLOWED_HOSTS", '["example.org"'),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it_and_code_2(
    data: Path, name: str, value: str
) -> None:
    assert_one_line(run(data, "corpora", **{name: value}), 2, name)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (KeyboardInterrupt, 130),
        pytest.param(
            RuntimeError,
            70,
        ),
    ],
)
def test_what_ends_a_command_from_within_has_its_exit_code(
    data: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], exit_code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("api.operations.checking.check_installation", fail)

    assert run(data, "fsck").exit_code == exit_code


def test_a_probe_that_cannot_be_read_is_named_and_the_others_are_answered(
    data: Path, images: Path
) -> None:
    probes = cut, missing, whole = images / "cut.png", images / "none.png", images / "unseen.png"

    shown = run(data, "search", *probes)
    told = run(data, "search", *probes, "--json")
    listed = json.loads(told.stdout)

    assert shown.exit_code == told.exit_code == 3
    assert f"{cut}  truncated" in shown.stdout
    assert f"{missing}  not_found" in shown.stdout
    assert str(whole) in shown.stdout
    assert [(each["name"], each["reason"]) for each in listed["failures"]] == [
        (str(cut), "truncated"),
        (str(missing), "not_found"),
    ]
    assert [each["name"] for each in listed["lookups"]] == [str(whole)]


def test_words_of_the_operator_are_printed_as_they_are(tmp_path: Path) -> None:
    run(tmp_path, "corpora", "create", "case", "--description", "[red]seized[/blue]")

    shown = run(tmp_path, "corpora")

    assert shown.exit_code == 0
    assert "[red]seized[/blue]" in shown.stdout


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert_one_line(run(tmp_path / "file", "init"), 7, str(tmp_path / "file"))


def test_search_prints_as_json_what_the_api_answers(data: Path, images: Path) -> None:
    probes = [images / "known" / "1.png", images / "unseen.png"]

    told = answer(data, "search", *probes, "-k", 2)
    with TestClient(create_app(Settings(data_dir=data)), base_url="http://127.0.0.1") as client:
        sent = [
            {"files": {"image": probe.read_bytes()}, "data": {"query": '{"k": 2}'}}
            for probe in probes
        ]
        answered = [client.post("/v1/lookups", **each).json() for each in sent]

    assert told["failures"] == []
    assert [each["name"] for each in told["lookups"]] == [str(probe) for probe in probes]
    for printed, returned in zip(
        (each["lookup"] for each in told["lookups"]), answered, strict=True
    ):
        assert printed.keys() == returned.keys()
        assert printed["timings"].keys() == returned["timings"].keys()
        assert lasting(printed) == lasting(returned)


def lasting(lookup: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in lookup.items() if name not in OF_THE_MOMENT}


def test_an_earlier_lookup_is_shown_as_it_was_answered(data: Path, images: Path) -> None:
    found = answer(data, "search", images / "known" / "0.png")["lookups"][0]["lookup"]

    assert answer(data, "show", found["id"]) == found


def test_a_removal_that_is_not_confirmed_removes_nothing(tmp_path: Path) -> None:
    run(tmp_path, "corpora", "create", "empty")

    refused = run(tmp_path, "corpora", "remove", "empty")

    assert refused.exit_code == 1
    assert len(answer(tmp_path, "corpora")["corpora"]) == 1
    assert run(tmp_path, "corpora", "remove", "empty", "--yes").exit_code == 0
    assert answer(tmp_path, "corpora")["corpora"] == []


def test_a_folder_goes_in_once_and_is_found(tmp_path: Path, images: Path) -> None:
    data = tmp_path / "data"
    ingest = ("ingest", images / "known", "--corpus", "known")

    assert run(data, "init").exit_code == 0
    first, second = answer(data, *ingest), answer(data, *ingest)
    found = answer(data, "search", images / "known" / "2.png")["lookups"][0]["lookup"]
    corpora = answer(data, "corpora")["corpora"]
    models = answer(data, "models")["models"]
    checked = answer(data, "fsck")

    assert (first["added"], first["skipped"]) == (3, 0)
    assert (second["added"], second["skipped"]) == (0, 3)
    assert second["id"] == first["id"] + 1
    assert found["method"]["generation"] == 3
    assert found["similarity"]["neighbours"][0]["entry"]["provenance"]["path"] == "2.png"
    assert [(corpus["name"], corpus["entry_count"]) for corpus in corpora] == [("known", 3)]
    assert [model["name"] for model in models if model["active"]] == ["builtin"]
    assert checked["clean"]
    assert checked["checked"]["entries"] == 3


def test_a_place_in_the_provenance_chooses_what_is_searched(data: Path, images: Path) -> None:
    probe = images / "known" / "2.png"

    def paths(*options: str) -> set[str]:
        found = answer(data, "search", probe, *options)["lookups"][0]["lookup"]["similarity"][
            "neighbours"
        ]
        return {neighbour["entry"]["provenance"]["path"] for neighbour in found}

    assert paths("--where", "path=2.png") == {"2.png"}
    assert paths("--where", "/path=2.png", "--where", "/path=1.png") == {"1.png", "2.png"}
    assert paths("--where", "path=true") == set()
    assert_one_line(run(data, "search", probe, "--where", "path"), 4, "PLACE=VALUE")
    assert answer(data, "search", probe, "--exact")["lookups"][0]["lookup"]["method"]["exact"]


def test_the_index_says_how_it_answers_and_is_built(data: Path) -> None:
    (planned,) = answer(data, "index", "plan")["indexes"]
    (built,) = answer(data, "index", "build")["indexes"]
    (compacted,) = answer(data, "index", "compact")["indexes"]

    assert (planned["plan"], planned["entries"], planned["recall"]) == ("flat", 3, None)
    assert "every vector is compared" in planned["reason"]
    assert built["snapshot_generation"] == compacted["snapshot_generation"] == planned["generation"]
    assert "plan      flat" in run(data, "index", "plan").stdout


@pytest.mark.parametrize("value", ["example.org, localhost", '["example.org", "localhost"]'])
def test_hosts_are_json_or_names_with_commas(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LINEUP_ALLOWED_HOSTS", value)

    assert Settings().allowed_hosts == ("example.org", "localhost")
