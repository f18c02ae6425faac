"""Add embedding spaces, corpora, images, entries, embeddings, the change log and look-ups.

Revision 0001, the first. It is frozen and imports nothing from Lineup, so that its result never
changes.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
INSTANT = sa.DateTime(timezone=True)
LIVE = sa.text("removed_at IS NULL")


def upgrade() -> None:
    _create_spaces()
    _create_corpora()
    _create_images()
    _create_entries()
    _create_embeddings()
    _create_change_log()
    _create_lookups()


def downgrade() -> None:
    for table in (
        "lookups",
        "changes",
        "change_counter",
        "embeddings",
        "entries",
        "images",
        "corpora",
        "embedding_spaces",
    ):
        op.drop_table(table)


def _create_spaces() -> None:
    op.create_table(
        "embedding_spaces",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.String(64), nullable=False),
        sa.Column("preprocessing_fingerprint", sa.String(64), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_embedding_spaces"),
        sa.UniqueConstraint("fingerprint", name="uq_embedding_spaces_fingerprint"),
    )


def _create_corpora() -> None:
    op.create_table(
        "corpora",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("removed_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_corpora"),
        sa.CheckConstraint("kind IN ('known_fake', 'known_real')", name=op.f("ck_corpora_kind")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_corpora_live_name",
        "corpora",
        ["name"],
        unique=True,
        sqlite_where=LIVE,
        postgresql_where=LIVE,
    )


def _create_images() -> None:
    op.create_table(
        "images",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("byte_size", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
        sa.UniqueConstraint("sha256", name="uq_images_sha256"),
        sqlite_autoincrement=True,
    )


def _create_entries() -> None:
    op.create_table(
        "entries",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("corpus_id", BIG_ID, nullable=False),
        sa.Column("image_id", BIG_ID, nullable=False),
        sa.Column("generator", sa.Text()),
        sa.Column("label", sa.Text()),
        sa.Column("licence", sa.Text()),
        sa.Column("source", sa.Text()),
        sa.Column("acquired_at", INSTANT),
        sa.Column("provenance", DOCUMENT, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("removed_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_entries"),
        sa.ForeignKeyConstraint(["corpus_id"], ["corpora.id"], name="fk_entries_corpus_id_corpora"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_entries_image_id_images"),
        sqlite_autoincrement=True,
    )
    for column in ("image_id", "generator", "label", "acquired_at"):
        op.create_index(f"ix_entries_{column}", "entries", [column])
    op.create_index(
        "uq_entries_live_corpus_image",
        "entries",
        ["corpus_id", "image_id"],
        unique=True,
        sqlite_where=LIVE,
        postgresql_where=LIVE,
    )


def _create_embeddings() -> None:
    op.create_table(
        "embeddings",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("image_id", BIG_ID, nullable=False),
        sa.Column("space_id", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("logit", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_embeddings"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_embeddings_image_id_images"),
        sa.ForeignKeyConstraint(
            ["space_id"], ["embedding_spaces.id"], name="fk_embeddings_space_id_embedding_spaces"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_embeddings_image_id_space_id", "embeddings", ["image_id", "space_id"], unique=True
    )


def _create_change_log() -> None:
    counter = op.create_table(
        "change_counter",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_change_counter"),
        sa.CheckConstraint("id = 1", name=op.f("ck_change_counter_one_row")),
    )
    op.bulk_insert(counter, [{"id": 1, "last": 0}])
    op.create_table(
        "changes",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("entry_id", BIG_ID, nullable=False),
        sa.Column("space_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_changes"),
        sa.ForeignKeyConstraint(["entry_id"], ["entries.id"], name="fk_changes_entry_id_entries"),
        sa.ForeignKeyConstraint(
            ["space_id"], ["embedding_spaces.id"], name="fk_changes_space_id_embedding_spaces"
        ),
        sa.CheckConstraint("kind IN ('add', 'remove')", name=op.f("ck_changes_kind")),
    )
    op.create_index(
        "uq_changes_entry_id_space_id_kind",
        "changes",
        ["entry_id", "space_id", "kind"],
        unique=True,
    )
    op.create_index("ix_changes_space_id_number", "changes", ["space_id", "number"])


def _create_lookups() -> None:
    op.create_table(
        "lookups",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("space_id", sa.Integer(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("probe_sha256", sa.String(64)),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lookups"),
        sa.ForeignKeyConstraint(
            ["space_id"], ["embedding_spaces.id"], name="fk_lookups_space_id_embedding_spaces"
        ),
    )
    for column in ("created_at", "probe_sha256"):
        op.create_index(f"ix_lookups_{column}", "lookups", [column])
