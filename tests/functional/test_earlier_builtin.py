"""A data directory that an earlier built-in model filled: it goes on with those weights until
another is activated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.lineup import load_embedder, make_space, open_database
from api.settings import Settings
from api.worker.running import start_reembed
from embedder.network.registry import MODELS
from index.truth.active import activate_model
from tests.functional.shelves import jpeg
from tests.functional.terminal import answer, lineup

EARLIER = ("builtin-1", "builtin-2")


@pytest.fixture(params=EARLIER)
def earlier(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def data(tmp_path: Path, earlier: str) -> Path:
    """As it was left when `builtin` was the name of the earlier weights."""
    (tmp_path / "in").mkdir()
    for seed in range(3):
        (tmp_path / "in" / f"{seed}.jpg").write_bytes(jpeg(seed))
    lineup(tmp_path / "data", "--model", earlier, "ingest", tmp_path / "in", "--corpus", "known")
    return tmp_path / "data"


@pytest.fixture
def activated(data: Path, earlier: str) -> Path:
    """The same, where the earlier weights were activated by the name that they had."""
    settings = Settings(data_dir=data, model=earlier)
    with open_database(settings) as database, database.write() as conn:
        activate_model(conn, "builtin", make_space(load_embedder(settings).info))
    return data


def nearest(data: Path, *options: object) -> Any:
    found = answer(data, *options, "search", data.parent / "in" / "0.jpg", "-k", 3)["lookups"][0][
        "lookup"
    ]
    assert [round(each["cosine_similarity"], 5) for each in found["similarity"]["neighbours"]][
        :1
    ] == [1.0]
    return found


def active(data: Path) -> list[str]:
    return [model["name"] for model in answer(data, "models")["models"] if model["active"]]


@pytest.mark.parametrize("name", ["data", "activated"])
@pytest.mark.parametrize("options", [(), ("--model", "builtin")])
def test_it_is_looked_up_by_the_weights_that_filled_it(
    request: pytest.FixtureRequest, earlier: str, name: str, options: tuple[str, ...]
) -> None:
    filled: Path = request.getfixturevalue(name)

    found = nearest(filled, *options)

    assert len(found["similarity"]["neighbours"]) == 3
    assert active(filled) == [earlier]
    assert {"builtin", *EARLIER} <= {model["name"] for model in answer(filled, "models")["models"]}


def test_what_is_added_later_is_found_beside_what_was_there(data: Path, earlier: str) -> None:
    (data.parent / "in" / "3.jpg").write_bytes(jpeg(3))

    assert answer(data, "ingest", data.parent / "in", "--corpus", "known")["added"] == 1

    assert len(nearest(data)["similarity"]["neighbours"]) == 3
    assert answer(data, "models")["models"][0]["weights_sha256"] == MODELS[earlier].pinned[0].sha256


def test_re_embedding_and_activating_the_name_moves_it_to_the_new_weights(activated: Path) -> None:
    before = nearest(activated)["method"]["embedding_space"]
    refused = lineup(activated, "models", "activate", "builtin")

    job = answer(activated, "reembed", "--model", "builtin")
    during = nearest(activated)["method"]["embedding_space"]
    answer(activated, "models", "activate", "builtin")

    assert refused.exit_code == 5
    assert (job["embedded"], job["failed"]) == (3, 0)
    assert during == before != nearest(activated)["method"]["embedding_space"]
    assert active(activated) == ["builtin"]


def test_a_re_embedding_begun_before_is_ended_with_the_weights_that_it_was_begun_with(
    activated: Path, earlier: str
) -> None:
    settings = Settings(data_dir=activated, model=earlier)
    with open_database(settings) as database:
        job = start_reembed(database, make_space(load_embedder(settings).info), "builtin")

    assert lineup(activated, "jobs", "resume", job.id).exit_code == 0

    assert answer(activated, "jobs", "show", job.id)["state"] == "completed"


def test_a_new_data_directory_begins_with_the_new_weights(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(jpeg(0))

    answer(tmp_path / "data", "ingest", tmp_path / "0.jpg", "--corpus", "known")

    assert active(tmp_path / "data") == ["builtin"]
