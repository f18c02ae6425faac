"""What a server looks after: calibrations that corpora have outgrown, uploads that nobody needs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from api.calibrations.first import calibrate_first
from api.calibrations.request import CalibrationRequest
from api.calibrations.shipped import ShippedPhotographs
from api.errors import ServiceError
from api.ingest.uploads import sweep
from api.settings import Settings
from api.worker.starting import start_calibration
from index.calibration.calibration import FORMAT
from index.calibration.reading import get_named_corpora
from index.calibration.standing import GROWTH
from index.errors import CorpusError, UnknownCorpus
from index.truth.calibrations import get_calibration, list_calibration_heads
from index.truth.corpora import CorpusKind
from index.truth.coverage import count_embedded, has_embedded
from index.truth.databases.database import Database
from index.truth.jobs.job import JobState, find_last_job
from index.truth.spaces import Space

LOOK_SECONDS = 60.0  # between two looks
CLOSE_SECONDS = 10.0  # a measurement takes longer: it is begun anew
# Uploads are removed when their job ends; this finds those of requests and processes that broke off
# and those of jobs that nobody resumes, both of which are at least an hour old.
SWEEP_SECONDS = 3600.0
log = logging.getLogger(__name__)


def look_after_calibrations(
    database: Database, space: Space, shipped: ShippedPhotographs | None
) -> int | None:
    """Measure the first calibration if it is due; queue the newest one again if that is due, and
    return the job's id.
    """
    calibrate_first(database, space, shipped)
    return recalibrate_if_due(database, space)


def recalibrate_if_due(database: Database, space: Space) -> int | None:
    """Queue the newest calibration again if it is due, and return the job's id.

    It is due when its corpora have grown or shrunk by a tenth since, when it has not seen a corpus
    that it covers, for which look-ups then have no rate, or when an earlier release measured it,
    without hit rates. Reference images that are embedded already are not embedded again. A
    calibration that an operator paused or cancelled is not queued, nor one that nobody asked for.
    """
    with database.read() as conn:
        heads = list_calibration_heads(conn, space, 1, by_job=True)
        if not heads:
            return None
        request = CalibrationRequest.read(heads[0].scope.asked)
        try:
            corpora = get_named_corpora(conn, request.against, CorpusKind.KNOWN_FAKE)
        except UnknownCorpus:
            return None  # a corpus was removed: the operator must choose what to compare
        size = count_embedded(conn, space, corpora.ids)
        document = get_calibration(conn, heads[0].id).document
        measured, is_current = document["corpus_size"], document.get("format") == FORMAT
        others = sorted(set(corpora.ids) - set(heads[0].scope.against_ids))
        unseen = bool(others) and has_embedded(conn, space, others)
        last = find_last_job(conn, None, space, request.model_dump(mode="json"))
    if not size or (abs(size - measured) <= GROWTH * measured and is_current and not unseen):
        return None
    if last is not None and last.state in (JobState.PAUSED, JobState.CANCELLED):
        log.info(
            "a calibration is due, but job %d is %s; `lineup calibrate` measures again",
            last.id,
            last.state,
        )
        return None
    return start_calibration(database, space, request).id


class CalibrationUpkeep:
    """Calls `look` in a thread, once a minute."""

    def __init__(
        self, look: Callable[[], int | None], *, look_seconds: float = LOOK_SECONDS
    ) -> None:
        """Start the thread. `look` returns the id of the job that it queued, or None."""
        self._look = look
        self._look_seconds = look_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="calibration-upkeep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(self._look_seconds):
            try:
                job_id = self._look()
            except (CorpusError, ServiceError) as err:
                log.warning(
                    "whether a calibration is due is checked again in %g s: %s",
                    self._look_seconds,
                    err,
                )
            except Exception:  # the thread goes on, whatever it meets
                log.exception("whether a calibration is due: a defect of Lineup")
            else:
                if job_id is not None:
                    log.info(
                        "the corpora have outgrown their calibration: job %d measures again", job_id
                    )


class UploadUpkeep:
    """Removes the uploads that nobody needs any more, in a thread: at once, then every hour."""

    def __init__(
        self, database: Database, settings: Settings, *, sweep_seconds: float = SWEEP_SECONDS
    ) -> None:
        """Start the thread."""
        self._database = database
        self._settings = settings
        self._sweep_seconds = sweep_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upload-upkeep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            try:
                self._sweep()
            except (CorpusError, OSError) as err:
                log.warning("uploads are looked at again in %g s: %s", self._sweep_seconds, err)
            except Exception:  # the thread goes on, whatever it meets
                log.exception("which uploads nobody needs: a defect of Lineup")
            if self._stop.wait(self._sweep_seconds):
                return

    def _sweep(self) -> None:
        settings = self._settings
        for gone in sweep(self._database, settings.upload_dir, settings.failed_upload_days):
            of = "of no job" if gone.job is None else f"of job {gone.job.id}, which was not resumed"
            log.info("an upload of %d bytes was removed, %s", gone.byte_size, of)
