"""The JSON of readiness, of checks and of what they find."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from api.calibrations.needs import CalibrationNeed
from api.fields import Answer, Sha256
from api.operations.models_json import ConfinementAnswer
from index.truth.spaces import SpaceKind


class ReadyAnswer(Answer):
    """Whether the service can answer look-ups now."""

    ready: bool = Field(description="True if every check is ok.")
    checks: dict[str, str] = Field(description="Result of each check: `ok`, or what is wrong.")
    generation: int | None = Field(
        description="Number of the last change that the index contains. Null before the first "
        "change."
    )
    saturated: bool = Field(
        False,
        description="Whether every place for requests with an image is taken now, so that the next "
        "one gets 503. Not ready once this has lasted for 10 seconds.",
    )
    read_only: bool = Field(
        False,
        description="Whether this server writes nothing into its database: look-ups are answered "
        "and not stored.",
    )
    confinement: ConfinementAnswer | None = Field(
        None, description="How the decoding of images is confined. Null if nothing decodes now."
    )
    replica: bool = Field(
        False,
        description="Whether the database is a replica. Then only a read-only server is ready.",
    )
    copies: str | None = Field(
        None,
        description="`ok` if look-ups search by copy descriptor, or why they do not. They are "
        "answered without it, so this decides nothing about `ready`.",
    )


class Level(StrEnum):
    """How a part of the installation stands."""

    OK = "ok"
    ADVICE = "advice"
    BROKEN = "broken"


class DoctorFinding(Answer):
    """A part of the installation, and how it stands."""

    topic: str = Field(
        examples=["calibration"],
        description="Part that was examined: database, model, index, corpora, embeddings, "
        "calibration, jobs or disk.",
    )
    level: Level = Field(
        description="ok: it works. advice: it works, and something is missing or could be better. "
        "broken: it does not work."
    )
    words: str = Field(description="What was found.")
    next_step: str | None = Field(
        None, description="What to do, with commands. Null if there is nothing to do."
    )
    calibration: CalibrationNeed | None = Field(
        None, description="For the topic calibration: what is missing, in parts."
    )


class DoctorAnswer(Answer):
    """What works, what is broken, and what is missing before answers are worth something."""

    healthy: bool = Field(description="False if a part is broken. Advice leaves it true.")
    findings: list[DoctorFinding] = Field(description="A finding or more for each part.")

    @classmethod
    def of(cls, findings: Sequence[DoctorFinding]) -> DoctorAnswer:
        """From the findings."""
        healthy = all(each.level is not Level.BROKEN for each in findings)
        return cls(healthy=healthy, findings=list(findings))


class FindingAnswer(Answer):
    """One inconsistency that a check found."""

    kind: str = Field(description="Kind of inconsistency, machine-readable.")
    item: str = Field(description="The row or file that is inconsistent.")
    message: str = Field(description="Description of the inconsistency, for people.")
    repaired: bool = Field(description="True if the check repaired it.")


class UploadAnswer(Answer):
    """An upload, or a list from standard input, that waits in the data folder."""

    name: str = Field(description="Name of its file or folder in the folder of uploads.")
    byte_size: int = Field(description="Size in bytes.")
    job_id: int | None = Field(description="The job that needs it. Null if no job does.")
    job_state: str | None = Field(description="The state of that job.")
    kept_until: datetime | None = Field(
        description="When it is removed, if its job failed or is paused and is not resumed."
    )


class FsckAnswer(Answer):
    """The result of a check of the database and the index."""

    clean: bool = Field(description="True if there are no findings, or every finding was repaired.")
    findings: list[FindingAnswer] = Field(description="The inconsistencies found.")
    checked: dict[str, int] = Field(description="Number of things checked, by kind.")
    uploads: list[UploadAnswer] = Field(
        [], description="The uploads that wait for a job, with their sizes."
    )


class SpaceDigestAnswer(Answer):
    """An embedding space in a backup."""

    embedding_space: Sha256 = Field(
        description="Fingerprint of the model's weights and preprocessing."
    )
    kind: SpaceKind = Field(
        SpaceKind.FORENSIC,
        description="forensic: the embeddings of a model. copy: the vectors of a copy descriptor.",
    )
    model: str = Field(description="Name of the model.")
    dimension: int = Field(description="Number of components of an embedding.")
    digest: Sha256 = Field(
        description="Digest of the set of its entries, as the change log records it."
    )
