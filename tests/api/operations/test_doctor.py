"""What the doctor finds: parts that work, what is missing, and what is broken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from api.calibrations.needs import Need
from api.operations.checks_json import DoctorAnswer, DoctorFinding, Level
from api.operations.doctor import examine, examine_data, examine_installation
from api.settings import Settings
from embedder.network.panel import PanelCheck
from index.truth.databases.database import Database
from index.truth.jobs.job import fail_job
from tests.api.modelless import SPACE, queue_job
from tests.api.modelless import fill as fill_database
from tests.api.small_lineup import INFO, TilesModel, fill, open_small


def by_topic(answer: DoctorAnswer, topic: str) -> list[DoctorFinding]:
    return [each for each in answer.findings if each.topic == topic]


def test_a_missing_database_is_broken_and_says_what_to_do(tmp_path: Path) -> None:
    answer = examine_installation(Settings(data_dir=tmp_path / "none", offline=True))

    assert not answer.healthy
    (database,) = by_topic(answer, "database")
    assert database.level is Level.BROKEN
    assert "lineup init" in database.words


def test_a_model_that_cannot_be_loaded_is_broken(tmp_path: Path) -> None:
    Database.open(Settings(data_dir=tmp_path).url, migrate=True).close()
    settings = Settings(data_dir=tmp_path, offline=True, model="community-forensics")

    answer = examine_installation(settings)

    assert not answer.healthy
    assert [each.level for each in by_topic(answer, "database")] == [Level.OK]
    (model,) = by_topic(answer, "model")
    assert (model.level, model.next_step) == (Level.BROKEN, "`lineup models`")


def test_an_empty_installation_is_healthy_and_gets_advice(tmp_path: Path) -> None:
    Database.open(Settings(data_dir=tmp_path).url, migrate=True).close()

    answer = examine_installation(Settings(data_dir=tmp_path, offline=True))

    assert answer.healthy
    topics = [(each.topic, each.level.value) for each in answer.findings]
    assert topics == [
        ("database", "ok"),
        ("model", "ok"),
        ("model", "advice"),  # not for casework
        ("index", "ok"),
        ("corpora", "advice"),
        ("copies", "ok"),  # tests run without a copy descriptor
        ("decoding", "advice"),  # tests decode in threads
        ("disk", "ok"),
    ]
    (corpora,) = by_topic(answer, "corpora")
    assert corpora.next_step == "`lineup ingest FOLDER --corpus NAME`"


def test_a_descriptor_that_is_named_and_cannot_be_loaded_is_broken(tmp_path: Path) -> None:
    with open_small(tmp_path, copy_descriptor="nowhere.onnx") as lineup:
        (copies,) = by_topic(examine(lineup), "copies")
    assert copies.level is Level.BROKEN
    assert "nowhere.onnx" in copies.words


def test_an_opened_installation_is_examined_by_the_same_rules(tmp_path: Path) -> None:
    check = PanelCheck("float16", "cuda", 31, 0.99987, 0.021, accepted=True)
    model = TilesModel(replace(INFO, caution="Not for casework."))
    model.precision, model.device, model.precision_check = "float16", "cuda", check
    with open_small(tmp_path, model) as lineup:
        fill(lineup)
        lineup.index.refresh()
        answer = examine(lineup)

    assert answer.healthy
    works, caution, references = by_topic(answer, "model")
    assert works.words.startswith("tiles, float16 on cuda: on 31 pictures the cosine with float32")
    assert "0.99987" in works.words
    assert "0.021" in works.words
    assert (caution.level, caution.words) == (Level.ADVICE, "Not for casework.")
    assert "no photographs came with this model" in references.words
    assert [each.words for each in by_topic(answer, "corpora")] == [
        "8 entries of kind known_fake: fakes (8)",
        "4 entries of kind known_real: photographs (4)",
    ]
    (calibration,) = by_topic(answer, "calibration")
    assert calibration.calibration is not None
    assert calibration.calibration.need is Need.MISSING
    assert calibration.next_step is not None
    assert calibration.next_step.endswith("then `lineup calibrate`")


def examined(database: Database) -> list[DoctorFinding]:
    return list(examine_data(database, SPACE, 0.01))


def test_entries_without_an_embedding_are_counted(database: Database) -> None:
    fill_database(database, "fakes", range(3))
    other = replace(SPACE, fingerprint="9" * 64, weights_sha256="8" * 64, model="another")

    (missing,) = (
        each for each in examine_data(database, other, 0.01) if each.topic == "embeddings"
    )

    assert missing.words.startswith("3 of 3 entries have no embedding of this model")
    assert missing.next_step == "`lineup reembed --model another`"
    assert not [each for each in examined(database) if each.topic == "embeddings"]


def test_a_job_that_failed_is_named_with_its_reason(database: Database) -> None:
    job = queue_job(database)
    with database.write() as conn:
        fail_job(conn, job.id, "the disk is full")

    (found,) = (each for each in examined(database) if each.topic == "jobs")
    assert found.words == f"job {job.id} (reembed) is failed: the disk is full"
    assert found.next_step == f"`lineup jobs resume {job.id}`"


@pytest.mark.parametrize(("levels", "healthy"), [((), True), (("ok", "advice"), True)])
def test_advice_leaves_an_installation_healthy(levels: tuple[str, ...], healthy: bool) -> None:
    findings = [DoctorFinding(topic="disk", level=Level(each), words="") for each in levels]
    assert DoctorAnswer.of(findings).healthy is healthy
    broken = DoctorFinding(topic="disk", level=Level.BROKEN, words="")
    assert not DoctorAnswer.of([*findings, broken]).healthy
