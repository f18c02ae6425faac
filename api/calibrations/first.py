"""The first calibration: measured at once from photographs that came with the model.

Whoever ingests known fakes has no calibration of them, and often no known-real images. So at the
end of an ingest the shipped photographs are measured against all known fakes, from stored
embeddings, in about a second. It is provisional: figures are stated, and no verdict rests on it.
It is due when known fakes are not covered by any calibration, or have outgrown the provisional one
that covers them. A crash before it is stored loses nothing: the next ingest or look of a server
measures it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from api.calibrations.request import CalibrationRequest
from api.calibrations.shipped import ShippedPhotographs
from api.errors import ServiceError
from embedder.pictures.delivery import Condition
from index.calibration.calibration import AS_IS, Compared, Measured, calibrate
from index.calibration.reading import (
    NamedCorpora,
    SourceNumbers,
    draw_rows,
    get_named_corpora,
    read_population,
)
from index.calibration.standing import GROWTH, Calibrations, Standing
from index.errors import CorpusError
from index.truth.calibrations import (
    CalibrationScope,
    get_calibration,
    list_calibration_heads,
    save_calibration_after,
)
from index.truth.changes import last_number
from index.truth.computations import EXACT, Computation
from index.truth.corpora import CorpusKind
from index.truth.coverage import count_embedded
from index.truth.databases.database import Database
from index.truth.spaces import Space

# Above this many known fakes the first calibration is left to the operator: their vectors are read
# into memory (77 MB for `builtin`, 154 MB for ViT-S), and a person waits for the ingest to end.
MOST_MEASURED = 100_000
# Known fakes that are compared with the others, for hit rates and ratios. Five times as many, as in
# `lineup calibrate`, take three times as long and narrow no interval that a verdict rests on.
MOST_FAKES = 1_000
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Due:
    """The known fakes to measure, and the latest calibration of the space when that was found."""

    against: NamedCorpora
    size: int
    last_id: int | None


def calibrate_first(
    database: Database,
    space: Space,
    shipped: ShippedPhotographs | None,
    *,
    most: int = MOST_MEASURED,
) -> int | None:
    """Measure and store a provisional calibration if one is due; return its id.

    Returns None if none is due, the model came without photographs, or there are more than `most`
    known fakes. Several processes may call this at once: one of them stores it. An
    expected failure is logged, because what went before has succeeded.
    """
    if shipped is None:
        return None
    try:
        with database.read(unlimited=True) as conn:
            due = _find_due(conn, space, shipped, most)
        if due is None:
            return None
        return _measure(database, space, shipped, due)
    except (CorpusError, ServiceError, OSError) as err:
        log.warning("the first calibration was not measured: %s", err)
        return None


def _find_due(
    conn: Connection, space: Space, shipped: ShippedPhotographs, most: int
) -> _Due | None:
    against = get_named_corpora(conn, None, CorpusKind.KNOWN_FAKE)
    size = count_embedded(conn, space, against.ids)
    if not 0 < size <= most:
        return None
    applied = Calibrations(space).find(conn, Standing.read(conn, space), None, whole=True)
    if applied is not None and not applied.calibration.is_provisional:
        return None
    last = list_calibration_heads(conn, space, 1)
    if applied is not None:
        measured = get_calibration(conn, applied.id)
        used = measured.scope.shipped
        has_same = used is not None and used.sha256 == shipped.reference.sha256
        has_outgrown = abs(size - applied.calibration.corpus_size) > (
            GROWTH * applied.calibration.corpus_size
        )
        if has_same and not has_outgrown:
            return None
    return _Due(against, size, last[0].id if last else None)


def _measure(database: Database, space: Space, shipped: ShippedPhotographs, due: _Due) -> int:
    request = CalibrationRequest(against=list(due.against.names), reference=[])
    with database.read(unlimited=True) as conn:
        generation = last_number(conn)
        sources = SourceNumbers()
        nobody = NamedCorpora((), ())
        compared = Compared(
            fakes=read_population(conn, space, due.against, sources),
            reals=read_population(conn, space, nobody, sources),
            corpus_size=due.size,
        )
    some = compared.fakes.taking(draw_rows(len(compared.fakes), MOST_FAKES, request.seed))
    # Known fakes were embedded as they are only, so what needs their copies is not measured after
    # a delivery: hit rates, ratios, the classifier and generators.
    none = compared.fakes.taking(np.empty(0, np.int64))
    measured = {}
    for delivery in request.conditions:
        photographs = shipped.after(delivery)
        if photographs is not None:
            fakes = some if delivery is Condition.AS_IS else none
            measured[delivery.value] = Measured(photographs, fakes)
    assert AS_IS in measured
    calibration = calibrate(compared, measured, request.seed)
    scope = CalibrationScope(
        asked=request.model_dump(mode="json"),
        against=due.against.names,
        against_ids=due.against.ids,
        shipped=shipped.reference,
        is_provisional=True,
    )
    with database.write() as conn:
        return save_calibration_after(
            conn,
            space,
            due.last_id,
            generation,
            scope,
            calibration.to_json(),
            Computation(*EXACT),
        )
