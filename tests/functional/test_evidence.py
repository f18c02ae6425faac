"""Calibrated look-ups as a person and a client meet them: commands and routes over real images and
a real model.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageFilter

from api.calibrations.request import CalibrationRequest
from api.http.app import create_app
from api.ingest.single import add_image
from api.jobs.catalogue import pause
from api.lineup import Lineup
from api.settings import Settings
from api.worker import upkeep
from api.worker.running import work_on
from api.worker.starting import cancel, reopen, start_calibration
from index.truth.corpora import CorpusKind, create_corpus
from index.truth.provenance import Provenance
from tests.clients import NO_BROWSER
from tests.functional.shelves import encoded, jpeg, picture
from tests.functional.terminal import answer, lineup

PER_KIND = 14  # more than the ten sources that a likelihood ratio needs


def made(seed: int, generator: str) -> bytes:
    """A "fake": one generator draws edges, the other contours, so that each has a trace of its
    own.
    """
    kinds = {"edges": ImageFilter.FIND_EDGES, "contour": ImageFilter.CONTOUR}
    return encoded(picture(1000 + seed).filter(kinds[generator]), "PNG")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with known fakes of two generators and known-real images, calibrated as they
    are and as JPEG.
    """
    folder = tmp_path_factory.mktemp("evidence")
    for generator in ("edges", "contour"):
        (folder / "fakes" / generator).mkdir(parents=True)
        for seed in range(PER_KIND):
            (folder / "fakes" / generator / f"{seed}.png").write_bytes(made(seed, generator))
    (folder / "reals").mkdir()
    for seed in range(PER_KIND):
        (folder / "reals" / f"{seed}.jpg").write_bytes(jpeg(seed))
    answer(
        folder / "data",
        "ingest",
        folder / "fakes",
        "--corpus",
        "fakes",
        "--pattern",
        "{generator}/*",
    )
    answer(folder / "data", "ingest", folder / "reals", "--corpus", "reals", "--kind", "known_real")
    return folder


@pytest.fixture(scope="module")
def calibration(shelf: Path) -> Any:
    """Measured on the images of this shelf alone."""
    return answer(
        shelf / "data", "calibrate", "--condition", "jpeg75", "--seed", "5", "--no-shipped"
    )


@pytest.fixture
def client(shelf: Path, calibration: Any) -> Iterator[TestClient]:
    assert calibration["id"] == 2  # the first one is provisional
    with TestClient(
        create_app(Settings(data_dir=shelf / "data", offline=True)),
        base_url="http://localhost",
        headers=NO_BROWSER,
    ) as opened:
        yield opened


def looked_up(shelf: Path, name: str, data: bytes, *options: object) -> Any:
    (shelf / name).write_bytes(data)
    return answer(shelf / "data", "search", shelf / name, *options)["lookups"][0]["lookup"]


def recalibrate_if_due(opened: Lineup) -> int | None:
    return upkeep.recalibrate_if_due(opened.database, opened.space)


def test_without_known_reals_or_known_fakes_nothing_is_calibrated(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg(1))
    answer(tmp_path / "data", "ingest", tmp_path / "in", "--corpus", "fakes")

    refused = lineup(tmp_path / "data", "calibrate")
    other_kind = lineup(tmp_path / "data", "calibrate", "--reference", "fakes")
    unknown = lineup(tmp_path / "data", "calibrate", "--against", "nowhere")

    assert (refused.exit_code, other_kind.exit_code, unknown.exit_code) == (5, 5, 5)
    assert "needs known fakes and known-real images" in refused.stderr
    assert lineup(tmp_path / "data", "calibrate", "--condition", "rain").exit_code == 4


def test_a_calibration_says_what_was_measured(shelf: Path, calibration: Any) -> None:
    assert (calibration["against"], calibration["reference"]) == (["fakes"], ["reals"])
    assert (calibration["corpus_size"], calibration["seed"]) == (2 * PER_KIND, 5)
    assert calibration["generators"] == {"edges": PER_KIND, "contour": PER_KIND}
    as_is, delivered, pooled = calibration["strata"]
    assert [each["condition"] for each in calibration["strata"]] == [
        "as_is",
        "jpeg75",
        "any_delivery",
    ]
    assert (pooled["images"], pooled["sources"], pooled["fakes"]) == (
        2 * PER_KIND,
        PER_KIND,
        4 * PER_KIND,
    )
    for stratum in (as_is, delivered):
        assert (stratum["images"], stratum["sources"], stratum["fakes"]) == (
            PER_KIND,
            PER_KIND,
            2 * PER_KIND,
        )
        assert stratum["one_sided"]["different_source_images"] == PER_KIND
        at = [each["cosine_similarity"] for each in stratum["thresholds"]]
        assert at == sorted(at)
    assert answer(shelf / "data", "calibrations", "show", 2) == calibration
    newest, first = answer(shelf / "data", "calibrations")["calibrations"]
    assert newest == calibration
    assert (first["provisional"], newest["provisional"]) == (True, False)


def test_a_lookup_states_rate_ratio_generators_and_both_sides(
    shelf: Path, calibration: Any
) -> None:
    lookup = looked_up(shelf, "new-contour.png", made(500, "contour"))

    similarity = lookup["similarity"]
    rate, ratio = similarity["false_match_rate"], similarity["likelihood_ratio"]
    assert 0 <= rate["low"] <= rate["estimate"] <= rate["high"] <= 1
    assert (rate["images"], rate["sources"]) == (PER_KIND, PER_KIND)
    assert (
        ratio["bounds"][0] <= ratio["low"] <= ratio["log10"] <= ratio["high"] <= ratio["bounds"][1]
    )
    assert similarity["nearest_similarity"] == max(
        each["cosine_similarity"] for each in similarity["neighbours"]
    )
    assert similarity["nearest_known_real"]["entry"]["kind"] == "known_real"
    assert {each["generator"] for each in similarity["attribution"]["shares"]} <= {
        "edges",
        "contour",
    }
    used = similarity["calibration"]
    assert (used["id"], used["applies"], used["entries_since"]) == (calibration["id"], "exact", 0)
    assert not used["supports_threshold"]  # fourteen photographs cannot speak of one in a hundred
    assert {each["topic"] for each in lookup["statements"]} >= {
        "rate",
        "ratio",
        "generator",
        "calibration",
    }
    printed = lineup(shelf / "data", "search", shelf / "new-contour.png").stdout
    for each in lookup["statements"]:
        assert each["words"] in printed


def test_a_rate_that_the_images_support_sets_the_threshold(shelf: Path, calibration: Any) -> None:
    similarity = looked_up(shelf, "new-edges.png", made(501, "edges"), "--false-match-rate", 0.3)[
        "similarity"
    ]

    assert similarity["calibration"]["supports_threshold"]
    assert f"by calibration {calibration['id']}" in similarity["threshold"]["source"]
    above = similarity["nearest_similarity"] >= similarity["threshold"]["cosine_similarity"]
    assert (similarity["verdict"] == "similar_to_known_fakes") <= above


def test_a_part_of_the_corpora_has_an_upper_bound(shelf: Path, calibration: Any) -> None:
    whole = looked_up(shelf, "part.png", made(502, "edges"))["similarity"]
    part = looked_up(shelf, "part.png", made(502, "edges"), "--generator", "contour")["similarity"]

    assert part["calibration"]["applies"] == "upper_bound"
    assert part["nearest_similarity"] <= whole["nearest_similarity"]
    assert part["false_match_rate"]["estimate"] >= whole["false_match_rate"]["estimate"]


def test_the_condition_of_the_probe_chooses_the_stratum(shelf: Path, calibration: Any) -> None:
    data = encoded(picture(77), "JPEG", quality=75)
    used = looked_up(shelf, "delivered.jpg", data)["similarity"]["calibration"]

    assert (used["probe_condition"], used["condition"]) == ("jpeg75", "jpeg75")


def test_a_flat_picture_is_inconclusive(shelf: Path, calibration: Any) -> None:
    flat = encoded(Image.new("RGB", (200, 200), (90, 90, 90)), "PNG")
    lookup = looked_up(shelf, "flat.png", flat, "--false-match-rate", 0.3)

    assert lookup["quality"]["issue"] == "flat"
    for judged in (lookup["similarity"], lookup["classifier"]):
        assert (judged["verdict"], judged["reason"]) == ("inconclusive", "poor_quality")


def test_stability_reports_the_range_over_re_encodings(shelf: Path, calibration: Any) -> None:
    lookup = looked_up(
        shelf, "stable.png", encoded(picture(78).resize((400, 400)), "PNG"), "--stability"
    )

    stability = lookup["stability"]
    logits = [reencoding["logit"] for reencoding in stability["reencodings"]]
    assert len(logits) == 10
    assert (stability["logit_low"], stability["logit_high"]) == (min(logits), max(logits))
    assert stability["similarity_low"] <= stability["similarity_high"] <= 1


def test_a_re_encoding_is_held_to_the_threshold_of_how_it_was_delivered(
    shelf: Path, calibration: Any
) -> None:
    """The very threshold that the re-encoded file gets as a probe of its own."""
    asked, image = ("--false-match-rate", 0.3), picture(78).resize((400, 400))
    lookup = looked_up(shelf, "stable.png", encoded(image, "PNG"), "--stability", *asked)
    by_name = {reencoding["name"]: reencoding for reencoding in lookup["stability"]["reencodings"]}
    as_file = looked_up(shelf, "stable.jpg", encoded(image, "JPEG", quality=75), *asked)[
        "similarity"
    ]["threshold"]

    own = lookup["similarity"]["threshold"]["cosine_similarity"]
    assert by_name["jpeg75"]["threshold"] == as_file["cosine_similarity"] != own
    assert by_name["jpeg95"]["threshold"] == by_name["cropped2"]["threshold"] == own
    above = lookup["similarity"]["nearest_similarity"] >= own
    for reencoding in by_name.values():
        flipped = (reencoding["nearest_similarity"] >= reencoding["threshold"]) != above
        assert ("similarity" in reencoding["flips"]) is flipped
    assert answer(shelf / "data", "replay", lookup["id"])["equal"]


def test_a_picture_that_is_known_fake_and_known_real_is_inconclusive(
    shelf: Path, calibration: Any
) -> None:
    copy = encoded(picture(3), "JPEG", quality=60)  # of a known-real image
    (shelf / "both").mkdir()
    (shelf / "both" / "fake.png").write_bytes(encoded(picture(3), "PNG"))
    answer(shelf / "data", "ingest", shelf / "both", "--corpus", "doubtful")
    lookup = looked_up(shelf, "copy.jpg", copy)
    elsewhere = looked_up(shelf, "copy.jpg", copy, "--corpus", "fakes")["similarity"]
    reals = looked_up(shelf, "copy.jpg", copy, "--kind", "known_real")["similarity"]
    lineup(shelf / "data", "corpora", "remove", "doubtful", "--yes")

    similarity, statements = (
        lookup["similarity"],
        {each["topic"]: each["words"] for each in lookup["statements"]},
    )
    assert (similarity["verdict"], similarity["reason"]) == ("inconclusive", "also_known_real")
    # Only a provisional one covers the new corpus.
    assert similarity["calibration"]["reference"] == ["photographs shipped with builtin"]
    assert similarity["uncalibrated_corpora"] == ["doubtful"]
    assert "calibration" in statements
    assert (elsewhere["calibration"]["id"], elsewhere["uncalibrated_corpora"]) == (
        calibration["id"],
        [],
    )
    assert reals["uncalibrated_corpora"] == []  # no known fake was asked for


def test_the_same_lookup_has_the_same_evidence_and_is_replayed_after_changes(
    client: TestClient, shelf: Path
) -> None:
    def ask(**query: Any) -> Any:
        sent = {"query": json.dumps({"k": 3, **query})}
        return client.post("/v1/lookups", files={"image": made(503, "contour")}, data=sent).json()

    first, again, stable = ask(), ask(), ask(stability=True)
    nearest = first["similarity"]["neighbours"][0]["entry"]["id"]
    client.delete(f"/v1/entries/{nearest}").raise_for_status()
    changed = ask()

    assert first["evidence_sha256"] == again["evidence_sha256"] != stable["evidence_sha256"]
    assert changed["evidence_sha256"] != first["evidence_sha256"]
    assert changed["similarity"]["calibration"]["entries_since"] == -1
    for lookup in (first, stable, changed):
        replayed = client.post(f"/v1/lookups/{lookup['id']}/replay").json()
        assert replayed["differences"] == []
        assert replayed["equal"]
        assert (
            replayed["evidence_sha256"] == replayed["replayed_sha256"] == lookup["evidence_sha256"]
        )
    assert client.post("/v1/lookups/nothing/replay").status_code == 404
    assert "equal" in lineup(shelf / "data", "replay", first["id"]).stdout


def distance_as_seen(database: sqlite3.Connection, lookup: Any, neighbour: Any) -> int | None:
    """The bits that differ from the whole probe as it is, which alone was compared then."""
    query = "SELECT pdq_hash, pdq_quality FROM images WHERE sha256 = ?"
    own, quality = database.execute(query, (neighbour["entry"]["sha256"],)).fetchone()
    if min(quality, lookup["probe"]["pdq_quality"]) < 50:
        return None
    return (int.from_bytes(own) ^ int(lookup["probe"]["pdq_hash"], 16)).bit_count()


def test_a_lookup_of_an_older_release_is_replayed_where_its_probe_is_known(
    client: TestClient, shelf: Path
) -> None:
    """Before schema 0004 an answer had none of the new fields, other words, and the probe's vector
    was not kept.
    """
    known = client.post("/v1/lookups", files={"image": made(7, "edges")}).json()
    unknown = client.post("/v1/lookups", files={"image": made(505, "edges")}).json()
    with closing(sqlite3.connect(shelf / "data" / "lineup.db")) as database, database:
        for lookup in (known, unknown):
            old = {
                name: lookup[name] for name in ("id", "created_at", "probe", "method", "timings")
            }
            for name in ("rules", "computed", "precision_check"):
                del old["method"][name]
            said = {
                name: lookup["classifier"][name]
                for name in ("verdict", "reason", "logit", "limits_source")
            }
            plain = {
                "probability": 0.5,
                "calibration": "uncalibrated",
            }
            old["classifier"] = said | plain | {"explanation": "in other words"}
            kept = ("verdict", "reason", "threshold", "neighbours", "searched", "filter")
            old["similarity"] = {name: lookup["similarity"][name] for name in kept} | {
                "explanation": "in other words"
            }
            for neighbour in old["similarity"]["neighbours"]:
                del neighbour["copy_evidence"]
                neighbour["hamming_distance"] = distance_as_seen(database, lookup, neighbour)
            values = (json.dumps(old), '{"k": 10}', lookup["id"])
            database.execute(
                "UPDATE lookups SET answer = ?, request = ?, probe_vector = NULL WHERE id = ?",
                values,
            )

    replayed = client.post(f"/v1/lookups/{known['id']}/replay").json()
    assert (replayed["equal"], replayed["differences"], replayed["evidence_sha256"]) == (
        True,
        [],
        None,
    )
    refused = client.post(f"/v1/lookups/{unknown['id']}/replay")
    assert (refused.status_code, refused.json()["type"]) == (
        409,
        "urn:lineup:problem:not-replayable",
    )


def test_a_corpus_that_outgrew_its_calibration_is_measured_again(
    shelf: Path, calibration: Any
) -> None:
    with Lineup.open(Settings(data_dir=shelf / "data", offline=True)) as opened:
        assert recalibrate_if_due(opened) is None
        for seed in range(600, 604):
            add_image(opened, made(seed, "edges"), "fakes", Provenance(generator="edges"))
        due = recalibrate_if_due(opened)
        assert recalibrate_if_due(opened) == due  # it is queued once
        assert due is not None
        pause(opened.database, due)
        assert recalibrate_if_due(opened) is None  # the operator who paused it decides
        cancel(opened.database, opened.settings.upload_dir, due)
        assert recalibrate_if_due(opened) is None
        asked = CalibrationRequest.model_validate(calibration["request"]["asked"])
        due = start_calibration(opened.database, opened.space, asked).id
        work_on(opened, reopen(opened.database, due))
        assert recalibrate_if_due(opened) is None
        with opened.database.write() as connection:
            create_corpus(connection, "one-more", CorpusKind.KNOWN_FAKE)
        assert recalibrate_if_due(opened) is None  # an empty one is nothing new
        add_image(opened, made(610, "edges"), "one-more", Provenance(generator="edges"))
        unseen = recalibrate_if_due(
            opened
        )  # however small it is: lookups in all corpora have no rate without it
        assert unseen not in (None, due)
        work_on(opened, reopen(opened.database, unseen))
        assert recalibrate_if_due(opened) is None
    newest = answer(shelf / "data", "calibrations")["calibrations"][0]
    assert newest["corpus_size"] >= 1.1 * calibration["corpus_size"]
    assert [stratum["condition"] for stratum in newest["strata"]] == [
        "as_is",
        "jpeg75",
        "any_delivery",
    ]


def test_a_server_calibrates_when_it_is_asked(client: TestClient) -> None:
    assert client.post("/v1/calibrations", json={"against": ["nowhere"]}).status_code == 404
    job = client.post(
        "/v1/calibrations",
        json={"conditions": ["as_is", "jpeg90"], "max_images": 12, "with_shipped": False},
    ).json()
    until = time.monotonic() + 60
    while (
        client.get(f"/v1/jobs/{job['id']}").json()["state"] != "completed"
        and time.monotonic() < until
    ):
        time.sleep(0.1)
    while (page := client.get("/v1/calibrations").json()["calibrations"])[0]["request"][
        "job"
    ] != job["id"]:
        assert time.monotonic() < until
        time.sleep(0.1)
    newest = page[0]

    assert [stratum["images"] for stratum in newest["strata"]] == [PER_KIND, 12, 24]
    assert client.get(f"/v1/calibrations/{newest['id']}").json() == newest
    assert client.get("/v1/calibrations/99").status_code == 404
    lookup = client.post("/v1/lookups", files={"image": made(504, "edges")}).json()
    assert lookup["similarity"]["calibration"]["id"] == newest["id"]
