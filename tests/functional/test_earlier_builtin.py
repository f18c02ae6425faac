"""A data folder that an earlier `builtin` filled: it opens, and says how to embed it anew.

The release before these weights were removed (commit 8360496) made `earlier-builtin.tar.xz`: three
images of `tests.functional.shelves.jpeg`, ingested with `--keep original`, and one look-up. `used`
is by `builtin-1`, with no active model; `activated` is by `builtin-2`, active under the name
`builtin`.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.errors import EarlierWeights
from api.http.app import create_app
from api.lineup import find_space, open_database
from api.settings import Settings
from api.worker.starting import start_reembed
from embedder.network.registry import EARLIER_BUILTIN_WEIGHTS, MODELS
from tests.clients import NO_BROWSER
from tests.functional.shelves import jpeg
from tests.functional.terminal import answer, lineup

ARCHIVE = Path(__file__).parents[1] / "data" / "earlier-builtin.tar.xz"
REFUSED = 6  # the exit code of what is wrong with a model
LOOKUP = {
    "used": "1e2eb75c-f49f-49c4-9417-a14a5d636fed",
    "activated": "48bb6418-831f-4baf-8543-2db46fa2d729",
}


@pytest.fixture(params=list(LOOKUP))
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "0.jpg").write_bytes(jpeg(0))
    folder = tmp_path / str(request.param)
    assert lineup(folder, "init").exit_code == 0
    return folder


def probe(data: Path) -> Path:
    return data.parent / "0.jpg"


def neighbours(data: Path) -> list[Any]:
    found = answer(data, "search", probe(data), "-k", 3)["lookups"][0]["lookup"]
    nearest: list[Any] = found["similarity"]["neighbours"]
    return nearest


@pytest.mark.parametrize(
    "command",
    [
        ("search", "PROBE"),
        ("--model", "builtin", "search", "PROBE"),
        ("ingest", "PROBE", "--corpus", "known"),
        ("replay", "LOOKUP"),
        ("calibrate", "--against", "known", "--reference", "known"),
        ("models",),
        ("worker", "--once"),
    ],
    ids=" ".join,
)
def test_what_needs_the_model_names_the_commands_that_help(
    data: Path, command: tuple[str, ...]
) -> None:
    places = {"PROBE": probe(data), "LOOKUP": LOOKUP[data.name]}

    refused = lineup(data, *(places.get(word, word) for word in command))

    assert refused.exit_code == REFUSED, refused.stderr
    assert "`lineup reembed --model builtin`" in refused.stderr
    assert "`lineup models activate builtin`" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_server_does_not_start_on_it(data: Path) -> None:
    app = create_app(Settings(data_dir=data, offline=True))
    with (
        pytest.raises(EarlierWeights),
        TestClient(app, base_url="http://localhost", headers=NO_BROWSER),
    ):
        pass


def test_what_needs_no_model_works(data: Path, tmp_path: Path) -> None:
    assert answer(data, "corpora")["corpora"][0]["entry_count"] == 3
    assert len(answer(data, "entries", "list", "known")["entries"]) == 3
    assert [job["state"] for job in answer(data, "jobs")["jobs"]] == ["completed"]
    assert answer(data, "show", LOOKUP[data.name])["id"] == LOOKUP[data.name]
    assert answer(data, "fsck")["clean"]
    assert "builtin" in {model["name"] for model in answer(data, "models", code=6)["models"]}


def test_its_vectors_are_exported_and_another_folder_takes_them_no_further(
    data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "known.parquet"

    exported = answer(data, "export", "known", "--output", file)
    taken = lineup(tmp_path / "new", "ingest", file, "--corpus", "known")

    assert exported["entries"] == 3
    assert exported["embedding_space"] == space_of(data)
    assert taken.exit_code != 0  # vectors of the shipped model are never compared with these


def space_of(data: Path) -> str:
    settings = Settings(data_dir=data, offline=True)
    with open_database(settings) as database:
        space = find_space(settings, database)
    assert space.weights_sha256 in EARLIER_BUILTIN_WEIGHTS
    return space.fingerprint


def test_a_backup_of_it_is_restored_as_it_was(data: Path, tmp_path: Path) -> None:
    archive = tmp_path / "backup.tar"

    answer(data, "backup", archive)
    answer(data, "verify-backup", archive)
    answer(tmp_path / "restored", "restore", archive)

    assert space_of(tmp_path / "restored") == space_of(data)
    assert len(answer(tmp_path / "restored", "entries", "list", "known")["entries"]) == 3


def test_re_embedding_and_activating_moves_it_to_the_shipped_weights(data: Path) -> None:
    job = answer(data, "reembed", "--model", "builtin")
    still = lineup(data, "search", probe(data))
    activated = answer(data, "models", "activate", "builtin")

    assert (job["state"], job["embedded"], job["failed"]) == ("completed", 3, 0)
    assert still.exit_code == REFUSED  # look-ups change their model when it is activated
    assert (activated["entries"], activated["embedded"]) == (3, 3)
    nearest = neighbours(data)
    assert [round(each["cosine_similarity"], 5) for each in nearest][:1] == [1.0]
    assert len(nearest) == 3
    active = [model for model in answer(data, "models")["models"] if model["active"]]
    assert [model["name"] for model in active] == ["builtin"]
    assert active[0]["weights_sha256"] == MODELS["builtin"].pinned[0].sha256
    assert answer(data, "ingest", probe(data), "--corpus", "known")["skipped"] == 1
    assert answer(data, "fsck")["clean"]


def test_a_re_embedding_by_the_earlier_weights_is_not_resumed(data: Path) -> None:
    settings = Settings(data_dir=data, offline=True)
    with open_database(settings) as database:
        job = start_reembed(database, find_space(settings, database), "builtin")
    answer(data, "reembed", "--model", "builtin")
    answer(data, "models", "activate", "builtin")

    refused = lineup(data, "jobs", "resume", job.id)

    assert refused.exit_code == REFUSED
    assert "earlier weights" in refused.stderr


def test_a_new_data_folder_is_filled_by_the_shipped_weights(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(jpeg(0))
    answer(tmp_path / "data", "ingest", tmp_path / "0.jpg", "--corpus", "known")
    assert len(neighbours(tmp_path / "data")) == 1
