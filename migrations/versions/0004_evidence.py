"""Add calibrations, embeddings of delivered reference images, replay of look-ups, and quarantine.

Revision 0004. It is frozen and imports nothing from Lineup, so that its result never changes.

It only adds tables and columns. Older look-ups have no embedding of their probe; they can be
replayed if the probe is an ingested image.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("lookups", sa.Column("probe_vector", sa.LargeBinary()))
    op.add_column("lookups", sa.Column("calibration_id", BIG_ID))
    op.add_column("entries", sa.Column("removal_reason", sa.Text()))
    op.create_table(
        "calibrations",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("space_id", sa.Integer(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("document_sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_calibrations"),
        sa.ForeignKeyConstraint(
            ["space_id"], ["embedding_spaces.id"], name="fk_calibrations_space_id_embedding_spaces"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_calibrations_space_id", "calibrations", ["space_id"])
    op.create_table(
        "reference_embeddings",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("image_id", BIG_ID, nullable=False),
        sa.Column("space_id", sa.Integer(), nullable=False),
        sa.Column("condition", sa.String(16), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("logit", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reference_embeddings"),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name="fk_reference_embeddings_image_id_images"
        ),
        sa.ForeignKeyConstraint(
            ["space_id"],
            ["embedding_spaces.id"],
            name="fk_reference_embeddings_space_id_embedding_spaces",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_reference_embeddings_image_id_space_id_condition",
        "reference_embeddings",
        ["image_id", "space_id", "condition"],
        unique=True,
    )


def downgrade() -> None:
    op.drop_table("reference_embeddings")
    op.drop_table("calibrations")
    op.drop_column("entries", "removal_reason")
    op.drop_column("lookups", "calibration_id")
    op.drop_column("lookups", "probe_vector")
