"""Calibrations that keep up with their corpora: a server measures again when a corpus has outgrown
the last one.
"""

from __future__ import annotations

import logging
import threading

from api.calibrations.request import CalibrationRequest
from api.errors import ServiceError
from api.lineup import Lineup
from api.worker.starting import start_calibration
from index.calibration.reading import named_corpora
from index.errors import CorpusError, UnknownCorpus
from index.truth.calibrations import calibration_heads, get_calibration
from index.truth.corpora import CorpusKind
from index.truth.coverage import count_embedded
from index.truth.jobs import JobState, find_last_job

LOOK_SECONDS = 60.0  # between two looks
# The rate is foretold for the size of now, and well so at twice the size (docs/evidence.md): a
# tenth more is early.
GROWTH = 0.1
log = logging.getLogger(__name__)


def recalibrate_if_due(lineup: Lineup) -> int | None:
    """Queue the newest calibration once more where its corpora grew, or shrank, by a tenth since,
    or there is a corpus that it should have and has not seen, for which lookups have no rate; the
    job's id.

    Whoever works on jobs measures it: what was embedded before is not embedded again. One that an
    operator paused or cancelled stays so until somebody asks for it.
    """
    with lineup.database.read() as conn:
        heads = calibration_heads(conn, lineup.space, 1)
        if not heads:
            return None
        request = CalibrationRequest.model_validate(heads[0].scope.asked)
        try:
            corpora = named_corpora(conn, request.against, CorpusKind.KNOWN_FAKE)
        except UnknownCorpus:
            return None  # one of them was removed: somebody must say what is compared now
        size = count_embedded(conn, lineup.space, corpora.ids)
        measured = get_calibration(conn, heads[0].id).document["corpus_size"]
        unseen = lineup.calibrations.unseen(conn, corpora.names)
        last = find_last_job(conn, None, lineup.space, request.model_dump(mode="json"))
    if not size or (abs(size - measured) <= GROWTH * measured and not unseen):
        return None
    if last is not None and last.state in (JobState.PAUSED, JobState.CANCELLED):
        log.info(
            "a calibration is due, and job %d is %s: `lineup calibrate` measures again",
            last.id,
            last.state,
        )
        return None
    return start_calibration(lineup.database, lineup.space, request).id


class CalibrationUpkeep:
    """A thread beside a server's lookups that looks once a minute."""

    def __init__(self, lineup: Lineup) -> None:
        self._lineup = lineup
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="calibration-upkeep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                job_id = recalibrate_if_due(self._lineup)
            except (CorpusError, ServiceError) as err:
                log.warning(
                    "whether a calibration is due is looked at again in %d s: %s", LOOK_SECONDS, err
                )
            else:
                if job_id is not None:
                    log.info(
                        "the corpora have outgrown their calibration: job %d measures again", job_id
                    )
