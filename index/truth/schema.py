"""The tables, in SQLAlchemy Core.

The migrations define the schema; a test shows that these tables are the same. Owns names, types,
keys and indexes. Statements are in the module of their topic.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    false,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: with a time zone in Python, in UTC in SQL.

    SQLite stores no time zone, so its text is always UTC.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        instant = value.astimezone(UTC)
        return instant.replace(tzinfo=None) if dialect.name == "sqlite" else instant

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# In SQLite, AUTOINCREMENT never reuses an id and needs the type INTEGER, which holds 64 bits.
BigId = BigInteger().with_variant(Integer(), "sqlite")
Document = JSON().with_variant(JSONB(), "postgresql")
# The largest row id of both databases. The drivers refuse a larger number as a parameter.
LARGEST_ID = 2**63 - 1
SHA256_HEX = 64
# The items of a job: all that the listing found, then by outcome, then those that repeat a picture,
# then the entries that a removal has removed.
JOB_COUNTS = (
    "found",
    "added",
    "linked",
    "embedded",
    "skipped",
    "failed",
    "duplicates",
    "near_duplicates",
    "removed",
)

embedding_spaces = Table(
    "embedding_spaces",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("fingerprint", String(SHA256_HEX), nullable=False, unique=True),
    Column("model", Text, nullable=False),
    Column("weights_sha256", String(SHA256_HEX), nullable=False),
    Column("preprocessing_fingerprint", String(SHA256_HEX), nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # What it is for; the format of its vectors follows from it.
    Column("kind", String(16), nullable=False, server_default="forensic"),
    CheckConstraint("kind IN ('forensic', 'copy')", name="kind"),
)

# What computed an embedding: the device and the precision of the matrix products.
computations = Table(
    "computations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("device", String(64), nullable=False),
    Column("precision", String(32), nullable=False),
)
Index(
    "uq_computations_device_precision",
    computations.c.device,
    computations.c.precision,
    unique=True,
)


def _computation_id() -> Column[int | None]:
    """What computed the row. NULL if nobody recorded it: before schema 0007, or elsewhere."""
    return Column("computation_id", Integer, ForeignKey("computations.id"))


corpora = Table(
    "corpora",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("description", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("removed_at", UtcDateTime),
    Column("keep", String(16), nullable=False, server_default="thumbnail"),
    # The number of the first change of a removal in several transactions; NULL if it was one.
    Column("removed_from", BigInteger),
    # True while a removed corpus still has entries; `index.truth.removal` explains it.
    Column("emptying", Boolean, nullable=False, server_default=false()),
    # Whether the local features of its pictures are stored at ingest.
    Column("features", Boolean, nullable=False, server_default=false()),
    CheckConstraint("kind IN ('known_fake', 'known_real')", name="kind"),
    sqlite_autoincrement=True,
)
LIVE = text("removed_at IS NULL")
# Names are unique among live corpora only. A removed corpus stays in the table for replay, and its
# name can be used again.
Index("uq_corpora_live_name", corpora.c.name, unique=True, sqlite_where=LIVE, postgresql_where=LIVE)

images = Table(
    "images",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("sha256", String(SHA256_HEX), nullable=False, unique=True),
    # NULL if unknown: a ready embedding may come without them.
    Column("byte_size", BigInteger),
    Column("width", Integer),
    Column("height", Integer),
    Column("format", String(16)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("pdq_hash", LargeBinary),  # 32 bytes, in the order of the usual 64 hex digits
    Column("pdq_quality", SmallInteger),  # 0 to 100
    # False if only a ready embedding was ingested, not the image itself.
    Column("seen", Boolean, nullable=False, server_default=true()),
    sqlite_autoincrement=True,
)

# The hashes that look-ups hold in memory, and nothing else of the images, so that a server which
# opens does not read their rows.
HASHED = text("pdq_hash IS NOT NULL")
Index(
    "ix_images_hashes",
    images.c.id,
    images.c.pdq_quality,
    images.c.pdq_hash,
    sqlite_where=HASHED,
    postgresql_where=HASHED,
)

# Long work and its progress. `index.truth.jobs.job` explains the counts.
jobs = Table(
    "jobs",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("corpus_id", BigId, ForeignKey("corpora.id")),
    Column("space_id", Integer, ForeignKey("embedding_spaces.id"), nullable=False),
    Column("request", Text, nullable=False),  # canonical JSON
    Column("request_sha256", String(SHA256_HEX), nullable=False, index=True),
    Column("listed", Boolean, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in JOB_COUNTS[:-1]),
    Column("removed", BigInteger, nullable=False, server_default=text("0")),
    Column("error", Text),
    # Why the last worker that looked at it could not work on it; NULL once one can.
    Column("obstacle", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    sqlite_autoincrement=True,
)

# Work to be done. A row is deleted when its items have ended. Number 0 lists the source.
job_chunks = Table(
    "job_chunks",
    metadata,
    Column("job_id", BigId, ForeignKey("jobs.id"), primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("first_position", BigInteger, nullable=False),  # of its first item in the source
    Column("item_count", Integer, nullable=False),
    Column("span", Text, nullable=False),  # JSON that the source can read
    Column("worker", String(64)),
    Column("leased_until", UtcDateTime),
    # How often work on it began and was not given back unharmed, with the work that goes on now.
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("error", Text),  # that ended the last attempt; NULL if the process itself ended
    Column("item_name", Text),  # of the only item, once an attempt has read it
)

# Items that failed, were skipped, or need a remark.
job_items = Table(
    "job_items",
    metadata,
    Column("job_id", BigId, ForeignKey("jobs.id"), primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("outcome", String(8), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("entry_id", BigId),
)

entries = Table(
    "entries",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("corpus_id", BigId, ForeignKey("corpora.id"), nullable=False),
    Column("image_id", BigId, ForeignKey("images.id"), nullable=False, index=True),
    Column("generator", Text, index=True),
    Column("label", Text, index=True),
    Column("licence", Text),
    Column("source", Text),
    Column("acquired_at", UtcDateTime, index=True),
    Column("provenance", Document, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("removed_at", UtcDateTime),
    Column("job_id", BigId),  # the job that added the entry
    # The reason for the quarantine; NULL if the entry is live or was removed.
    Column("removal_reason", Text),
    sqlite_autoincrement=True,
)
# A corpus has an image only once. The image comes first, so this index also finds the live entries
# of an image.
Index(
    "uq_entries_live_image_corpus",
    entries.c.image_id,
    entries.c.corpus_id,
    unique=True,
    sqlite_where=LIVE,
    postgresql_where=LIVE,
)
# For the pages of a corpus in the order of the ids, and for its removal.
Index(
    "ix_entries_live_corpus_id",
    entries.c.corpus_id,
    entries.c.id,
    sqlite_where=LIVE,
    postgresql_where=LIVE,
)
# For containment (`@>`) in the free provenance. SQLite could only index the whole text.
Index(
    "ix_entries_provenance",
    entries.c.provenance,
    postgresql_using="gin",
    postgresql_ops={"provenance": "jsonb_path_ops"},
).ddl_if(dialect="postgresql")

embeddings = Table(
    "embeddings",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("image_id", BigId, ForeignKey("images.id"), nullable=False),
    Column("space_id", Integer, ForeignKey("embedding_spaces.id"), nullable=False),
    # L2 norm 1, little-endian: float32 in a forensic space, float16 in a copy space
    Column("vector", LargeBinary, nullable=False),
    Column("logit", Float(53)),  # NULL in a copy space
    _computation_id(),
    sqlite_autoincrement=True,
)
Index("uq_embeddings_image_id_space_id", embeddings.c.image_id, embeddings.c.space_id, unique=True)

# How far a computation moves the answers of a model: a panel of pictures, compared with float32 on
# a CPU. As measured when the first embedding of this kind was written; no row where that is exact,
# or not known.
precision_checks = Table(
    "precision_checks",
    metadata,
    Column(
        "space_id",
        Integer,
        ForeignKey("embedding_spaces.id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column(
        "computation_id",
        Integer,
        ForeignKey("computations.id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("images", Integer, nullable=False),
    Column("smallest_cosine", Float(53), nullable=False),
    Column("largest_logit_difference", Float(53), nullable=False),
)

# What computed the embeddings of a corpus in a space, for look-ups: they cannot read every row. The
# first change that added such a member says from which generation on it holds. A row stays when its
# members are removed.
corpus_computations = Table(
    "corpus_computations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("corpus_id", BigId, ForeignKey("corpora.id"), nullable=False),
    Column("space_id", Integer, ForeignKey("embedding_spaces.id"), nullable=False),
    _computation_id(),
    Column("first_generation", BigInteger, nullable=False),
)
Index(
    "uq_corpus_computations_corpus_id_space_id_computation_id",
    corpus_computations.c.corpus_id,
    corpus_computations.c.space_id,
    corpus_computations.c.computation_id,
    unique=True,
)
# NULLs differ from each other in a unique index.
Index(
    "uq_corpus_computations_unknown",
    corpus_computations.c.corpus_id,
    corpus_computations.c.space_id,
    unique=True,
    sqlite_where=text("computation_id IS NULL"),
    postgresql_where=text("computation_id IS NULL"),
)

change_counter = Table(
    "change_counter",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    # Of the last commit that changed what answers show without a row in the log: its time in
    # microseconds. Earlier releases counted these commits.
    Column("amendments", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("id = 1", name="one_row"),
)

changes = Table(
    "changes",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(8), nullable=False),
    Column("entry_id", BigId, ForeignKey("entries.id"), nullable=False),
    Column("space_id", Integer, ForeignKey("embedding_spaces.id"), nullable=False),
    # The set digest of this space after this change, 32 bytes.
    Column("digest", LargeBinary, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    CheckConstraint("kind IN ('add', 'remove')", name="kind"),
)
# A member is added once and removed once, because ids are never reused. The index also answers what
# was visible at a generation.
Index(
    "uq_changes_entry_id_space_id_kind",
    changes.c.entry_id,
    changes.c.space_id,
    changes.c.kind,
    unique=True,
)
Index("ix_changes_space_id_number", changes.c.space_id, changes.c.number)

# The model that look-ups and ingests use if none is named. Without a row it is the default setting.
active_model = Table(
    "active_model",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("model", Text, nullable=False),  # a name, or the folder of a checkpoint
    Column("space_id", Integer, ForeignKey("embedding_spaces.id"), nullable=False),
    Column("activated_at", UtcDateTime, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

# The copy space that look-ups search and ingests fill, and the name or the path of its descriptor.
# Without a row there is none.
active_copy_space = Table(
    "active_copy_space",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("descriptor", Text, nullable=False),
    Column("space_id", Integer, ForeignKey("embedding_spaces.id"), nullable=False),
    Column("activated_at", UtcDateTime, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

lookups = Table(
    "lookups",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("space_id", Integer, ForeignKey("embedding_spaces.id"), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("probe_sha256", String(SHA256_HEX), index=True),
    # Canonical JSON, so that its bytes can be hashed and signed later.
    Column("request", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("probe_vector", LargeBinary),  # as in `embeddings`; a replay searches with it
    Column("calibration_id", BigId),  # the calibration that its statements use
)

# Measured error rates. A row never changes; a later measurement is a new row.
calibrations = Table(
    "calibrations",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("space_id", Integer, ForeignKey("embedding_spaces.id"), nullable=False, index=True),
    Column("generation", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("request", Text, nullable=False),  # canonical JSON: what was asked for
    Column("document", Text, nullable=False),  # canonical JSON: what was measured
    Column("document_sha256", String(SHA256_HEX), nullable=False),
    Column("job_id", BigId, index=True),  # the job that measured it; the request names it too
    _computation_id(),
    # True if it rests on photographs that came with the model; the request says so too.
    Column("provisional", Boolean, nullable=False, server_default=false()),
    sqlite_autoincrement=True,
)

# Embeddings of reference images after a delivery (for example JPEG 75). Those of the unchanged
# images are in `embeddings`.
reference_embeddings = Table(
    "reference_embeddings",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("image_id", BigId, ForeignKey("images.id"), nullable=False),
    Column("space_id", Integer, ForeignKey("embedding_spaces.id"), nullable=False),
    Column("condition", String(16), nullable=False),
    Column("vector", LargeBinary, nullable=False),  # as in `embeddings`
    Column("logit", Float(53), nullable=False),
    _computation_id(),
    sqlite_autoincrement=True,
)
Index(
    "uq_reference_embeddings_image_id_space_id_condition",
    reference_embeddings.c.image_id,
    reference_embeddings.c.space_id,
    reference_embeddings.c.condition,
    unique=True,
)
