"""Add jobs with chunks and items, perceptual hashes, the setting `keep` and the active model.

Revision 0003. It is frozen and imports nothing from Lineup, so that its result never changes.

It only adds tables and columns, so upgrading a database of millions of rows takes a moment. Older
images have no perceptual hash; `lineup reembed` computes it if the image can still be read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)
COUNTS = (
    "found",
    "added",
    "linked",
    "embedded",
    "skipped",
    "failed",
    "duplicates",
    "near_duplicates",
)


def upgrade() -> None:
    op.add_column(
        "corpora", sa.Column("keep", sa.String(16), nullable=False, server_default="thumbnail")
    )
    op.add_column("images", sa.Column("pdq_hash", sa.LargeBinary()))
    op.add_column("images", sa.Column("pdq_quality", sa.SmallInteger()))
    op.add_column(
        "images", sa.Column("seen", sa.Boolean(), nullable=False, server_default=sa.true())
    )
    op.add_column("entries", sa.Column("job_id", BIG_ID))
    _create_jobs()
    op.create_table(
        "active_model",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("space_id", sa.Integer(), nullable=False),
        sa.Column("activated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_active_model"),
        sa.ForeignKeyConstraint(
            ["space_id"], ["embedding_spaces.id"], name="fk_active_model_space_id_embedding_spaces"
        ),
        sa.CheckConstraint("id = 1", name=op.f("ck_active_model_one_row")),
    )


def downgrade() -> None:
    for table in ("active_model", "job_items", "job_chunks", "jobs"):
        op.drop_table(table)
    op.drop_column("entries", "job_id")
    op.drop_column("images", "seen")
    op.drop_column("images", "pdq_quality")
    op.drop_column("images", "pdq_hash")
    op.drop_column("corpora", "keep")


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("corpus_id", BIG_ID),
        sa.Column("space_id", sa.Integer(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["corpus_id"], ["corpora.id"], name="fk_jobs_corpus_id_corpora"),
        sa.ForeignKeyConstraint(
            ["space_id"], ["embedding_spaces.id"], name="fk_jobs_space_id_embedding_spaces"
        ),
        sqlite_autoincrement=True,
    )
    for column in ("state", "request_sha256"):
        op.create_index(f"ix_jobs_{column}", "jobs", [column])
    op.create_table(
        "job_chunks",
        sa.Column("job_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_position", sa.BigInteger(), nullable=False),
        sa.Column("item_count", sa.Integer(), nullable=False),
        sa.Column("span", sa.Text(), nullable=False),
        sa.Column("worker", sa.String(64)),
        sa.Column("leased_until", INSTANT),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_job_chunks"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_chunks_job_id_jobs"),
    )
    op.create_table(
        "job_items",
        sa.Column("job_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(8), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("entry_id", BIG_ID),
        sa.PrimaryKeyConstraint("job_id", "position", name="pk_job_items"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_items_job_id_jobs"),
    )
