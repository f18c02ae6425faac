"""The first calibration: when it is due, that it is stored once, and what it rests on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.calibrations.first import calibrate_first
from api.calibrations.shipped import ShippedPhotographs
from api.lineup import Lineup
from embedder.pictures.delivery import Condition
from index.calibration.calibration import ANY_DELIVERY, AS_IS, Calibration
from index.calibration.population import Population
from index.calibration.standing import Calibrations, Standing
from index.errors import DatabaseUnavailable
from index.truth.calibrations import get_calibration, list_calibrations
from index.truth.computations import Computation
from index.truth.corpora import remove_corpus
from index.truth.databases.database import Database
from tests.api.calibrations.photographs import draw_references, ship
from tests.api.modelless import SPACE, fill
from tests.api.small_lineup import FAKE, REAL, add, calibrate, encoded, open_small, picture


@pytest.fixture
def lineup(tmp_path: Path) -> Iterator[Lineup]:
    """An installation that has only ingested known fakes."""
    with open_small(tmp_path / "data") as opened:
        for seed in range(20):
            add(opened, "fakes", FAKE, encoded(picture(seed)), "flux" if seed % 2 else "sdxl")
        yield opened


@pytest.fixture
def shipped(lineup: Lineup) -> ShippedPhotographs:
    return ship(lineup)


def measure(lineup: Lineup, shipped: ShippedPhotographs | None) -> int | None:
    return calibrate_first(lineup.database, lineup.space, shipped)


def count(lineup: Lineup) -> int:
    with lineup.database.read() as conn:
        return len(list_calibrations(conn))


def test_a_model_without_photographs_gives_no_first_calibration(lineup: Lineup) -> None:
    assert measure(lineup, None) is None
    assert count(lineup) == 0


def test_without_known_fakes_none_is_due(tmp_path: Path) -> None:
    with open_small(tmp_path) as lineup:
        add(lineup, "photographs", REAL, encoded(picture(1)))
        assert measure(lineup, ship(lineup)) is None


def test_above_a_number_of_known_fakes_it_is_left_to_the_operator(
    lineup: Lineup, shipped: ShippedPhotographs
) -> None:
    assert calibrate_first(lineup.database, lineup.space, shipped, most=19) is None
    assert calibrate_first(lineup.database, lineup.space, shipped, most=20) is not None


def test_a_failure_is_logged_and_raises_nothing(
    lineup: Lineup, shipped: ShippedPhotographs, caplog: pytest.LogCaptureFixture
) -> None:
    class Unavailable(Database):
        def __init__(self) -> None:
            """Open nothing."""

        def read(self, *, unlimited: bool = False) -> Any:  # noqa: ARG002
            raise DatabaseUnavailable("it restarts")

    with caplog.at_level(logging.WARNING):
        assert calibrate_first(Unavailable(), lineup.space, shipped) is None
    assert "it restarts" in caplog.text


def test_it_is_provisional_and_names_what_it_rests_on(
    lineup: Lineup, shipped: ShippedPhotographs
) -> None:
    calibration_id = measure(lineup, shipped)

    assert calibration_id is not None
    with lineup.database.read() as conn:
        stored = get_calibration(conn, calibration_id)
        standing = Standing.read(conn, lineup.space)
        applied = Calibrations(lineup.space).find(conn, standing, None, whole=True)
    assert applied is not None
    assert applied.id == calibration_id
    assert applied.reference == ("photographs shipped with tiles",)
    assert (stored.scope.against, stored.scope.reference) == (("fakes",), ())
    assert stored.scope.is_provisional
    assert stored.scope.job_id is None
    assert stored.computation == Computation("cpu", "float32")
    calibration = Calibration.from_json(stored.document)
    assert calibration.is_provisional
    assert (calibration.corpus_size, calibration.own_photographs) == (20, 0)
    assert set(calibration.strata) == {AS_IS, "jpeg75", ANY_DELIVERY}


def test_figures_that_need_delivered_fakes_are_stated_for_images_as_they_are_only(
    lineup: Lineup, shipped: ShippedPhotographs
) -> None:
    measure(lineup, shipped)
    with lineup.database.read() as conn:
        (stored,) = list_calibrations(conn)
    strata = Calibration.from_json(stored.document).strata

    as_is, jpeg = strata[AS_IS], strata["jpeg75"]
    assert (as_is.references, as_is.fakes) == (24, 20)
    assert (jpeg.references, jpeg.fakes) == (24, 0)
    assert as_is.hits is not None
    assert as_is.classifier is not None
    assert (jpeg.hits, jpeg.classifier, jpeg.likelihood, jpeg.attribution) == (None,) * 4


def test_it_is_measured_once_until_the_corpora_outgrow_it(
    lineup: Lineup, shipped: ShippedPhotographs
) -> None:
    assert measure(lineup, shipped) is not None
    for seed in (40, 41):  # a tenth
        add(lineup, "fakes", FAKE, encoded(picture(seed)))
        assert measure(lineup, shipped) is None
    add(lineup, "fakes", FAKE, encoded(picture(42)))

    assert measure(lineup, shipped) is not None
    assert measure(lineup, shipped) is None
    assert count(lineup) == 2


def test_a_corpus_that_no_calibration_covers_makes_it_due_and_an_empty_one_does_not(
    lineup: Lineup, shipped: ShippedPhotographs
) -> None:
    measure(lineup, shipped)
    add(lineup, "more", FAKE, encoded(picture(40)))
    assert measure(lineup, shipped) is not None

    with lineup.database.write() as conn:
        remove_corpus(conn, "more")
    assert measure(lineup, shipped) is None


def test_other_photographs_of_the_model_make_it_due(
    lineup: Lineup, shipped: ShippedPhotographs
) -> None:
    measure(lineup, shipped)
    other = ShippedPhotographs(shipped.vectors, replace(shipped.reference, sha256="6" * 64))
    assert measure(lineup, other) is not None


def test_a_calibration_of_the_installation_makes_it_needless(
    lineup: Lineup, shipped: ShippedPhotographs
) -> None:
    calibrate(lineup)
    assert measure(lineup, shipped) is None


def test_known_real_images_without_a_calibration_leave_it_due(
    lineup: Lineup, shipped: ShippedPhotographs
) -> None:
    """The operator runs `lineup calibrate`; until then it is provisional."""
    for seed in range(100, 112):
        add(lineup, "photographs", REAL, encoded(picture(seed)))
    assert measure(lineup, shipped) is not None
    with lineup.database.read() as conn:
        (stored,) = list_calibrations(conn)
    assert stored.scope.is_provisional


def test_a_process_that_measured_the_same_stores_nothing(
    lineup: Lineup, shipped: ShippedPhotographs
) -> None:
    """It measures while another one does; that one stores first."""
    stored = list[int | None]()

    class Slow(ShippedPhotographs):
        def after(self, delivery: Condition) -> Population | None:
            if not stored:
                stored.append(measure(lineup, shipped))
            return shipped.after(delivery)

    assert measure(lineup, Slow(shipped.vectors, shipped.reference)) == stored[0]
    assert count(lineup) == 1


def test_it_is_stored_in_both_databases(database: Database) -> None:
    fill(database, "fakes", range(12), generator="flux")
    shipped = ShippedPhotographs.of(draw_references(SPACE.dimension), SPACE.model)

    assert calibrate_first(database, SPACE, shipped) is not None
    assert calibrate_first(database, SPACE, shipped) is None
