"""The short part of a calibration: measure it from stored embeddings, and store it.

Of images it reads only those whose views are looked up (`api.calibrations.copies`); the long part,
`api.calibrations.task`, has embedded all others. Photographs that came with the model join the
known-real images of the installation, as further collections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy import Connection

from api.calibrations.copies import measure_copies
from api.calibrations.request import CalibrationRequest
from api.calibrations.shipped import ShippedPhotographs
from api.calibrations.stored_pictures import PictureReader
from api.errors import NothingToCalibrate
from embedder.pictures.delivery import Condition
from index.calibration.calibration import AS_IS, Compared, Measured, calibrate
from index.calibration.population import Population, join_populations
from index.calibration.ratios import MIN_SOURCES
from index.calibration.reading import (
    NamedCorpora,
    SourceNumbers,
    draw_rows,
    get_named_corpora,
    read_population,
)
from index.truth.calibrations import (
    CalibrationScope,
    read_delivered_embeddings,
    save_calibration_of_job,
)
from index.truth.changes import last_number
from index.truth.computations import Computation
from index.truth.corpora import CorpusKind
from index.truth.coverage import count_embedded, list_embedded_image_ids
from index.truth.databases.database import Database
from index.truth.spaces import Space

# Most images that are measured unchanged. Each is compared with every entry; more would support
# rates that are smaller than anybody asks for.
MOST_REALS = 20_000
MOST_FAKES = 5_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Row ids of the images that are measured after each kind of delivery."""

    reals: tuple[int, ...]
    fakes: tuple[int, ...]


def choose_sample(conn: Connection, space: Space, request: CalibrationRequest) -> Sample:
    """Choose the images that a request measures.

    Raises `NothingToCalibrate`, `UnknownCorpus`, `CorpusKindConflict`.
    """
    against, reference = _find_corpora(conn, request)
    return Sample(*(_choose_images(conn, space, of, request) for of in (reference, against)))


def measure_and_save(
    database: Database,
    space: Space,
    request: CalibrationRequest,
    job_id: int,
    computation: Computation,
    shipped: ShippedPhotographs | None = None,
    reader: PictureReader | None = None,
) -> int:
    """Measure a calibration, store it, and return its id.

    `computation` is what embedded the sample of this job after each kind of delivery. `shipped`
    came with the model; a request may leave them out. `reader` reads images for what is measured
    about copies; without it, nothing is.

    If another worker has stored one for this job already, return that one's id. Raises
    `NothingToCalibrate`, `UnknownCorpus`, `CorpusKindConflict`.
    """
    shipped = shipped if request.with_shipped else None
    with database.read(unlimited=True) as conn:
        generation = last_number(conn)
        against, reference = _find_corpora(conn, request)
        sources = SourceNumbers()
        compared = Compared(
            fakes=read_population(conn, space, against, sources),
            reals=read_population(conn, space, reference, sources),
            corpus_size=count_embedded(conn, space, against.ids),
        )
        sample = choose_sample(conn, space, request)
        measured = _read_measured(conn, space, request, compared, sample)
    if shipped is not None:
        measured = join_shipped(measured, shipped)
    calibration = calibrate(compared, measured, request.seed)
    if reader is not None:
        copies = measure_copies(reader, compared, against, reference, sample.reals, request.seed)
        calibration = replace(calibration, copies=copies)
    scope = CalibrationScope(
        asked=request.model_dump(mode="json"),
        against=against.names,
        against_ids=against.ids,
        reference=reference.names,
        reference_ids=reference.ids,
        job_id=job_id,
        shipped=None if shipped is None else shipped.reference,
        is_provisional=calibration.is_provisional,
    )
    with database.write() as conn:
        return save_calibration_of_job(
            conn, space, generation, scope, calibration.to_json(), computation
        )


def join_shipped(
    measured: Mapping[str, Measured], shipped: ShippedPhotographs
) -> Mapping[str, Measured]:
    """Add the shipped photographs to the known-real images of each kind of delivery.

    They join a delivery only where enough photographs of the installation were measured after it,
    so that no verdict rests on shipped ones alone. With too few photographs altogether the
    calibration is provisional, and they join everywhere.
    """
    own = {name: len(np.unique(some.reals.sources)) for name, some in measured.items()}
    is_provisional = own[AS_IS] < MIN_SOURCES
    joined = dict[str, Measured]()
    for name, some in measured.items():
        further = shipped.after(Condition(name))
        if further is not None and (is_provisional or own[name] >= MIN_SOURCES):
            joined[name] = replace(some, reals=join_populations(some.reals, further))
        else:
            joined[name] = some
    return joined


def _find_corpora(
    conn: Connection, request: CalibrationRequest
) -> tuple[NamedCorpora, NamedCorpora]:
    against = get_named_corpora(conn, request.against, CorpusKind.KNOWN_FAKE)
    reference = get_named_corpora(conn, request.reference, CorpusKind.KNOWN_REAL)
    return against, reference


def _choose_images(
    conn: Connection, space: Space, of: NamedCorpora, request: CalibrationRequest
) -> tuple[int, ...]:
    images = list_embedded_image_ids(conn, space, of.ids)
    if not images:
        raise NothingToCalibrate(of.names)
    return tuple(
        images[place] for place in draw_rows(len(images), request.max_images, request.seed)
    )


def _read_measured(
    conn: Connection, space: Space, request: CalibrationRequest, compared: Compared, sample: Sample
) -> Mapping[str, Measured]:
    """Read all images unchanged, and the sample after each kind of delivery that was asked for."""
    as_is = Measured(
        compared.reals.taking(draw_rows(len(compared.reals), MOST_REALS, request.seed)),
        compared.fakes.taking(draw_rows(len(compared.fakes), MOST_FAKES, request.seed)),
    )
    reals, fakes = (
        population.taking(np.flatnonzero(np.isin(population.image_ids, ids)))
        for population, ids in ((compared.reals, sample.reals), (compared.fakes, sample.fakes))
    )
    found = {AS_IS: as_is}
    for condition in request.conditions:
        if condition is not Condition.AS_IS:
            found[condition.value] = Measured(
                *(
                    _read_delivered(conn, space, population, condition)
                    for population in (reals, fakes)
                )
            )
    return found


def _read_delivered(
    conn: Connection, space: Space, population: Population, condition: Condition
) -> Population:
    embedded = read_delivered_embeddings(
        conn, space, condition.value, population.image_ids.tolist()
    )
    return population.as_delivered(embedded.image_ids, embedded.vectors, embedded.logits)
