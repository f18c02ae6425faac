"""The service itself: its models, indexes, checks and backups."""

from __future__ import annotations

from pydantic import Field

from api.fields import Answer, Instant, Sha256
from api.lookups.json import RecallAnswer
from index.cache.config import Plan
from index.cache.explain import IndexState


class ModelAnswer(Answer):
    """A model that Lineup knows by name, or the one that is loaded."""

    name: str = Field(examples=["builtin"], description="As `--model` takes it.")
    description: str = Field(description="One line.")
    active: bool = Field(description="This service embeds with it.")
    available: bool = Field(description="Its files are on this machine.")
    licence: str = Field(description="Of the weights.")
    revision: str | None = Field(
        description="Pinned revision on the hub; null for a model that is not from the hub."
    )
    weights_bytes: int | None = Field(
        description="Size of the weights file; null where it is not known."
    )
    weights_sha256: Sha256 | None = Field(
        description="Null where nothing pins it before it is loaded."
    )
    embedding_space: Sha256 | None = Field(
        None, description="Fingerprint of weights and preprocessing; of the active model."
    )
    dimension: int | None = Field(
        None, description="Components of an embedding; of the active model."
    )
    image_size: int | None = Field(
        None, description="Edge of the square that the active model sees, in pixels."
    )
    parameter_count: int | None = Field(None, description="Of the active model.")
    device: str | None = Field(None, description="Where the active model runs.")
    precision: str | None = Field(
        None, description="Of the active model's forward; embeddings are float32 always."
    )


class ModelsAnswer(Answer):
    """Every model that can be named, the active one first."""

    models: list[ModelAnswer] = Field(description="The active one first.")


class ReadyAnswer(Answer):
    """Whether lookups can be answered now."""

    ready: bool = Field(description="Every check is ok.")
    checks: dict[str, str] = Field(description="Each part, with 'ok' or what is wrong.")
    generation: int | None = Field(
        description="Last change that the index has seen; null before the first."
    )


class IndexAnswer(Answer):
    """The index of one embedding space: how it answers now, and why so."""

    model: str = Field(description="Name of the model whose space it is.")
    embedding_space: Sha256 = Field(description="Fingerprint of weights and preprocessing.")
    plan: Plan = Field(
        description="flat: every vector is compared, exactly. codes: every compressed code is "
        "compared, the best "
        "candidates exactly. lists: the codes of the nearest inverted lists, the best candidates "
        "exactly."
    )
    reason: str = Field(description="Why this plan, with its figures.")
    entries: int = Field(ge=0, description="Live entries.")
    rows: int = Field(ge=0, description="Positions in the base, those of removed entries included.")
    dead: int = Field(ge=0, description="Positions of removed entries, reclaimed by compaction.")
    tail: int = Field(
        ge=0, description="Entries added since the base was written; always compared exactly."
    )
    generation: int = Field(ge=0, description="Last change that is visible.")
    snapshot_generation: int | None = Field(
        description="Last change in the snapshot on disk; null without one."
    )
    nlist: int | None = Field(description="Inverted lists; null without codes.")
    code_bytes: int | None = Field(description="Bytes of one compressed code; null without codes.")
    recall: RecallAnswer | None = Field(
        description="Measured when the codes were last written; null without codes."
    )

    @classmethod
    def of(cls, state: IndexState) -> IndexAnswer:
        """From what `index` explains."""
        return cls(
            model=state.space.model,
            embedding_space=state.space.fingerprint,
            plan=state.plan,
            reason=state.reason,
            entries=state.entries,
            rows=state.rows,
            dead=state.dead,
            tail=state.tail,
            generation=state.generation,
            snapshot_generation=state.snapshot_generation,
            nlist=state.nlist,
            code_bytes=state.code_bytes,
            recall=RecallAnswer.of(state.tuning),
        )


class IndexesAnswer(Answer):
    """The indexes of all embedding spaces of a database, oldest space first."""

    indexes: list[IndexAnswer]


class FindingAnswer(Answer):
    """One inconsistency."""

    kind: str
    item: str
    message: str
    repaired: bool


class FsckAnswer(Answer):
    """What a check of truth and cache found."""

    clean: bool = Field(description="No finding, or every finding repaired.")
    findings: list[FindingAnswer]
    checked: dict[str, int]


class SpaceDigestAnswer(Answer):
    """An embedding space in a backup."""

    embedding_space: Sha256 = Field(description="Fingerprint of weights and preprocessing.")
    model: str
    dimension: int
    digest: Sha256 = Field(
        description="Set digest of its live entries, as the change log states it."
    )


class BackupAnswer(Answer):
    """A backup whose every digest was compared."""

    archive: str = Field(description="Path of the file.")
    byte_size: int
    created_at: Instant
    lineup_version: str = Field(description="Release that wrote it.")
    database: str = Field(
        description="Which it was made of: sqlite or postgresql; it restores into both."
    )
    schema_revision: str
    generation: int = Field(description="Number of the last change in it.")
    spaces: list[SpaceDigestAnswer]
    row_counts: dict[str, int] = Field(description="Rows of each table.")
    snapshots: list[str] = Field(
        description="Embedding spaces, first 16 digits, whose index snapshot is in it."
    )
    thumbnails: int | None = Field(description="How many; null where they were left out.")
    warnings: list[str] = Field(description="What could not be read and was left out; never rows.")
    seconds: float


class RestoreAnswer(Answer):
    """What was restored, and where."""

    backup: BackupAnswer
    database: str = Field(description="Into which: sqlite or postgresql.")
    data_dir: str
    thumbnails: int = Field(description="How many were restored.")
