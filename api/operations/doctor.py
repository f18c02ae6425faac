"""`lineup doctor`: what works here, what is broken, and what is missing before answers are worth
something.

One examination under a command and a route. The command opens the parts itself, so that it can say
which of them is broken.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from api.calibrations.needs import describe_need, find_needs
from api.copies.choosing import AUTO, NONE
from api.copies.spaces import Copies
from api.copies.stages import StageOutcome
from api.decoding import open_decoders
from api.errors import ServiceError
from api.lineup import Lineup, choose_model, make_index_config, make_space, open_database
from api.model import load_embedder
from api.operations.checks_json import DoctorAnswer, DoctorFinding, Level
from api.operations.indexes import describe_comparison, plan_index
from api.server_paths import hider_of
from api.settings import Settings
from embedder.decoding.confinement import ConfinementLevel
from embedder.decoding.picture import Decoders
from embedder.errors import DecodersUnavailable, EmbedderError
from index.cache.live import LiveIndex
from index.errors import CorpusError
from index.truth.corpora import CorpusKind, list_corpora
from index.truth.coverage import coverage
from index.truth.databases.database import Database
from index.truth.jobs.job import JobState, list_jobs
from index.truth.spaces import Space

if TYPE_CHECKING:
    from embedder.network.embed import Embedder

LEAST_FREE_BYTES = 2**30  # an ingest of some thousand images with thumbnails needs less
LOOKED_AT_JOBS = 100
NOT_CONFINED = {
    ConfinementLevel.PARTIAL: "partly confined",
    ConfinementLevel.LIMITS: "only limited",
    ConfinementLevel.PROCESS: "not confined",
    ConfinementLevel.NONE: "not confined",
}
NAMED = 3  # corpora that a sentence names


def examine_installation(settings: Settings) -> DoctorAnswer:
    """Examine everything that belongs to the settings.

    A part that is broken is a finding, and never raised.
    """
    findings = list[DoctorFinding]()
    try:
        with open_database(settings) as database:
            findings += _examine_opened(settings, database)
    except (CorpusError, OSError) as err:
        findings.append(broken("database", str(err)))
    with open_decoders(settings) as decoders:
        findings += _examine_decoders(decoders)
    return DoctorAnswer.of([*findings, *_examine_disk(settings)])


def examine(lineup: Lineup) -> DoctorAnswer:
    """Examine an opened Lineup: what a server answers about itself."""
    findings = [
        ok("database", describe_database(lineup.database)),
        *_examine_model(lineup.embedder),
        ok("index", describe_index(lineup.index)),
        *examine_data(lineup.database, lineup.space, lineup.settings.false_match_rate),
        *examine_copies(lineup.copies, lineup.database, lineup.settings),
        *_examine_decoders(lineup.decoders),
        *_examine_disk(lineup.settings),
    ]
    return DoctorAnswer.of(findings)


def _examine_opened(settings: Settings, database: Database) -> Iterator[DoctorFinding]:
    yield ok("database", describe_database(database))
    try:
        choice = choose_model(settings, database)
        embedder = load_embedder(choice.settings)
    except (EmbedderError, ServiceError, OSError) as err:
        yield broken("model", str(err), "lineup models")
        return
    yield from _examine_model(embedder)
    space = make_space(embedder.info)
    if choice.space is not None and choice.space.fingerprint != space.fingerprint:
        yield broken(
            "model",
            f"the active model has the embedding space {choice.space.fingerprint[:12]}, but its "
            f"files on this machine have {space.fingerprint[:12]}",
            "lineup models",
        )
        return
    try:
        with LiveIndex.open(
            database, space, settings.index_dir, config=make_index_config(settings)
        ) as live:
            yield ok("index", describe_index(live))
    except (CorpusError, OSError) as err:
        yield broken("index", str(err), "lineup fsck")
    yield from examine_data(database, space, settings.false_match_rate)
    copies = Copies(settings, database, make_index_config(settings), background=False)
    try:
        copies.look()
        yield from examine_copies(copies, database, settings)
    finally:
        copies.close()


def examine_copies(
    copies: Copies, database: Database, settings: Settings
) -> Iterator[DoctorFinding]:
    """Examine the search by copy descriptor. Without it, look-ups find fewer edited copies."""
    opened = copies.find()
    if opened is not None:
        with database.read(unlimited=True) as conn:
            described = coverage(conn, opened.describer.space)
        words = f"{opened.describer.space.model}: {describe_index(opened.index)}"
        if described.missing:
            yield advice(
                "copies",
                f"{words}; {described.missing:,} of {described.entries:,} entries have no vector "
                "of it, so look-ups miss edited copies of them",
                "lineup copies backfill",
            )
        else:
            yield ok("copies", words)
    elif copies.outcome is StageOutcome.FAILED or settings.copy_descriptor not in (AUTO, NONE):
        yield broken("copies", copies.describe(), "lineup copies list")
    elif copies.outcome is StageOutcome.SWITCHED_OFF:
        yield ok("copies", f"no copy descriptor is used: {copies.describe()}")
    else:
        yield advice("copies", copies.describe())


def _examine_model(embedder: Embedder) -> Iterator[DoctorFinding]:
    info, check = embedder.info, embedder.precision_check
    words = f"{info.name}, {embedder.precision} on {embedder.device}"
    if check is not None:
        words += (
            f": on {check.images} pictures the cosine with float32 is at least "
            f"{check.smallest_cosine:.5f}, and the logit differs by at most "
            f"{check.largest_logit_difference:.3f}"
        )
    yield ok("model", words)
    if info.caution is not None:
        yield advice("model", info.caution)
    if embedder.references is None:
        yield advice(
            "model",
            "no photographs came with this model, so it gives no calibration before `lineup "
            "calibrate`",
        )


def examine_data(
    database: Database, space: Space, false_match_rate: float
) -> Iterator[DoctorFinding]:
    """Examine corpora, embeddings, calibrations and jobs."""
    with database.read(unlimited=True) as conn:
        corpora = list_corpora(conn)
        embedded = coverage(conn, space)
        needs = find_needs(conn, space, false_match_rate)
        jobs = list_jobs(conn, limit=LOOKED_AT_JOBS)
    for kind in CorpusKind:
        some = [each for each in corpora if each.kind is kind]
        entries = sum(each.entries for each in some)
        if entries:
            names = ", ".join(f"{each.name} ({each.entries:,})" for each in some[:NAMED])
            more = f" and {len(some) - NAMED} more" if len(some) > NAMED else ""
            yield ok("corpora", f"{entries:,} entries of kind {kind}: {names}{more}")
        elif kind is CorpusKind.KNOWN_FAKE:
            yield advice(
                "corpora",
                "there are no known fakes to compare with",
                "lineup ingest FOLDER --corpus NAME",
            )
    if embedded.missing:
        yield advice(
            "embeddings",
            f"{embedded.missing:,} of {embedded.entries:,} entries have no embedding of this "
            "model, so look-ups miss them",
            f"lineup reembed --model {space.model}",
        )
    if embedded.embedded and not needs:
        yield ok("calibration", "nothing is missing")
    for need in needs:
        yield DoctorFinding(
            topic="calibration",
            level=Level.ADVICE,
            words=need.words,
            next_step=describe_need(need).removeprefix(f"{need.words}: ") or None,
            calibration=need,
        )
    for job in jobs:
        if job.state in (JobState.FAILED, JobState.PAUSED):
            reason = f": {hider_of(job.request).hide(job.error)}" if job.error else ""
            words = f"job {job.id} ({job.kind}) is {job.state}{reason}"
            yield advice("jobs", words, f"lineup jobs resume {job.id}")


def describe_database(database: Database) -> str:
    """Return which database it is, and the revision of its schema."""
    return f"{database.dialect}, schema {database.revision()}"


def describe_index(live: LiveIndex) -> str:
    """Return how many entries the index has, how it searches them, and what the plans cost."""
    index = plan_index(live)
    words = f"{index.entries:,} entries at generation {index.generation:,}: {index.reason}"
    if index.comparison is None:
        return words
    return f"{words} ({describe_comparison(index.comparison)})"


def _examine_decoders(decoders: Decoders) -> Iterator[DoctorFinding]:
    try:
        confinement = decoders.confinement
    except DecodersUnavailable as err:
        yield broken("decoding", str(err))
        return
    if confinement.level is ConfinementLevel.FULL:
        yield ok("decoding", f"confined: {confinement.detail}")
    else:
        yield advice("decoding", f"{NOT_CONFINED[confinement.level]}: {confinement.detail}")


def _examine_disk(settings: Settings) -> Iterator[DoctorFinding]:
    try:
        free = shutil.disk_usage(settings.data_dir).free
    except OSError:
        return  # the finding on the database says that the folder is missing
    if free >= LEAST_FREE_BYTES:
        yield ok("disk", "there is room in the data folder")
    else:
        yield advice("disk", f"only {free / 2**20:,.0f} MiB are free in the data folder")


def ok(topic: str, words: str) -> DoctorFinding:
    """Return a finding about a part that works."""
    return DoctorFinding(topic=topic, level=Level.OK, words=words)


def advice(topic: str, words: str, command: str | None = None) -> DoctorFinding:
    """Return a finding about something that could be better."""
    next_step = None if command is None else f"`{command}`"
    return DoctorFinding(topic=topic, level=Level.ADVICE, words=words, next_step=next_step)


def broken(topic: str, words: str, command: str | None = None) -> DoctorFinding:
    """Return a finding about a part that does not work."""
    next_step = None if command is None else f"`{command}`"
    return DoctorFinding(topic=topic, level=Level.BROKEN, words=words, next_step=next_step)
