"""One probe looked up: the functions behind the route, the command and the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

from sqlalchemy import Connection

from api.copies.kept import find_kept_picture
from api.copies.running import list_candidates, run_geometry
from api.fields import FailedItem
from api.lineup import Lineup
from api.lookups.answer import Assessed, write_answer
from api.lookups.copies import find_rates, join_copies, propose
from api.lookups.json import LookupAnswer, ProbeLookup
from api.lookups.limits import Limits
from api.lookups.method_json import MethodAnswer, PrecisionCheckAnswer, RecallAnswer, Timings
from api.lookups.precision import describe_computed
from api.lookups.probe import (
    Probe,
    embed_probe,
    milliseconds,
    order_for_copies,
    take_probe,
)
from api.lookups.questions import restricts_only_corpora, search
from api.lookups.request import LookupQuery, LookupRequest
from api.lookups.robustness_json import LeftOutAnswer
from api.sources.access import read_any_file
from api.sources.item import UnreadableItem, make_printable
from embedder.decoding.picture import Picture
from embedder.errors import ImageError
from embedder.pictures.reencodings import ReEncodings
from index.calibration.for_probe import ProbeCalibration
from index.calibration.ratios import MIN_SOURCES
from index.calibration.reading import get_named_corpora
from index.calibration.standing import Applied, Calibrations
from index.evidence import ReEncodedProbe, assess
from index.policy import LogitCalibration, choose_policy, choose_reencoding_limits
from index.truth.computations import find_computations
from index.truth.corpora import CorpusKind
from index.truth.coverage import has_embedded
from index.truth.lookups import save_lookup
from index.truth.spaces import Space
from index.verdict import RULES


def look_up_image(lineup: Lineup, data: bytes, query: LookupQuery) -> LookupAnswer:
    """Answer for the image in `data`.

    Raises `ImageError`, `Overloaded` and the errors of the search.
    """
    started = perf_counter()
    probe = embed_probe(
        data,
        lineup.database,
        lineup.space,
        lineup.embedder,
        lineup.batcher,
        lineup.computation,
        stability=query.stability,
        copies=order_for_copies(lineup.limits, lineup.copies.find_input()),
    )
    return _answer(lineup, probe, query, started)


def look_up_request(lineup: Lineup, request: LookupRequest) -> LookupAnswer:
    """Answer for an embedding that the client computed, or for an ingested image by its sha256.

    Raises `InvalidRequest`, `UnknownImage`, `ForeignSpace`, `InvalidVector`.
    """
    started = perf_counter()
    order = order_for_copies(lineup.limits, lineup.copies.find_input())

    def find_picture(sha256: str) -> Picture | None:
        return find_kept_picture(lineup.blob_stores, lineup.decoders, order, sha256)

    probe = take_probe(request, lineup.database, lineup.space, find_picture)
    return _answer(lineup, probe, request, started)


def look_up_files(
    lineup: Lineup, paths: Iterable[Path], query: LookupQuery
) -> Iterator[ProbeLookup | FailedItem]:
    """Answer for each file in turn. A file that cannot be read or decoded is a row with its reason,
    and does not end the search.
    """
    for path in paths:
        name = make_printable(str(path))
        try:
            data = read_any_file(str(path), lineup.embedder.limits.max_image_bytes)
            yield ProbeLookup(name=name, lookup=look_up_image(lineup, data, query))
        except (ImageError, UnreadableItem) as err:
            yield FailedItem(name=name, reason=err.reason, detail=str(err))


def _answer(lineup: Lineup, probe: Probe, query: LookupQuery, started: float) -> LookupAnswer:
    """Search, assess, store the answer and return it; a read-only Lineup does not store it."""
    search_started = perf_counter()
    limits = Limits.of(lineup)
    if query.false_match_rate is None:
        query = query.model_copy(update={"false_match_rate": limits.false_match_rate})
    assessed = _search_and_assess(lineup, probe, query, limits)
    of_copies = (assessed.describe_ms or 0.0) + (assessed.verify_ms or 0.0)
    timings = Timings(
        decode_ms=probe.decode_ms,
        embed_ms=probe.embed_ms,
        describe_ms=assessed.describe_ms,
        search_ms=round(milliseconds(search_started, perf_counter()) - of_copies, 3),
        verify_ms=assessed.verify_ms,
        total_ms=milliseconds(started, perf_counter()),
    )
    method = _method(lineup, assessed, query.k)
    answer = write_answer(assessed, limits.scale, method, timings)
    if lineup.database.read_only:
        return answer.model_copy(update={"stored": False})
    calibration = assessed.assessment.calibration
    with lineup.database.write() as connection:
        save_lookup(
            connection,
            lookup_id=answer.id,
            created_at=answer.created_at,
            space=lineup.space,
            generation=assessed.listed.generation,
            probe_sha256=probe.answer.sha256,
            request=query.model_dump(
                mode="json", include={"k", "filter", "exact", "stability", "false_match_rate"}
            ),
            answer=answer.model_dump(mode="json"),
            probe_vector=probe.vector,
            calibration_id=None if calibration is None else calibration.applied.id,
        )
    return answer


def _search_and_assess(
    lineup: Lineup, probe: Probe, query: LookupQuery, limits: Limits
) -> Assessed:
    """Search one generation of the index, and assess what was found."""
    reencodings = probe.reencodings
    usable = reencodings.usable if reencodings else ()
    embedded = lineup.batcher.embed_all([each.pixels for each in usable])
    proposed = propose(lineup, probe.picture, query)
    found = search(
        probe,
        query,
        [vector for vector, _ in embedded],
        lineup.index.search_all,
        proposed.candidates,
    )
    geometry = run_geometry(
        lineup.stored_features,
        None if probe.picture is None else probe.picture.local_features,
        list_candidates(found.list_found()),
        has_picture=probe.picture is not None,
    )
    with lineup.database.read() as connection:
        calibration, uncalibrated = apply_calibration(
            connection, lineup.calibrations, probe, query, found.searched_fakes
        )
        has_known_reals = not uncalibrated or find_known_reals(connection, lineup.space)
        applied = find_calibration_of_logit(connection, lineup.calibrations, calibration)
        computed = find_computations(
            connection, lineup.space, found.listed.generation, query.filter.corpora
        )
    logits = None if applied is None else LogitCalibration.of(applied, probe.condition)
    rates = find_rates(calibration, found.searched_fakes)
    copies = join_copies(probe, found, proposed, geometry, rates, query.k)
    policy = choose_policy(calibration, logits, limits.choices, copies.leads)
    of_reencodings = choose_reencoding_limits(
        applied, calibration, policy, limits.choices, [each.condition for each in usable]
    )
    assessment = assess(
        probe.facts(limits.model_side),
        copies.found.neighbourhood,
        calibration,
        policy,
        [
            ReEncodedProbe.of(each.name, logit, nearest, own.threshold, own.classifier)
            for each, (_, logit), nearest, own in zip(
                usable, embedded, found.reencodings, of_reencodings, strict=True
            )
        ],
        logits,
    )
    return Assessed(
        probe,
        query,
        copies.found.listed,
        assessment,
        policy,
        left_out=None if reencodings is None else list_left_out(reencodings),
        reencoded_part=None if reencodings is None else reencodings.part,
        uncalibrated_corpora=uncalibrated,
        has_known_reals=has_known_reals,
        caution=limits.caution,
        computed=computed,
        copies=copies.answer,
        describe_ms=proposed.took_ms,
        verify_ms=geometry.took_ms,
    )


def list_left_out(reencodings: ReEncodings) -> tuple[LeftOutAnswer, ...]:
    """The re-encodings that could not be used, as JSON."""
    return tuple(LeftOutAnswer(name=each.name, reason=each.reason) for each in reencodings.refused)


def apply_calibration(
    conn: Connection,
    calibrations: Calibrations,
    probe: Probe,
    query: LookupQuery,
    searched_fakes: int | None,
) -> tuple[ProbeCalibration | None, tuple[str, ...]]:
    """The calibration that applies, or None; and the corpora that the newest one does not cover, if
    none applies or only a provisional one.

    `query` names its false-match rate. Without a search among known fakes nothing applies.
    """
    assert query.false_match_rate is not None
    if searched_fakes is None:
        return None, ()
    corpora = query.filter.corpora
    applied = calibrations.find(conn, corpora, whole=restricts_only_corpora(query.filter))
    is_missing = applied is None or applied.calibration.is_provisional
    uncalibrated = calibrations.unseen(conn, corpora) if is_missing else ()
    if applied is None:
        return None, uncalibrated
    rate, condition = query.false_match_rate, probe.condition
    return ProbeCalibration.of(applied, condition, searched_fakes, rate), uncalibrated


def find_calibration_of_logit(
    conn: Connection, calibrations: Calibrations, calibration: ProbeCalibration | None
) -> Applied | None:
    """The calibration of the logit: the one that applies to the search, unless it is provisional;
    otherwise the newest one.

    A provisional one has hardly any images of a delivery. Known fakes in a new corpus must not put
    it in the place of one that the installation measured.
    """
    if calibration is not None and not calibration.is_provisional:
        return calibration.applied
    return calibrations.find_newest(conn)


def find_known_reals(conn: Connection, space: Space) -> bool:
    """Whether the installation has enough known-real images for a calibration with verdicts."""
    reals = get_named_corpora(conn, None, CorpusKind.KNOWN_REAL)
    return has_embedded(conn, space, reals.ids, MIN_SOURCES)


def _method(lineup: Lineup, assessed: Assessed, k: int) -> MethodAnswer:
    """What is needed to repeat a look-up."""
    found = assessed.listed
    return MethodAnswer(
        lineup_version=version("lineup-forensics"),
        rules=RULES,
        model=lineup.space.model,
        embedding_space=lineup.space.fingerprint,
        weights_sha256=lineup.space.weights_sha256,
        device=lineup.embedder.device,
        precision=lineup.embedder.precision,
        precision_check=PrecisionCheckAnswer.of(lineup.computation.check),
        computed=describe_computed(
            assessed.probe.computation,
            assessed.computed,
            assessed.assessment.evidence.nearest_fake,
        ),
        generation=found.generation,
        index_digest=found.digest,
        exact=found.exact,
        k=k,
        recall=RecallAnswer.of(found.tuning),
        pending_changes=found.pending_changes,
    )
