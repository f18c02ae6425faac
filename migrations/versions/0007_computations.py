"""Record the device and the precision that computed embeddings and calibrations.

Revision 0007. It is frozen and imports nothing from Lineup, so that its result never changes.

A row of an earlier release keeps NULL: nobody recorded what computed it. `corpus_computations` gets
one row for each corpus and space that has embeddings, because all of them are of that kind.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COMPUTED = ("embeddings", "reference_embeddings", "calibrations")
UNIQUE_INDEX = "uq_corpus_computations_corpus_id_space_id_computation_id"
UNKNOWN_INDEX = "uq_corpus_computations_unknown"
UNKNOWN = sa.text("computation_id IS NULL")


def upgrade() -> None:
    op.create_table(
        "computations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("precision", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_computations"),
    )
    op.create_index(
        "uq_computations_device_precision", "computations", ["device", "precision"], unique=True
    )
    for table in COMPUTED:
        _add_column(table)
    op.create_table(
        "precision_checks",
        sa.Column("space_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("computation_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("smallest_cosine", sa.Float(53), nullable=False),
        sa.Column("largest_logit_difference", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("space_id", "computation_id", name="pk_precision_checks"),
        sa.ForeignKeyConstraint(
            ["space_id"],
            ["embedding_spaces.id"],
            name="fk_precision_checks_space_id_embedding_spaces",
        ),
        sa.ForeignKeyConstraint(
            ["computation_id"],
            ["computations.id"],
            name="fk_precision_checks_computation_id_computations",
        ),
    )
    op.create_table(
        "corpus_computations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("corpus_id", BIG_ID, nullable=False),
        sa.Column("space_id", sa.Integer(), nullable=False),
        sa.Column("computation_id", sa.Integer()),
        sa.Column("first_generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_corpus_computations"),
        sa.ForeignKeyConstraint(
            ["corpus_id"], ["corpora.id"], name="fk_corpus_computations_corpus_id_corpora"
        ),
        sa.ForeignKeyConstraint(
            ["space_id"],
            ["embedding_spaces.id"],
            name="fk_corpus_computations_space_id_embedding_spaces",
        ),
        sa.ForeignKeyConstraint(
            ["computation_id"],
            ["computations.id"],
            name="fk_corpus_computations_computation_id_computations",
        ),
    )
    op.create_index(
        UNIQUE_INDEX,
        "corpus_computations",
        ["corpus_id", "space_id", "computation_id"],
        unique=True,
    )
    op.create_index(
        UNKNOWN_INDEX,
        "corpus_computations",
        ["corpus_id", "space_id"],
        unique=True,
        sqlite_where=UNKNOWN,
        postgresql_where=UNKNOWN,
    )
    op.execute(
        "INSERT INTO corpus_computations (corpus_id, space_id, first_generation) "
        "SELECT entries.corpus_id, changes.space_id, min(changes.number) "
        "FROM changes JOIN entries ON entries.id = changes.entry_id "
        "WHERE changes.kind = 'add' GROUP BY entries.corpus_id, changes.space_id "
        "ORDER BY min(changes.number)"
    )


def downgrade() -> None:
    op.drop_table("corpus_computations")
    op.drop_table("precision_checks")
    for table in COMPUTED:
        op.drop_column(table, "computation_id")
    op.drop_table("computations")


def _add_column(table: str) -> None:
    """Add the column by hand: Alembic adds no column with a foreign key in SQLite."""
    name = f"fk_{table}_computation_id_computations"
    op.execute(
        f"ALTER TABLE {table} ADD COLUMN computation_id INTEGER "
        f"CONSTRAINT {name} REFERENCES computations (id)"
    )
