"""The HTTP API as a client meets it: the real application, database, index and built-in model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.lineup import Lineup
from embedder.pictures.decode import decode
from index.truth.images import find_embedding

UNSEEN = 9  # the seed of a picture that no corpus holds
CHUNK = bytes(64 * 1024)
CHUNKS = 100  # five times what the body may hold
FORM_BEGINNING = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'

Picture = Callable[[int], bytes]
Json = dict[str, Any]


def opened_lineup(client: TestClient) -> Lineup:
    with client.app.state.current.held() as lineup:
        return lineup


def ask(client: TestClient, **request: Any) -> httpx.Response:
    return client.post(
        "/v1/lookups", content=json.dumps(request), headers={"content-type": "application/json"}
    )


def look_up(client: TestClient, image: bytes, **query: Any) -> Json:
    done = client.post("/v1/lookups", files={"image": image}, data={"query": json.dumps(query)})
    assert done.status_code == 201, done.text
    return done.json()


def neighbours(answer: Json) -> list[tuple[str, float]]:
    found = answer["similarity"]["neighbours"]
    return [
        (each["entry"]["sha256"], pytest.approx(each["cosine_similarity"], abs=1e-5))
        for each in found
    ]


def found_shas(answer: Json) -> set[str]:
    return {each["entry"]["sha256"] for each in answer["similarity"]["neighbours"]}


def problem(response: httpx.Response) -> tuple[int, str]:
    """The status and the last word of the type, once the body is known to be a problem of RFC
    9457.
    """
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == response.status_code
    assert body["title"]
    return response.status_code, body["type"].rpartition(":")[2]


@pytest.fixture
def corpus(client: TestClient) -> Iterator[str]:
    """The address of an empty corpus of known reals, which lookups leave out by default."""
    address = client.post("/v1/corpora", json={"name": "own", "kind": "known_real"}).headers[
        "location"
    ]
    yield address
    client.delete(address)


@pytest.fixture(scope="module")
def space(client: TestClient) -> str:
    return client.get("/v1/models").json()["models"][0]["embedding_space"]


@pytest.mark.parametrize(
    "embedding",
    [
        pytest.param([1.0], id="wrong dimension"),
        pytest.param([float("nan")] + [0.0] * 191, id="NaN"),
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
    admission = client.app.state.admission
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


def test_a_lookup_is_read_again_as_it_was_answered(client: TestClient, picture: Picture) -> None:
    created = client.post("/v1/lookups", files={"image": picture(0)})

    read = client.get(created.headers["location"])

    assert read.json() == created.json()


@pytest.mark.postgres
def test_the_same_lookups_work_over_postgresql(
    client: TestClient,
    open_filled: Callable[..., AbstractContextManager[TestClient]],
    new_postgresql_url: Callable[[], str],
    picture: Picture,
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

    expected = [
        look_up(client, picture(seed), **query) for query in queries for seed in (0, UNSEEN)
    ]
    assert [neighbours(answer) for answer in answers] == [neighbours(answer) for answer in expected]
    assert again == answers[0]


def test_a_corpus_that_exists_is_not_created_again(client: TestClient) -> None:
    assert problem(client.post("/v1/corpora", json={"name": "camera"})) == (409, "corpus-exists")


def test_an_image_for_an_unknown_corpus_is_refused(client: TestClient, picture: Picture) -> None:
    response = client.post("/v1/corpora/nowhere/entries", files={"image": picture(0)})

    assert problem(response) == (404, "unknown-corpus")


@pytest.mark.parametrize("cursor", ["bad!", "_w"])
def test_a_foreign_cursor_is_refused(client: TestClient, cursor: str) -> None:
    assert problem(client.get("/v1/corpora", params={"cursor": cursor})) == (422, "invalid-request")


def test_a_cursor_that_is_not_ascii_is_refused(client: TestClient) -> None:
    assert problem(client.get("/v1/corpora", params={"cursor": "é"})) == (422, "invalid-request")


def test_corpora_are_listed_by_name_a_page_at_a_time(client: TestClient) -> None:
    first = client.get("/v1/corpora", params={"limit": 2}).json()

    second = client.get("/v1/corpora", params={"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [corpus["name"] for corpus in first["corpora"]] == ["camera", "diffusion"]
    assert [corpus["name"] for corpus in second["corpora"]] == ["swaps"]
    assert second["next_cursor"] is None


def test_a_corpus_is_created_read_and_removed(client: TestClient) -> None:
    created = client.post("/v1/corpora", json={"name": "short-lived", "description": "for a test"})
    address = created.headers["location"]

    read = client.get(address).json()
    removed = client.delete(address)

    assert (created.status_code, removed.status_code) == (201, 204)
    assert read == created.json()
    assert (read["kind"], read["entry_count"]) == ("known_fake", 0)
    assert problem(client.get(address)) == (404, "unknown-corpus")


def test_entries_are_listed_in_the_order_of_their_ids_a_page_at_a_time(
    client: TestClient, picture: Picture
) -> None:
    address = "/v1/corpora/diffusion/entries"
    first = client.get(address, params={"limit": 2}).json()

    second = client.get(address, params={"limit": 2, "cursor": first["next_cursor"]}).json()

    listed = [entry["sha256"] for entry in first["entries"] + second["entries"]]
    assert listed == [sha256(picture(seed)).hexdigest() for seed in (0, 1, 2)]
    assert second["next_cursor"] is None


def test_the_same_image_is_added_once(client: TestClient, corpus: str, picture: Picture) -> None:
    first = client.post(f"{corpus}/entries", files={"image": picture(5)})
    second = client.post(f"{corpus}/entries", files={"image": picture(5)})

    assert (first.status_code, first.json()["status"]) == (201, "added")
    assert (second.status_code, second.json()["status"]) == (200, "skipped")
    assert second.json()["entry"] == first.json()["entry"]
    assert client.get(corpus).json()["entry_count"] == 1


def test_an_image_of_another_corpus_is_linked(
    client: TestClient, corpus: str, picture: Picture
) -> None:
    added = client.post(f"{corpus}/entries", files={"image": picture(0)})

    assert (added.status_code, added.json()["status"]) == (201, "linked")


@pytest.mark.parametrize(
    "acquired_at", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05", "2026-01-02T05:04:05+02:00"]
)
def test_an_entry_keeps_what_was_told_of_it(
    client: TestClient, corpus: str, picture: Picture, acquired_at: str
) -> None:
    told = {"generator": "sdxl", "label": "face", "licence": "CC0", "source": "a colleague"}
    form = {**told, "acquired_at": acquired_at, "provenance": '{"case": 114}'}

    added = client.post(f"{corpus}/entries", files={"image": picture(5)}, data=form)

    entry = client.get(added.headers["location"]).json()
    assert {key: entry[key] for key in told} == told
    assert entry["acquired_at"] == "2026-01-02T03:04:05Z"
    assert entry["provenance"] == {"case": 114}


def test_an_image_that_is_added_again_after_its_removal_has_a_thumbnail(
    client: TestClient, corpus: str, picture: Picture
) -> None:
    client.delete(client.post(f"{corpus}/entries", files={"image": picture(7)}).headers["location"])

    address = client.post(f"{corpus}/entries", files={"image": picture(7)}).headers["location"]

    assert client.get(f"{address}/thumbnail").status_code == 200


def test_a_removed_entry_is_gone_from_every_answer(
    client: TestClient, corpus: str, picture: Picture
) -> None:
    address = client.post(f"{corpus}/entries", files={"image": picture(6)}).headers["location"]
    own = {"filter": {"kind": None, "corpora": ["own"]}}
    before = look_up(client, picture(6), **own)
    thumbnail = client.get(f"{address}/thumbnail")

    removed = client.delete(address)

    assert removed.status_code == 204
    assert thumbnail.headers["content-type"] == "image/webp"
    assert len(neighbours(before)) == 1
    assert neighbours(look_up(client, picture(6), **own)) == []
    assert problem(client.get(address)) == (404, "unknown-entry")
    assert problem(client.get(f"{address}/thumbnail")) == (404, "unknown-entry")


def send_chunks(
    client: TestClient, path: str, headers: dict[str, str], beginning: bytes = b""
) -> tuple[httpx.Response, int]:
    """Send a body piece by piece; the answer, and how many pieces were taken before it."""
    taken = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal taken
        yield beginning
        for _ in range(CHUNKS):
            taken += 1
            yield CHUNK

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as streaming:
            return await streaming.post(path, content=chunks(), headers=headers)

    return asyncio.run(post()), taken


def test_a_body_that_announces_too_much_is_refused_unread(client: TestClient) -> None:
    headers = {"content-type": "application/json", "content-length": str(CHUNKS * len(CHUNK))}

    response, taken = send_chunks(client, "/v1/lookups", headers)

    assert problem(response) == (413, "body-too-large")
    assert taken == 0


@pytest.mark.parametrize(
    ("path", "media_type", "beginning"),
    [
        ("/v1/lookups", "application/json", b""),
        ("/v1/lookups", "multipart/form-data; boundary=x", FORM_BEGINNING),
        ("/v1/corpora/camera/entries", "multipart/form-data; boundary=x", FORM_BEGINNING),
    ],
)
def test_a_body_that_streams_too_much_is_refused_before_its_end(
    client: TestClient, path: str, media_type: str, beginning: bytes
) -> None:
    response, taken = send_chunks(client, path, {"content-type": media_type}, beginning)

    assert problem(response) == (413, "body-too-large")
    assert taken <= CHUNKS // 4


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", ""])
def test_an_untrusted_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/livez", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost", "localhost:8787", "127.0.0.1:8787", "[::1]:8787"])
def test_loopback_hosts_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/livez", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_change_asked_for_by_another_site_is_refused(client: TestClient, site: str) -> None:
    response = client.post(
        "/v1/corpora", json={"name": "planted"}, headers={"sec-fetch-site": site}
    )

    assert problem(response) == (403, "cross-site-request")
    assert client.get("/v1/corpora/planted").status_code == 404


@pytest.mark.parametrize("path", ["/", "/livez", "/v1/models", "/static/lineup.js", "/nowhere"])
def test_every_answer_carries_the_headers_that_bind_a_browser(
    client: TestClient, path: str
) -> None:
    headers = client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(
        headers["content-security-policy"].split("; ")
    )


@pytest.mark.parametrize(
    ("status", "method", "path", "sent"),
    [
        (404, "GET", "/nowhere", {}),
        (404, "GET", "/static/nowhere.js", {}),
        (404, "GET", "/v1/entries/999999", {}),
        (405, "PUT", "/v1/lookups", {}),
        (
            415,
            "POST",
            "/v1/lookups",
            {"content": b"text", "headers": {"content-type": "text/plain"}},
        ),
        (415, "POST", "/v1/lookups", {"content": b"no media type"}),
        (415, "POST", "/v1/lookups", {"files": {"image": b"not an image"}}),
        (422, "POST", "/v1/lookups", {"json": {}}),
        (422, "POST", "/v1/lookups", {"json": {"sha256": "0" * 64, "k": 0}}),
        (422, "POST", "/v1/lookups", {"files": {"other": b""}}),
        (422, "POST", "/v1/corpora", {"json": {"name": "Not a name"}}),
        (422, "POST", "/v1/corpora", {"json": {"name": "fine", "misspelt": 1}}),
        (422, "GET", "/v1/corpora?limit=0", {}),
        (422, "GET", "/v1/entries/0", {}),
    ],
)
def test_every_error_is_a_problem(
    client: TestClient, status: int, method: str, path: str, sent: Json
) -> None:
    assert problem(client.request(method, path, **sent))[0] == status


def described_by(schema: Json, schemas: Json) -> bool:
    """Whether a field has a description of its own or is one object that has."""
    referred = schema.get("$ref", "").rpartition("/")[2]
    return bool(schema.get("description") or schemas.get(referred, {}).get("description"))


def test_every_operation_has_a_summary_and_a_description(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    operations = [operation for path in paths.values() for operation in path.values()]

    assert [
        each["operationId"]
        for each in operations
        if not (each.get("summary") and each.get("description"))
    ] == []


def test_every_field_of_a_model_has_a_description(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    ours = {
        name: schema for name, schema in schemas.items() if not name.endswith("ValidationError")
    }

    fields = [
        (model, *field)
        for model, schema in ours.items()
        for field in schema.get("properties", {}).items()
    ]

    assert [
        f"{model}.{name}" for model, name, schema in fields if not described_by(schema, schemas)
    ] == []


def test_the_process_is_alive(client: TestClient) -> None:
    response = client.get("/livez")

    assert (response.status_code, response.json()) == (200, {"status": "alive"})


def test_the_service_is_ready_with_the_generation_that_lookups_see(
    client: TestClient, picture: Picture
) -> None:
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.json()["checks"] == {"model": "ok", "database": "ok", "index": "ok"}
    assert response.json()["generation"] == look_up(client, picture(0))["method"]["generation"]


def test_the_active_model_comes_first(client: TestClient) -> None:
    first = client.get("/v1/models").json()["models"][0]

    assert (first["name"], first["active"], first["dimension"]) == ("builtin", True, 192)
