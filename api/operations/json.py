"""The JSON of models, indexes, checks, examinations and backups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import Field

from api.calibrations.needs import CalibrationNeed
from api.fields import Answer, Instant, Sha256
from api.lookups.answers.method_json import RecallAnswer
from embedder.decoding.confinement import Confinement, ConfinementLevel
from index.cache.explain import IndexState
from index.cache.plans.comparison import Comparison
from index.cache.plans.config import Plan
from index.truth.spaces import SpaceKind

if TYPE_CHECKING:
    from embedder.network.panel import PanelCheck


class PanelCheckAnswer(Answer):
    """How far a precision on a device moves the answers of a model, from float32 on a CPU.

    Measured on a panel of pictures of many kinds that comes with Lineup.
    """

    precision: str = Field(examples=["bfloat16"], description="Precision that was compared.")
    device: str = Field(examples=["cpu"], description="Device that was compared.")
    images: int = Field(ge=1, description="Number of pictures.")
    smallest_cosine: float | None = Field(
        description="Smallest cosine similarity of the two embeddings of one picture. Null if an "
        "embedding was not finite."
    )
    largest_logit_difference: float | None = Field(
        description="Largest difference of the two logits of one picture. Null if a logit was not "
        "finite."
    )
    accepted: bool = Field(description="True if both are within the limits.")

    @classmethod
    def of(cls, check: PanelCheck | None) -> PanelCheckAnswer | None:
        """From what `embedder` measured."""
        if check is None:
            return None
        return cls(
            precision=check.precision,
            device=check.device,
            images=check.images,
            smallest_cosine=_finite(check.smallest_cosine),
            largest_logit_difference=_finite(check.largest_logit_difference),
            accepted=check.accepted,
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class ModelAnswer(Answer):
    """A model that Lineup knows by name, or the model that is active."""

    name: str = Field(
        examples=["builtin"], description="Name of the model, as the option `--model` accepts it."
    )
    description: str = Field(description="Description in one line.")
    active: bool = Field(description="True for the model that this service uses.")
    available: bool = Field(description="True if the model's files are on this machine.")
    licence: str = Field(description="Licence of the weights.")
    revision: str | None = Field(
        description="Pinned revision on the Hugging Face Hub. Null for a model from elsewhere."
    )
    weights_bytes: int | None = Field(
        description="Size of the weights file in bytes. Null if not known."
    )
    weights_sha256: Sha256 | None = Field(
        description="SHA-256 of the weights file. Null if it is not pinned and the model is not "
        "loaded."
    )
    caution: str | None = Field(
        None,
        description="What every answer of this model must say first. Null if nothing has to be "
        "said.",
    )
    measured: bool | None = Field(
        None,
        description="True if figures came with the model. False if nothing was measured on it, so "
        "that only a calibration can say what its numbers mean. Only given for the active model.",
    )
    embedding_space: Sha256 | None = Field(
        None,
        description="Fingerprint of the weights and the preprocessing. Only given for the active "
        "model.",
    )
    dimension: int | None = Field(
        None, description="Number of components of an embedding. Only given for the active model."
    )
    image_size: int | None = Field(
        None,
        description="Side of the square that the model sees, in pixels. Only given for the active"
        " model.",
    )
    parameter_count: int | None = Field(
        None, description="Number of parameters. Only given for the active model."
    )
    device: str | None = Field(None, description="Device that the active model runs on.")
    precision: str | None = Field(
        None,
        description="Precision of the active model's computation. Stored embeddings are always "
        "float32.",
    )
    precision_check: PanelCheckAnswer | None = Field(
        None,
        description="How far this precision on this device moves the active model's answers. Null "
        "for float32 on a CPU, with which others are compared.",
    )
    refused_check: PanelCheckAnswer | None = Field(
        None,
        description="The precision that this device would use, where it moves the active model's "
        "answers too far. Null if none was refused.",
    )
    precision_reason: str | None = Field(
        None, description="Why the active model computes in this precision."
    )


class AddedModelAnswer(Answer):
    """A checkpoint that was copied here under a name."""

    model: str = Field(description="Name of the model, as the option `--model` accepts it.")
    weights_sha256: Sha256 = Field(
        description="SHA-256 of the weights file. Of several shards: of the lines that `sha256sum` "
        "prints for them, in the order of their names."
    )
    weights_files: list[str] = Field(description="Names of the weights files.")
    embedding_space: Sha256 = Field(
        description="Fingerprint of the weights, the preprocessing, and how the logit is made."
    )
    dimension: int = Field(description="Number of components of an embedding.")
    image_size: int = Field(description="Side of the square that the model sees, in pixels.")
    parameter_count: int = Field(description="Number of parameters.")
    logit: str = Field(description="How the logit is made from the checkpoint's labels.")
    pixels: str = Field(description="How an image becomes the pixels that the model sees.")
    unused_tensors: list[str] = Field(
        description="Names of tensors in the weights that classification does not use."
    )
    measured: bool = Field(
        description="True if figures came with the model. Otherwise nothing was measured on it, "
        "and only a calibration can say what its numbers mean."
    )


class RemovedModelAnswer(Answer):
    """An added model whose copy was deleted."""

    model: str = Field(description="Name that the model had.")


class ConfinementAnswer(Answer):
    """What a decoder that a hostile image takes over can do here."""

    level: ConfinementLevel = Field(
        description="full: no files, network, programs or other processes; bounded memory and "
        "time. partial: some of that. limits: bounded memory and time. process: bounded time. "
        "none: images are decoded by this process itself."
    )
    detail: str = Field(description="What it cannot do, and what it can, in one sentence.")

    @classmethod
    def of(cls, confinement: Confinement) -> ConfinementAnswer:
        """From what the decoders found out."""
        return cls(level=confinement.level, detail=confinement.detail)


class ModelsAnswer(Answer):
    """All models that can be named. The active model is first."""

    models: list[ModelAnswer] = Field(description="The models. The active model is first.")
    confinement: ConfinementAnswer | None = Field(
        None, description="How the decoding of images is confined. Null if nothing decodes here."
    )


class ActivatedModel(Answer):
    """The result of making a model the active one."""

    model: str = Field(description="Name of the model, or the path of its folder.")
    embedding_space: Sha256 = Field(
        description="Fingerprint of the model's weights and preprocessing."
    )
    entries: int = Field(ge=0, description="Number of entries in all corpora.")
    embedded: int = Field(
        ge=0,
        description="Number of entries that have an embedding of this model. Look-ups find only "
        "these.",
    )
    in_force: bool = Field(
        description="True if this process uses the active model from now on. False where "
        "LINEUP_MODEL or --model names a model."
    )


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


class PlanFiguresAnswer(Answer):
    """What one plan costs on this index, and what it finds."""

    plan: Plan = Field(description="The plan, as in the field `plan` of the index.")
    recall: float = Field(
        ge=0,
        le=1,
        description="Share of the true k nearest neighbours that it finds (recall@k); 1 for flat.",
    )
    milliseconds: float | None = Field(
        description="Median time of a search by one thread, rows of the database not included. "
        "Null if this plan cannot reach the required recall."
    )
    nprobe: int | None = Field(
        description="Number of inverted lists read for each probe. Null for flat, and without a "
        "time."
    )
    candidates: int | None = Field(
        description="Number of candidates compared exactly for each probe. Null for flat, and "
        "without a time."
    )


class PlanComparisonAnswer(Answer):
    """The plans side by side, as they were measured on this index."""

    plans: list[PlanFiguresAnswer] = Field(description="The plans that were measured.")
    rows: int = Field(ge=0, description="Number of positions in the index when it was measured.")
    k: int = Field(ge=1, description="Number of neighbours of the searches that were measured.")
    recall_target: float = Field(description="Recall that a plan had to reach.")
    measured_at: Instant = Field(description="When it was measured, in UTC.")

    @classmethod
    def of(cls, comparison: Comparison | None) -> PlanComparisonAnswer | None:
        """From what `index` measured."""
        if comparison is None:
            return None
        return cls(
            plans=[PlanFiguresAnswer(**asdict(each)) for each in comparison.plans],
            rows=comparison.rows,
            k=comparison.k,
            recall_target=comparison.recall_target,
            measured_at=datetime.fromisoformat(comparison.measured_at),
        )


class IndexAnswer(Answer):
    """The index of one embedding space: how it searches, and why."""

    model: str = Field(
        description="Name of the model of this embedding space, or of the copy descriptor."
    )
    embedding_space: Sha256 = Field(
        description="Fingerprint of the model's weights and preprocessing."
    )
    kind: SpaceKind = Field(
        SpaceKind.FORENSIC,
        description="forensic: the embeddings of a model. copy: the vectors of a copy descriptor.",
    )
    plan: Plan = Field(
        description="flat: compares every vector; exact. codes: compares every compressed code, "
        "then compares the best candidates exactly. lists: compares only the codes in"
        " the nearest inverted lists, then compares the best candidates exactly."
    )
    reason: str = Field(description="Why this plan is used, with the figures.")
    entries: int = Field(ge=0, description="Number of entries that are searched.")
    rows: int = Field(
        ge=0,
        description="Number of positions in the main part of the index, which changes only when "
        "the index is written. Positions of removed entries count too.",
    )
    dead: int = Field(
        ge=0,
        description="Number of positions that belong to removed entries. Compaction frees them.",
    )
    tail: int = Field(
        ge=0,
        description="Number of entries added since that part was written. They are always compared"
        " exactly.",
    )
    generation: int = Field(ge=0, description="Number of the last change that the index contains.")
    snapshot_generation: int | None = Field(
        description="Number of the last change in the snapshot on disk. Null without a snapshot."
    )
    nlist: int | None = Field(description="Number of inverted lists. Null without codes.")
    code_bytes: int | None = Field(
        description="Size of one compressed code in bytes. Null without codes."
    )
    recall: RecallAnswer | None = Field(
        description="Recall, measured when the codes were last written. Null without codes."
    )
    comparison: PlanComparisonAnswer | None = Field(
        None,
        description="Time and recall of every plan, measured when the index was built. Null where "
        "that was not done: up to `index_flat_limit` entries every vector is compared.",
    )

    @classmethod
    def of(cls, state: IndexState) -> IndexAnswer:
        """From what `index` explains."""
        return cls(
            model=state.space.model,
            embedding_space=state.space.fingerprint,
            kind=state.space.kind,
            plan=state.plan,
            reason=state.reason,
            entries=state.entries,
            rows=state.rows,
            dead=state.dead,
            tail=state.growing,
            generation=state.generation,
            snapshot_generation=state.snapshot_generation,
            nlist=state.nlist,
            code_bytes=state.code_bytes,
            recall=RecallAnswer.of(state.tuning),
            comparison=PlanComparisonAnswer.of(state.comparison),
        )


class IndexesAnswer(Answer):
    """The indexes of all embedding spaces, oldest space first."""

    indexes: list[IndexAnswer] = Field(description="The indexes, oldest space first.")


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


class BackupAnswer(Answer):
    """A backup archive. Every digest in it was verified."""

    archive: str = Field(description="Path of the archive.")
    byte_size: int = Field(description="Size of the archive in bytes.")
    created_at: Instant = Field(description="When the backup was made, in UTC.")
    lineup_version: str = Field(description="Version of Lineup that wrote the backup.")
    database: str = Field(
        description="Kind of database that was backed up: sqlite or postgresql. The backup can be"
        " restored into either."
    )
    schema_revision: str = Field(description="Revision of the database schema.")
    generation: int = Field(description="Number of the last change in the backup.")
    spaces: list[SpaceDigestAnswer] = Field(description="The embedding spaces in the backup.")
    row_counts: dict[str, int] = Field(description="Number of rows in each table.")
    snapshots: list[str] = Field(
        description="The embedding spaces whose index snapshot is in the backup, by the first 16 "
        "digits of the fingerprint."
    )
    thumbnails: int | None = Field(
        description="Number of thumbnails in the backup. Null if thumbnails were left out."
    )
    warnings: list[str] = Field(
        description="Files that could not be read and were left out. Database rows are never left"
        " out."
    )
    seconds: float = Field(description="Duration in seconds.")


class RestoreAnswer(Answer):
    """The result of restoring a backup."""

    backup: BackupAnswer = Field(description="The backup that was restored.")
    database: str = Field(
        description="Kind of database that it was restored into: sqlite or postgresql."
    )
    data_dir: str = Field(description="Data folder that it was restored into.")
    thumbnails: int = Field(description="Number of thumbnails restored.")
