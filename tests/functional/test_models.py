"""Another model: embedded by beside the first, activated and back, under lookups of a server that
goes on.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.errors import Overloaded
from api.http.app import create_app
from api.lineup import make_space, open_database
from api.model import load_embedder
from api.operations.activating import activate
from api.settings import Settings
from api.worker.current import CurrentLineup
from api.worker.starting import start_reembed
from embedder.errors import UnknownModel
from index.truth.active import activate_model
from tests.clients import NO_BROWSER
from tests.functional.shelves import jpeg, other_model, write_tar
from tests.functional.terminal import answer, lineup

IMAGES = 3


def test_another_model_embeds_beside_the_old_one_and_becomes_active_and_back(
    tmp_path: Path,
) -> None:
    data, model = tmp_path / "data", other_model(tmp_path / "other")
    for seed in range(3):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{seed}.jpg").write_bytes(jpeg(seed))
    answer(data, "ingest", tmp_path / "in", "--corpus", "known")
    (tmp_path / "in" / "1.jpg").unlink()
    (tmp_path / "in" / "2.jpg").write_bytes(jpeg(20))
    probe = tmp_path / "in" / "0.jpg"
    before = answer(data, "search", probe, "-k", 3)["lookups"][0]["lookup"]

    job = answer(data, "reembed", "--model", model, code=3)
    failures = [
        json.loads(line)
        for line in lineup(data, "jobs", "failures", job["id"], "--json").stdout.splitlines()
    ]
    during = answer(data, "search", probe, "-k", 3)["lookups"][0]["lookup"]
    refused = lineup(data, "models", "activate", model)
    activated = answer(data, "models", "activate", model, "--incomplete")
    after = answer(data, "search", probe, "-k", 3)["lookups"][0]["lookup"]
    lineup(data, "models", "activate", "builtin")
    back = answer(data, "search", probe, "-k", 3)["lookups"][0]["lookup"]

    assert (job["kind"], job["embedded"], job["failed"], job["state"]) == (
        "reembed",
        1,
        2,
        "completed",
    )
    assert {failure["reason"] for failure in failures} == {"image_gone"}
    assert all("gone, changed or cannot be read" in failure["detail"] for failure in failures)
    assert during["similarity"] == before["similarity"] == back["similarity"]
    assert refused.exit_code == 5
    assert "2 of 3 entries" in refused.stderr
    assert (activated["entries"], activated["embedded"]) == (3, 1)
    assert (
        after["method"]["embedding_space"]
        == activated["embedding_space"]
        != before["method"]["embedding_space"]
    )
    assert [each["entry"]["id"] for each in after["similarity"]["neighbours"]] == [1]
    assert answer(data, "fsck")["clean"]


def test_originals_that_are_kept_are_enough_to_embed_anew(tmp_path: Path) -> None:
    data, model = tmp_path / "data", other_model(tmp_path / "other")
    write_tar(tmp_path / "shelf.tar", 5)
    answer(data, "ingest", tmp_path / "shelf.tar", "--corpus", "known", "--keep", "original")
    (tmp_path / "shelf.tar").unlink()

    job = answer(data, "reembed", "--model", model)

    assert (job["embedded"], job["failed"]) == (5, 0)
    assert lineup(data, "models", "activate", model).exit_code == 0


@contextmanager
def serving(settings: Settings) -> Iterator[TestClient]:
    with TestClient(
        create_app(settings), base_url="http://localhost", headers=NO_BROWSER
    ) as client:
        yield client


def current(client: TestClient) -> CurrentLineup:
    return client.app.state.current


def look_up(client: TestClient, seed: int) -> Any:
    done = client.post("/v1/lookups", files={"image": jpeg(seed)})
    assert done.status_code == 201, done.text
    return done.json()


def fill(client: TestClient) -> None:
    client.post(
        "/v1/corpora", json={"name": "known", "kind": "known_fake", "keep": "original"}
    ).raise_for_status()
    for seed in range(IMAGES):
        client.post("/v1/corpora/known/entries", files={"image": jpeg(seed)}).raise_for_status()


def ended(client: TestClient, location: str) -> Any:
    deadline = time.monotonic() + 60
    while (job := client.get(location).json())["state"] in {"queued", "running"}:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return job


def test_a_server_follows_the_activated_model_under_lookups(tmp_path: Path) -> None:
    settings, model = (
        Settings(data_dir=tmp_path / "data", device="cpu"),
        other_model(tmp_path / "other"),
    )
    stop = threading.Event()
    with serving(settings) as client, ThreadPoolExecutor(3) as threads:
        fill(client)
        first = look_up(client, 0)["method"]["embedding_space"]
        assert answer(settings.data_dir, "reembed", "--model", model)["embedded"] == IMAGES

        def ask(seed: int) -> set[str]:
            """Every answer is of one model, whole: the very image at similarity 1."""
            spaces = set()
            while not stop.is_set():
                lookup = look_up(client, seed)
                nearest = lookup["similarity"]["neighbours"][0]
                assert (nearest["relation"], round(nearest["cosine_similarity"], 6)) == (
                    "identical",
                    1.0,
                )
                spaces.add(lookup["method"]["embedding_space"])
            return spaces

        asking = [threads.submit(ask, seed) for seed in range(IMAGES)]
        try:
            activated = activate(settings, str(model), incomplete=False)
            assert activated.in_force
            deadline = time.monotonic() + 30
            while look_up(client, 0)["method"]["embedding_space"] == first:
                assert time.monotonic() < deadline, "the server did not follow"
            there = client.get("/v1/models").json()["models"][0]
            back = client.post("/v1/models/builtin/activate").json()
            at_once = look_up(client, 0)["method"]["embedding_space"]
        finally:
            stop.set()

        assert there["embedding_space"] == activated.embedding_space
        assert (back["embedding_space"], back["embedded"], back["in_force"]) == (
            first,
            IMAGES,
            True,
        )
        assert at_once == first
        assert {space for each in asking for space in each.result()} == {
            first,
            activated.embedding_space,
        }


def test_what_a_request_began_with_stays_open_until_it_ends(tmp_path: Path) -> None:
    settings, model = (
        Settings(data_dir=tmp_path / "data", device="cpu"),
        other_model(tmp_path / "other"),
    )
    with serving(settings) as client:
        fill(client)
        with current(client).held() as before:
            activate(settings, str(model), incomplete=True)
            current(client).look()
            current(client).look()
            with current(client).held() as after:
                assert after.space != before.space
            assert before.embedder.info.name == "builtin"
            assert before.index.refresh() == IMAGES  # its database is open still
        current(client).look()
        with pytest.raises(Overloaded):
            before.batcher.embed(np.zeros((160, 160, 3), np.uint8))


def test_a_model_that_cannot_be_opened_leaves_the_one_before(tmp_path: Path) -> None:
    settings, model = (
        Settings(data_dir=tmp_path / "data", device="cpu"),
        other_model(tmp_path / "other"),
    )
    space = make_space(load_embedder(settings.model_copy(update={"model": str(model)})).info)
    with serving(settings) as client:
        fill(client)
        before = look_up(client, 1)["method"]["embedding_space"]
        with current(client).held() as opened, opened.database.write() as conn:
            activate_model(conn, str(tmp_path / "gone"), space)

        with pytest.raises(UnknownModel):
            current(client).look()

        assert look_up(client, 1)["method"]["embedding_space"] == before


def test_a_reembedding_asked_for_over_http_is_done_by_a_server_of_another_model(
    tmp_path: Path,
) -> None:
    model = other_model(tmp_path / "other")
    settings = Settings(data_dir=tmp_path / "data", device="cpu", model=str(model))
    with serving(settings) as client:
        fill(client)
        refused = client.post("/v1/models/builtin/activate")
        queued = client.post("/v1/models/builtin/reembed")
        job = ended(client, queued.headers["location"])
        activated = client.post("/v1/models/builtin/activate").json()

        assert (refused.status_code, refused.json()["type"]) == (
            409,
            "urn:lineup:problem:space-incomplete",
        )
        assert (queued.status_code, queued.json()["kind"], queued.json()["model"]) == (
            202,
            "reembed",
            "builtin",
        )
        assert (job["state"], job["embedded"], job["failed"]) == ("completed", IMAGES, 0)
        assert (activated["embedded"], activated["in_force"]) == (
            IMAGES,
            False,
        )  # this server was started with a model
        assert look_up(client, 0)["method"]["embedding_space"] != activated["embedding_space"]


@pytest.mark.parametrize("action", ["activate", "reembed"])
def test_a_client_opens_no_folder_of_the_server(tmp_path: Path, action: str) -> None:
    with serving(Settings(data_dir=tmp_path / "data", device="cpu")) as client:
        done = client.post(f"/v1/models/lineup-data/{action}")

    assert (done.status_code, done.json()["type"]) == (404, "urn:lineup:problem:no-named-model")


@pytest.mark.parametrize("command", [("jobs", "resume", 2), ("worker", "--once")])
def test_a_re_embedding_is_worked_on_with_its_own_model_wherever(
    tmp_path: Path, command: tuple[object, ...]
) -> None:
    data, model = tmp_path / "data", other_model(tmp_path / "other")
    write_tar(tmp_path / "shelf.tar", 5)
    answer(data, "ingest", tmp_path / "shelf.tar", "--corpus", "known", "--keep", "original")
    settings = Settings(data_dir=data, model=str(model))
    with open_database(settings) as database:
        start_reembed(database, make_space(load_embedder(settings).info), str(model))

    assert lineup(data, *command).exit_code == 0

    job = answer(data, "jobs", "show", 2)
    assert (job["state"], job["embedded"], job["failed"]) == ("completed", 5, 0)
