"""What the release with schema 0004 wrote must open: its database, index, backup and look-ups.

`tests/data/make_golden.py` made the files with that release, and says what is in them. A word that
has another name today stands in `WORDS_TODAY`. A later format gets golden files of its own.
"""

from __future__ import annotations

import json
import logging
import tarfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.http.app import create_app
from api.settings import Settings
from index.verdict import RULES
from tests.clients import NO_BROWSER
from tests.functional.shelves import jpeg
from tests.functional.terminal import answer, lineup

DATA = Path(__file__).parents[1] / "data"
EXPECTED = json.loads((DATA / "golden-0004.json").read_text())
LOOKUPS: dict[str, Any] = EXPECTED["lookups"]
# A word of that release: what it is called today.
WORDS_TODAY = {
    "unrelated": "below_threshold",
    "views": "reencodings",
    "authentic": "no_traces",
    "authentic_limit_reached": "no_traces_limit_reached",
    "authentic_logit": "no_traces_logit",
}
TERMS_TODAY = {
    "the limit for authentic": "the limit for no synthetic traces",
    "(authentic up to": "(no traces up to",
}
# Another build of torch, or another processor, rounds differently.
FORWARD_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, unpacked. The tests that share it add nothing to its corpora."""
    return unpack(tmp_path_factory.mktemp("golden"))


@pytest.fixture
def own_copy(tmp_path: Path) -> Path:
    return unpack(tmp_path)


def unpack(folder: Path) -> Path:
    with tarfile.open(DATA / "golden-0004.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    assert lineup(folder / "data", "init").exit_code == 0
    return folder


@pytest.fixture(scope="module")
def client(golden: Path) -> Iterator[TestClient]:
    yield from serve(Settings(data_dir=golden / "data", offline=True, server_works=False))


def serve(settings: Settings) -> Iterator[TestClient]:
    with TestClient(
        create_app(settings), base_url="http://localhost", headers=NO_BROWSER
    ) as opened:
        yield opened


def stored(golden: Path, name: str) -> Any:
    """A document as it was printed when the files were made."""
    return json.loads((golden / f"{name}.json").read_text())


def in_words_of_today(then: str) -> str:
    for earlier, term in TERMS_TODAY.items():
        then = then.replace(earlier, term)
    return WORDS_TODAY.get(then, then)


def differences(then: Any, now: Any, place: str = "") -> list[str]:
    """Where what was said then is not said now. A field that came later is no difference."""
    if isinstance(then, dict) and isinstance(now, dict):
        then = {WORDS_TODAY.get(key, key): value for key, value in then.items()}
        then = without_location(place, then)
        gone = [f"{place}/{key} is gone" for key in then if key not in now]
        pairs = [(key, then[key], now[key]) for key in then if key in now]
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        gone, pairs = [], list(zip(range(len(then)), then, now, strict=True))
    else:
        expected = in_words_of_today(then) if isinstance(then, str) else then
        return [] if expected == now else [f"{place}: {expected!r} then, {now!r} now"]
    within = (differences(one, other, f"{place}/{key}") for key, one, other in pairs)
    return [*gone, *chain.from_iterable(within)]


def without_location(place: str, then: dict[str, Any]) -> dict[str, Any]:
    """Leave out where an image lay on the machine of then: a client does not read that any more."""
    is_provenance = place.endswith("/entry/provenance")
    return {key: value for key, value in then.items() if not (is_provenance and key == "location")}


def check_against_expected(name: str, lookup: Any) -> None:
    """Compare a look-up with the values in git, which no release has written into a database."""
    expected, similarity = LOOKUPS[name], lookup["similarity"]
    classifier, threshold = lookup["classifier"], similarity["threshold"]
    assert [similarity["verdict"], similarity["reason"]] == expected["similarity"]
    assert (similarity["calibration"] or {}).get("id") == expected["calibration"]
    assert threshold["cosine_similarity"] == pytest.approx(expected["threshold"], abs=1e-6)
    assert (classifier is None) == (expected["classifier"] is None)
    if classifier:
        *words, logit = expected["classifier"]
        assert [classifier["verdict"], classifier["reason"]] == [
            WORDS_TODAY.get(word, word) for word in words
        ]
        assert classifier["logit"] == pytest.approx(logit, abs=1e-4)
    neighbours = similarity["neighbours"]
    assert [[each["entry"]["id"], each["relation"]] for each in neighbours] == [
        [entry, WORDS_TODAY.get(relation, relation)]
        for entry, relation, _ in expected["neighbours"]
    ]
    assert [each["cosine_similarity"] for each in neighbours] == pytest.approx(
        [each[2] for each in expected["neighbours"]], abs=1e-6
    )


def test_the_files_hold_every_kind_of_answer() -> None:
    """The other tests would be empty if these were not among the look-ups."""
    relations = {relation for each in LOOKUPS.values() for _, relation, _ in each["neighbours"]}
    classified = {each["classifier"][0] for each in LOOKUPS.values() if each["classifier"]}
    assert relations == {"identical", "near_duplicate", "similar", "unrelated"}
    assert classified == {"synthetic", "authentic", "inconclusive"}
    assert {each["similarity"][0] for each in LOOKUPS.values()} == {
        "similar_to_known_fakes",
        "not_similar",
        "inconclusive",
    }
    assert {each["exact"] for each in LOOKUPS.values()} == {True, False}
    assert {each["calibration"] for each in LOOKUPS.values()} == {None, 1}


def test_fsck_finds_nothing_to_object_to(own_copy: Path) -> None:
    report = answer(own_copy / "data", "fsck")

    assert report["findings"] == []
    assert differences(EXPECTED["fsck"], report) == []


def test_corpora_entries_quarantine_and_jobs_are_there(golden: Path, client: TestClient) -> None:
    assert differences(EXPECTED["corpora"], answer(golden / "data", "corpora")["corpora"]) == []
    for corpus, ids in EXPECTED["entries"].items():
        page = client.get(f"/v1/corpora/{corpus}/entries", params={"limit": 100}).json()
        assert [entry["id"] for entry in page["entries"]] == ids
    for entry in EXPECTED["removed"]:
        assert client.get(f"/v1/entries/{entry}").status_code == 404
    quarantined = client.get("/v1/corpora/fakes/quarantine").json()["entries"]
    assert [[each["entry"]["id"], each["reason"]] for each in quarantined] == EXPECTED[
        "quarantined"
    ]
    counts = ("id", "kind", "state", "found", "added", "embedded", "skipped", "failed")
    jobs = answer(golden / "data", "jobs")["jobs"]
    assert [[job[name] for name in counts] for job in jobs] == EXPECTED["jobs"]
    failed = [item for item in EXPECTED["job_items"] if item[2] == "failed"]
    assert [item for job in (1, 2) for item in failures(golden, job)] == failed


def failures(golden: Path, job: int) -> list[list[Any]]:
    printed = lineup(golden / "data", "jobs", "failures", job, "--json").stdout.splitlines()
    items = [json.loads(line) for line in printed]
    return [[job, item["name"], item["outcome"], item["reason"]] for item in items]


@pytest.mark.parametrize("name", ["data", "codes"])
def test_the_snapshot_is_used_as_it_is(
    own_copy: Path, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEUP_INDEX_FLAT_LIMIT", "10" if name == "codes" else "20000")
    monkeypatch.setenv("LINEUP_INDEX_RECALL_TARGET", "0.5")
    expected = EXPECTED["indexes"][name]
    files = contents(own_copy / name / "index")
    database = f"sqlite:///{own_copy / 'data' / 'lineup.db'}"

    with caplog.at_level(logging.INFO, "index"):
        found = answer(own_copy / name, "--database-url", database, "index", "plan")["indexes"][0]

    assert (found["plan"], found["rows"], found["tail"]) == (expected["plan"], expected["rows"], 0)
    assert found["snapshot_generation"] == found["generation"] == expected["generation"]
    assert [record.message for record in caplog.records if record.levelno > logging.INFO] == []
    assert "of an earlier release" not in caplog.text
    assert contents(own_copy / name / "index") == files


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", LOOKUPS)
def test_a_stored_look_up_is_read_as_it_was_answered(
    golden: Path, client: TestClient, name: str
) -> None:
    read = client.get(f"/v1/lookups/{LOOKUPS[name]['id']}").json()

    assert differences(stored(golden / "answers", name), read) == []
    check_against_expected(name, read)
    assert read["evidence_sha256"] == LOOKUPS[name]["evidence_sha256"]
    assert (read["method"]["exact"], read["method"]["generation"]) == (
        LOOKUPS[name]["exact"],
        LOOKUPS[name]["generation"],
    )


def check_values(name: str, lookup: Any) -> None:
    """Compare what does not depend on rules: their order and the verdicts on them do."""
    similarities = {
        each["entry"]["id"]: each["cosine_similarity"]
        for each in lookup["similarity"]["neighbours"]
    }
    assert similarities == pytest.approx(
        {entry: similarity for entry, _, similarity in LOOKUPS[name]["neighbours"]}, abs=1e-6
    )


def check_replay(name: str, replayed: Any) -> None:
    """Compare a replay with the values in git, and its verdicts with those of then: rules 1."""
    expected, now = LOOKUPS[name], replayed["replayed"]
    assert (replayed["differences"], replayed["equal"], replayed["within"]) == ([], True, 0.0)
    assert replayed["generation"] == expected["generation"]
    assert replayed["replayed_sha256"] == expected["evidence_sha256"]  # with the words of then
    rules = replayed["rules"]
    assert (rules["then"], rules["now"]) == (1, RULES)
    then = rules["verdicts_then"]
    assert [then["similarity"], then["similarity_reason"]] == expected["similarity"]
    if expected["classifier"]:
        *words, logit = expected["classifier"]
        assert [then["classifier"], then["classifier_reason"]] == [
            in_words_of_today(word) for word in words
        ]
        assert now["classifier"]["logit"] == pytest.approx(logit, abs=1e-4)
    check_values(name, now)
    assert (now["similarity"]["calibration"] or {}).get("id") == expected["calibration"]
    digest = EXPECTED["digests"][str(expected["generation"])]
    assert now["method"]["index_digest"] == digest


@pytest.mark.parametrize("name", LOOKUPS)
def test_a_stored_look_up_is_replayed_with_the_same_values(client: TestClient, name: str) -> None:
    check_replay(name, client.post(f"/v1/lookups/{LOOKUPS[name]['id']}/replay").json())


@pytest.mark.parametrize(
    ("name", "probe"),
    [("after-additions", "new-fake.jpg"), ("near-duplicate", "near-duplicate.jpg")],
)
def test_the_probe_of_then_is_embedded_again(
    golden: Path, client: TestClient, name: str, probe: str
) -> None:
    image = (golden / "probes" / probe).read_bytes()

    replayed = client.post(f"/v1/lookups/{LOOKUPS[name]['id']}/replay", files={"image": image})

    check_replay(name, replayed.json())
    again = replayed.json()["reembedded"]
    assert again["equal_within"], again["words"]


def test_the_commands_show_and_replay_a_stored_look_up(golden: Path) -> None:
    lookup = LOOKUPS["stability"]

    shown = answer(golden / "data", "show", lookup["id"])
    replayed = answer(golden / "data", "replay", lookup["id"])

    assert differences(stored(golden / "answers", "stability"), shown) == []
    assert len(shown["stability"]["reencodings"]) == lookup["views"]
    assert (replayed["equal"], replayed["evidence_sha256"]) == (True, lookup["evidence_sha256"])


def test_a_known_image_is_looked_up_with_the_answer_of_then(
    golden: Path, client: TestClient
) -> None:
    then = stored(golden / "answers", "by-sha256")
    asked = {"sha256": then["probe"]["sha256"], "k": 5}

    found = client.post("/v1/lookups", json=asked)

    assert found.status_code == 201
    check_values("by-sha256", found.json())
    assert found.json()["method"]["index_digest"] == then["method"]["index_digest"]


@pytest.mark.parametrize(
    ("name", "probe"),
    [("after-additions", "new-fake.jpg"), ("near-duplicate", "near-duplicate.jpg")],
)
def test_an_image_is_embedded_into_the_space_of_then(
    golden: Path, client: TestClient, name: str, probe: str
) -> None:
    image = (golden / "probes" / probe).read_bytes()

    found = client.post("/v1/lookups", files={"image": image}).json()

    then = stored(golden / "answers", name)
    assert found["method"]["embedding_space"] == then["method"]["embedding_space"]
    first, *_ = found["similarity"]["neighbours"]
    entry, relation, similarity = LOOKUPS[name]["neighbours"][0]
    assert first["entry"]["id"] == entry
    if relation != "unrelated":  # that it is below a threshold takes a calibration today
        assert first["relation"] == relation
    assert first["cosine_similarity"] == pytest.approx(similarity, abs=FORWARD_TOLERANCE)
    bits = int(found["probe"]["pdq_hash"], 16) ^ int(then["probe"]["pdq_hash"], 16)
    assert bits.bit_count() <= 2  # of 256; another JPEG decoder may round differently


def test_the_calibration_is_shown_as_it_was_measured(golden: Path) -> None:
    then = stored(golden, "calibration")

    shown = answer(golden / "data", "calibrations", "show", EXPECTED["calibration"]["id"])
    listed = answer(golden / "data", "calibrations")["calibrations"]

    assert differences(then, shown) == []
    assert listed == [shown]
    for name in ("generation", "corpus_size"):
        assert shown[name] == EXPECTED["calibration"][name]


def test_work_goes_on_in_the_opened_folder(own_copy: Path) -> None:
    data, shown = own_copy / "data", own_copy / "probes" / "identical.png"
    new = own_copy / "new.jpg"
    new.write_bytes(jpeg(1234))
    highest = max(max(ids) for ids in EXPECTED["entries"].values())

    again = answer(data, "ingest", shown, "--corpus", "shown")
    added = answer(data, "ingest", new, "--corpus", "shown")
    released = lineup(data, "release", EXPECTED["quarantined"][0][0])

    assert (again["added"], again["skipped"]) == (0, 1)
    assert added["added"] == 1
    assert released.exit_code == 0
    found = answer(data, "search", new)["lookups"][0]["lookup"]
    first, *_ = found["similarity"]["neighbours"]
    assert (first["relation"], first["entry"]["id"]) == ("identical", highest + 1)
    assert found["similarity"]["calibration"]["entries_since"] != 0
    assert found["method"]["generation"] == EXPECTED["backup"]["generation"] + 2
    replayed = answer(data, "replay", LOOKUPS["calibrated"]["id"])
    assert replayed["equal"]
    assert answer(data, "fsck")["findings"] == []


def test_the_backup_is_verified(golden: Path) -> None:
    report = answer(golden / "data", "verify-backup", golden / "backup.tar")

    then = stored(golden, "verify-backup")
    for of_the_run in ("archive", "seconds"):
        del then[of_the_run]
    assert differences(then, report) == []
    assert differences(EXPECTED["backup"], report) == []


@pytest.mark.parametrize(
    "system", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
)
def test_the_backup_is_restored_and_answers_as_then(
    golden: Path, tmp_path: Path, system: str, request: pytest.FixtureRequest
) -> None:
    new_url: Callable[[], str] = request.getfixturevalue(f"new_{system}_url")
    data, url = tmp_path / "restored", new_url()
    options = ("--database-url", url)

    restored = answer(data, *options, "restore", golden / "backup.tar")

    assert restored["backup"]["generation"] == EXPECTED["backup"]["generation"]
    assert restored["thumbnails"] == EXPECTED["backup"]["thumbnails"]
    report = answer(data, *options, "fsck")
    assert (report["findings"], differences(EXPECTED["fsck"], report)) == ([], [])
    settings = Settings(data_dir=data, database_url=url, offline=True, server_works=False)
    for client in serve(settings):
        for name, expected in LOOKUPS.items():
            read = client.get(f"/v1/lookups/{expected['id']}").json()
            assert differences(stored(golden / "answers", name), read) == []
            check_replay(name, client.post(f"/v1/lookups/{expected['id']}/replay").json())


def test_the_check_itself_sees_what_is_gone_or_changed() -> None:
    then = {"a": [1, {"b": "x"}], "c": None}

    assert differences(then, {"a": [1, {"b": "x", "later": 2}], "c": None}) == []
    assert differences(then, {"a": [1, {"b": "y"}], "c": None}) == ["/a/1/b: 'x' then, 'y' now"]
    assert differences(then, {"a": [1, {"b": "x"}]}) == ["/c is gone"]
    assert len(differences(then, {"a": [1], "c": 0})) == 2
