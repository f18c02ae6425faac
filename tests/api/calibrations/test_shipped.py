"""Photographs that came with the model: a population of their own, and joined with others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from api.calibrations.measuring import join_shipped, measure_and_save
from api.calibrations.request import CalibrationRequest
from api.calibrations.shipped import ShippedPhotographs
from api.lineup import Lineup
from embedder.pictures.delivery import Condition
from index.calibration.calibration import AS_IS, Calibration, Measured
from index.calibration.population import CollectionName
from index.truth.calibrations import StoredCalibration, get_calibration
from tests.api.calibrations.photographs import make_references, ship


def measure(lineup: Lineup, shipped: ShippedPhotographs, **asked: object) -> StoredCalibration:
    request = CalibrationRequest(conditions=[], **asked)
    computation = lineup.computation
    with lineup.database.read() as conn:
        return get_calibration(
            conn,
            measure_and_save(lineup.database, lineup.space, request, 1, computation, shipped),
        )


def test_a_model_without_photographs_ships_none() -> None:
    assert ShippedPhotographs.of(None, "tiles") is None


def test_they_are_in_no_database_and_keep_their_collections(lineup: Lineup) -> None:
    vectors = make_references(lineup, 4)
    shipped = ShippedPhotographs.of(vectors, "tiles")
    assert shipped is not None
    assert shipped.after(Condition.HALF) is None

    jpeg = shipped.after(Condition.JPEG75)

    assert jpeg is not None
    assert jpeg.is_shipped.all()
    assert len(set(jpeg.image_ids.tolist())) == len(set(jpeg.sources.tolist())) == 4
    assert np.array_equal(jpeg.vectors, vectors.vectors[:, 1])
    assert jpeg.collections[:2] == (
        CollectionName("photographs shipped with tiles", "camera"),
        CollectionName("photographs shipped with tiles", "phone"),
    )
    assert jpeg.hashes[0] is not None
    assert jpeg.hashes[0].bits == vectors.hashes[0].tobytes()


def test_they_join_the_known_real_images_of_an_installation(lineup: Lineup) -> None:
    stored = measure(lineup, ship(lineup))

    calibration = Calibration.from_json(stored.document)
    as_is = calibration.strata[AS_IS]
    assert (as_is.references, calibration.own_photographs) == (12 + 24, 12)
    assert not calibration.is_provisional
    assert stored.scope.reference == ("photographs",)
    assert stored.scope.reference_names == ("photographs", "photographs shipped with tiles")
    assert stored.scope.shipped is not None
    assert stored.scope.shipped.photographs == 24
    assert not stored.scope.is_provisional


def test_a_request_may_leave_them_out(lineup: Lineup) -> None:
    stored = measure(lineup, ship(lineup), with_shipped=False)

    assert Calibration.from_json(stored.document).strata[AS_IS].references == 12
    assert stored.scope.shipped is None


def test_no_delivery_rests_on_shipped_photographs_alone(lineup: Lineup) -> None:
    """Few images of the installation were measured after the delivery, for their files are gone."""
    shipped = ship(lineup)
    further = shipped.after(Condition.AS_IS)
    assert further is not None

    def measured(own: int) -> Measured:
        some = further.taking(np.arange(own))
        own_images = replace(some, image_ids=1 + np.arange(own), sources=np.arange(own))
        return Measured(own_images, own_images)

    joined = join_shipped({AS_IS: measured(10), "jpeg75": measured(9)}, shipped)
    assert len(joined[AS_IS].reals) == 34
    assert len(joined["jpeg75"].reals) == 9

    provisional = join_shipped({AS_IS: measured(9), "jpeg75": measured(0)}, shipped)
    assert len(provisional[AS_IS].reals) == 33
    assert len(provisional["jpeg75"].reals) == 24
