"""Look-ups as a client meets them: the real application, database, index and built-in model."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageOps

from embedder.pictures.decode import decode
from index.truth.images import find_embedding
from tests.api.conftest import Picture
from tests.api.http.client import (
    UNSEEN,
    Json,
    ask,
    found_shas,
    look_up,
    neighbours,
    opened_lineup,
    problem,
)


@pytest.mark.parametrize(
    "embedding",
    [
        pytest.param([1.0], id="wrong dimension"),
        pytest.param([0.0] * 192, id="zero"),
        pytest.param([5.0] + [0.0] * 191, id="norm 5"),
    ],
)
def test_what_is_not_an_embedding_is_refused(
    client: TestClient, space: str, embedding: list[float]
) -> None:
    response = ask(client, embedding=embedding, embedding_space=space)

    assert problem(response) == (422, "invalid-embedding")


def test_an_embedding_of_a_foreign_space_is_refused(client: TestClient) -> None:
    response = ask(client, embedding=[1.0] + [0.0] * 191, embedding_space="0" * 64)

    assert problem(response) == (409, "foreign-embedding-space")


def test_an_unknown_sha256_is_not_found(client: TestClient) -> None:
    assert problem(ask(client, sha256="0" * 64)) == (404, "unknown-image")


def test_an_unknown_lookup_is_not_found(client: TestClient) -> None:
    assert problem(client.get("/v1/lookups/none")) == (404, "unknown-lookup")


def test_a_filter_that_names_an_unknown_corpus_is_not_found(
    client: TestClient, picture: Picture
) -> None:
    response = ask(client, sha256=sha256(picture(0)).hexdigest(), filter={"corpora": ["nowhere"]})

    assert problem(response) == (404, "unknown-corpus")


def test_more_generators_than_one_filter_may_name_are_refused(
    client: TestClient, picture: Picture
) -> None:
    many = {"generators": [f"g{number}" for number in range(1001)]}

    assert problem(ask(client, sha256=sha256(picture(0)).hexdigest(), filter=many)) == (
        422,
        "invalid-request",
    )


def test_a_number_that_no_float32_holds_is_refused(client: TestClient, space: str) -> None:
    response = ask(client, embedding=[1e300] + [0.0] * 191, embedding_space=space)

    assert problem(response) == (422, "invalid-embedding")


def test_a_truncated_image_is_called_truncated(client: TestClient, picture: Picture) -> None:
    whole = picture(0)

    response = client.post("/v1/lookups", files={"image": whole[: len(whole) // 2]})

    assert problem(response) == (422, "truncated-image")


def test_an_image_over_the_limit_is_too_large(client: TestClient, picture: Picture) -> None:
    response = client.post("/v1/lookups", files={"image": picture(0) + bytes(256 * 1024)})

    assert problem(response) == (413, "image-too-large")


def test_a_date_in_a_filter_without_a_zone_is_utc(client: TestClient, picture: Picture) -> None:
    look_up(client, picture(0), filter={"acquired_from": "2026-01-01T00:00:00"})


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59-12:00"])
def test_an_instant_that_utc_cannot_express_is_refused(
    client: TestClient, picture: Picture, instant: str
) -> None:
    response = ask(client, sha256=sha256(picture(0)).hexdigest(), filter={"acquired_from": instant})

    assert response.status_code == 422


def test_a_full_queue_answers_at_once_and_says_when_to_come_back(
    client: TestClient, picture: Picture
) -> None:
    admission = client.app.state.lanes.images
    with ExitStack() as places:
        for _ in range(admission.capacity):
            places.enter_context(admission.place())

        response = client.post("/v1/lookups", files={"image": picture(0)})

    assert problem(response) == (503, "overloaded")
    assert int(response.headers["retry-after"]) >= 1
    assert look_up(client, picture(0))


@pytest.mark.parametrize(
    "chosen",
    [
        {"a": [[1]]},
        {"a": "x"},
        {"": ["x"]},
        {"/a~": ["x"]},
        {"a": [2**60]},
        {str(i): [1] for i in range(17)},
    ],
)
def test_provenance_that_means_nothing_is_refused(
    client: TestClient, picture: Picture, chosen: Json
) -> None:
    response = ask(client, sha256=sha256(picture(0)).hexdigest(), filter={"provenance": chosen})

    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("chosen", "seeds"),
    [
        ({}, {0, 1, 2, 3}),
        ({"kind": "known_real"}, {4}),
        ({"kind": None}, {0, 1, 2, 3, 4}),
        ({"corpora": ["swaps"]}, {3}),
        ({"corpora": []}, set()),
        ({"generators": ["sdxl"]}, {0, 1}),
        ({"labels": ["face"]}, {0, 2, 3}),
        ({"generators": ["flux"], "corpora": ["diffusion"], "labels": ["face", "street"]}, {2}),
        ({"provenance": {"case": ["a"]}}, {0, 1}),
        ({"provenance": {"/camera/lens": [50, 85], "case": ["a", "b"]}}, {1}),
        ({"provenance": {"case": [True]}}, set()),
    ],
    ids=str,
)
def test_a_filter_chooses_what_is_searched(
    client: TestClient, picture: Picture, chosen: Json, seeds: set[int]
) -> None:
    answer = look_up(client, picture(UNSEEN), filter=chosen)

    assert found_shas(answer) == {sha256(picture(seed)).hexdigest() for seed in seeds}
    assert answer["similarity"]["searched"] == len(seeds)


def test_k_neighbours_come_back_nearest_first(client: TestClient, picture: Picture) -> None:
    everything = neighbours(look_up(client, picture(UNSEEN)))

    nearest = look_up(client, picture(UNSEEN), k=2)

    assert neighbours(nearest) == everything[:2]
    assert [each["rank"] for each in nearest["similarity"]["neighbours"]] == [1, 2]


def test_the_identical_image_is_first_with_similarity_one(
    client: TestClient, picture: Picture
) -> None:
    first = look_up(client, picture(2))["similarity"]["neighbours"][0]

    assert first["entry"]["sha256"] == sha256(picture(2)).hexdigest()
    assert f"{first['cosine_similarity']:.3f}" == "1.000"
    assert first["relation"] == "identical"


def test_an_image_and_the_embedding_that_the_client_computed_have_the_same_neighbours(
    client: TestClient, space: str, picture: Picture
) -> None:
    model = opened_lineup(client).embedder
    vector = model.embed([decode(picture(UNSEEN))]).vectors[0]

    by_image = look_up(client, picture(UNSEEN))
    by_embedding = ask(client, embedding=vector.tolist(), embedding_space=space).json()

    assert (by_image["probe"]["embedding"], by_embedding["probe"]["embedding"]) == (
        "computed",
        "sent",
    )
    assert neighbours(by_image) == neighbours(by_embedding)
    assert by_embedding["classifier"] is None


def test_image_embedding_and_sha256_have_the_same_neighbours(
    client: TestClient, space: str, picture: Picture
) -> None:
    lineup, sha = opened_lineup(client), sha256(picture(1)).hexdigest()
    with lineup.database.read() as connection:
        vector = find_embedding(connection, lineup.space, sha).vector.tolist()

    by_image = look_up(client, picture(1))
    by_sha256 = ask(client, sha256=sha).json()
    by_embedding = ask(client, embedding=vector, embedding_space=space).json()
    by_both = ask(client, embedding=vector, embedding_space=space, sha256=sha).json()

    assert (
        neighbours(by_image)
        == neighbours(by_sha256)
        == neighbours(by_embedding)
        == neighbours(by_both)
    )
    assert len(neighbours(by_image)) == 4


def resized(data: bytes, side: int) -> bytes:
    return as_png(Image.open(BytesIO(data)).resize((side, side), Image.Resampling.LANCZOS))


def as_png(image: Image.Image) -> bytes:
    encoded = BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()


def test_an_image_too_small_for_the_model_is_looked_up_without_an_embedding(
    client: TestClient, picture: Picture
) -> None:
    answer = look_up(client, resized(picture(0), 150))

    assert (answer["probe"]["embedding"], answer["classifier"]) == ("none", None)
    assert answer["similarity"]["verdict"] == "similar_to_known_fakes"
    first = answer["similarity"]["neighbours"][0]
    assert (first["relation"], first["cosine_similarity"]) == ("near_duplicate", None)
    assert client.get(f"/v1/lookups/{answer['id']}").json() == answer
    assert client.post(f"/v1/lookups/{answer['id']}/replay").json()["equal"]

    unknown = look_up(client, resized(picture(UNSEEN), 150))["similarity"]
    assert (unknown["verdict"], unknown["reason"]) == ("inconclusive", "poor_quality")


def test_an_image_that_no_hash_is_made_of_is_still_too_small(
    client: TestClient, picture: Picture
) -> None:
    response = client.post("/v1/lookups", files={"image": resized(picture(0), 16)})

    assert problem(response) == (422, "image-too-small")


def test_hashes_of_views_are_compared_beside_an_embedding(
    client: TestClient, space: str, picture: Picture
) -> None:
    mirrored = as_png(ImageOps.mirror(Image.open(BytesIO(picture(0)))))
    known, seen = look_up(client, picture(0))["probe"], look_up(client, mirrored)["probe"]
    request = {
        "embedding": [1.0] + [0.0] * 191,
        "embedding_space": space,
        "pdq_hash": seen["pdq_hash"],
        "pdq_quality": seen["pdq_quality"],
    }
    view = {"symmetry": "mirrored", "pdq_hash": known["pdq_hash"], "pdq_quality": 100}

    answer = ask(client, **request, view_hashes=[view]).json()

    first = answer["similarity"]["neighbours"][0]
    assert first["relation"] == "near_duplicate"
    assert first["copy_evidence"]["symmetry"] == "mirrored"
    assert first["copy_evidence"]["hamming_distance"] == first["hamming_distance"] == 0
    assert answer["similarity"]["reason"] == "near_duplicate_image"
    flat = {"left": 0.5, "top": 0, "right": 0.5, "bottom": 1}
    for broken in ({**view, "part": flat}, {**view, "pdq_hash": "0f"}, {**view, "symmetry": "x"}):
        assert ask(client, **request, view_hashes=[broken]).status_code == 422


def test_a_lookup_is_read_again_as_it_was_answered(client: TestClient, picture: Picture) -> None:
    created = client.post("/v1/lookups", files={"image": picture(0)})

    read = client.get(created.headers["location"])

    assert read.json() == created.json()


def make_embedding(seed: int) -> list[float]:
    row = np.random.default_rng(seed).standard_normal(192)
    return (row / np.linalg.norm(row)).tolist()


def ask_together(client: TestClient, requests: list[Json]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(lambda each: ask(client, **each), requests))


def test_look_ups_at_the_same_time_are_each_answered_as_alone(
    client: TestClient, space: str
) -> None:
    requests: list[Json] = [
        {"embedding": make_embedding(seed), "embedding_space": space} for seed in range(3)
    ]
    alone = [ask(client, **each).json()["evidence_sha256"] for each in requests]

    for _ in range(5):
        *answered, refused = ask_together(client, [*requests, {"sha256": "0" * 64}])

        assert problem(refused) == (404, "unknown-image")
        assert [each.json()["evidence_sha256"] for each in answered] == alone
        for each in answered:
            assert client.get(each.headers["location"]).json() == each.json()


@pytest.mark.postgres
def test_the_same_lookups_work_over_postgresql(
    client: TestClient,
    open_filled: Callable[..., AbstractContextManager[TestClient]],
    new_postgresql_url: Callable[[], str],
    picture: Picture,
    space: str,
    tmp_path: Path,
) -> None:
    queries: list[Json] = [
        {},
        {"k": 2},
        {"filter": {"kind": None, "labels": ["face"]}},
        {"filter": {"corpora": []}},
    ]

    with open_filled(tmp_path, new_postgresql_url()) as postgres:
        answers = [
            look_up(postgres, picture(seed), **query) for query in queries for seed in (0, UNSEEN)
        ]
        again = postgres.get(f"/v1/lookups/{answers[0]['id']}").json()
        embedded = {"embedding": make_embedding(0), "embedding_space": space}
        together = ask_together(postgres, [embedded] * 3)
        for each in together:
            assert postgres.get(each.headers["location"]).json() == each.json()

    expected = [
        look_up(client, picture(seed), **query) for query in queries for seed in (0, UNSEEN)
    ]
    assert [neighbours(answer) for answer in answers] == [neighbours(answer) for answer in expected]
    assert again == answers[0]
