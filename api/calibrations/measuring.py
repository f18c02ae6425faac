"""A calibration measured from what SQL holds, and stored: the short part, which reads no image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from api.calibrations.request import CalibrationRequest
from api.errors import NothingToCalibrate
from api.lineup import Lineup
from embedder.pictures.delivery import Condition
from index.calibration.calibration import AS_IS, Compared, Measured, calibrate
from index.calibration.population import Population
from index.calibration.reading import (
    NamedCorpora,
    SourceNumbers,
    chosen,
    named_corpora,
    read_population,
)
from index.truth.calibrations import (
    CalibrationScope,
    delivered_embeddings,
    find_calibration_of_job,
    save_calibration,
)
from index.truth.changes import last_number
from index.truth.corpora import CorpusKind
from index.truth.coverage import count_embedded, list_embedded_image_ids
from index.truth.spaces import Space

# Measured as they are; each is compared with every entry. More would tell of rates that nobody asks
# for.
MOST_REALS = 20_000
MOST_FAKES = 5_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Row ids of the images that are measured."""

    reals: tuple[int, ...]
    fakes: tuple[int, ...]


def sampled(conn: Connection, space: Space, request: CalibrationRequest) -> Sample:
    """The images that a request measures.

    Raises `NothingToCalibrate`, `UnknownCorpus`, `CorpusKindConflict`.
    """
    against, reference = _corpora(conn, request)
    return Sample(*(_some(conn, space, of, request) for of in (reference, against)))


def measure_and_save(lineup: Lineup, request: CalibrationRequest, job_id: int) -> int:
    """Measure, store, and return the calibration's id; that of this job where somebody else was
    first.
    """
    with lineup.database.read() as conn:
        generation = last_number(conn)
        against, reference = _corpora(conn, request)
        sources = SourceNumbers()
        compared = Compared(
            fakes=read_population(conn, lineup.space, against, sources),
            reals=read_population(conn, lineup.space, reference, sources),
            corpus_size=count_embedded(conn, lineup.space, against.ids),
        )
        measured = _measured(
            conn, lineup.space, request, compared, sampled(conn, lineup.space, request)
        )
    document = calibrate(compared, measured, request.seed).to_json()
    scope = CalibrationScope(
        asked=request.model_dump(mode="json"),
        against=against.names,
        against_ids=against.ids,
        reference=reference.names,
        reference_ids=reference.ids,
        job_id=job_id,
    )
    with lineup.database.write() as conn:
        stored = find_calibration_of_job(conn, job_id)
        if stored is not None:
            return stored.id
        return save_calibration(conn, lineup.space, generation, scope, document)


def _corpora(conn: Connection, request: CalibrationRequest) -> tuple[NamedCorpora, NamedCorpora]:
    against = named_corpora(conn, request.against, CorpusKind.KNOWN_FAKE)
    reference = named_corpora(conn, request.reference, CorpusKind.KNOWN_REAL)
    return against, reference


def _some(
    conn: Connection, space: Space, of: NamedCorpora, request: CalibrationRequest
) -> tuple[int, ...]:
    images = list_embedded_image_ids(conn, space, of.ids)
    if not images:
        raise NothingToCalibrate(of.names)
    return tuple(images[place] for place in chosen(len(images), request.max_images, request.seed))


def _measured(
    conn: Connection, space: Space, request: CalibrationRequest, compared: Compared, sample: Sample
) -> Mapping[str, Measured]:
    """All images as they are, and the sample as it looks after each delivery that was asked for and
    embedded.
    """
    as_is = Measured(
        compared.reals.taking(chosen(len(compared.reals), MOST_REALS, request.seed)),
        compared.fakes.taking(chosen(len(compared.fakes), MOST_FAKES, request.seed)),
    )
    reals, fakes = (
        population.taking(np.flatnonzero(np.isin(population.image_ids, ids)))
        for population, ids in ((compared.reals, sample.reals), (compared.fakes, sample.fakes))
    )
    found = {AS_IS: as_is}
    for condition in request.conditions:
        if condition is not Condition.AS_IS:
            found[condition.value] = Measured(
                *(_delivered(conn, space, population, condition) for population in (reals, fakes))
            )
    return found


def _delivered(
    conn: Connection, space: Space, population: Population, condition: Condition
) -> Population:
    embedded = delivered_embeddings(conn, space, condition.value, population.image_ids.tolist())
    return population.as_delivered(embedded.image_ids, embedded.vectors, embedded.logits)
