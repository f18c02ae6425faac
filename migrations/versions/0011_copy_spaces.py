"""Add embedding spaces of copy descriptors beside the forensic ones, and what goes with them.

Revision 0011. It is frozen and imports nothing from Lineup, so that its result never changes.

A copy descriptor has no logit, so `embeddings.logit` loses NOT NULL. SQLite cannot drop it by a
statement, and a copy of the table would write every vector again. No stored byte depends on NOT
NULL, so the text of the schema is edited in the transaction of the migration: that takes the same
moment for any number of rows, and needs no room on the disk. sqlite.org describes it ("Making Other
Kinds Of Table Schema Changes").
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KIND = "kind IN ('forensic', 'copy')"
LOGIT = "logit FLOAT"
NOT_NULL = f"{LOGIT} NOT NULL"


def upgrade() -> None:
    # One statement for column and check: SQLite adds no check to a table that exists.
    op.execute(
        "ALTER TABLE embedding_spaces ADD COLUMN kind VARCHAR(16) DEFAULT 'forensic' NOT NULL "
        f"CONSTRAINT ck_embedding_spaces_kind CHECK ({KIND})"
    )
    if op.get_bind().dialect.name == "sqlite":
        _edit_table(NOT_NULL, LOGIT)
    else:
        op.alter_column("embeddings", "logit", nullable=True)
    op.add_column(
        "corpora", sa.Column("features", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_table(
        "active_copy_space",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("descriptor", sa.Text(), nullable=False),
        sa.Column("space_id", sa.Integer(), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_active_copy_space"),
        sa.ForeignKeyConstraint(
            ["space_id"],
            ["embedding_spaces.id"],
            name="fk_active_copy_space_space_id_embedding_spaces",
        ),
        sa.CheckConstraint("id = 1", name="one_row"),
    )


def downgrade() -> None:
    conn = op.get_bind()
    copies = conn.execute(
        sa.text("SELECT count(*) FROM embedding_spaces WHERE kind = 'copy'")
    ).scalar_one()
    if copies:
        # Their vectors have another format, and their changes are in the one log: without them its
        # numbers would have gaps.
        raise RuntimeError("the older schema cannot hold the vectors of copy descriptors")
    op.drop_table("active_copy_space")
    op.drop_column("corpora", "features")
    if conn.dialect.name == "sqlite":
        _edit_table(LOGIT, NOT_NULL)
    else:
        op.alter_column("embeddings", "logit", nullable=False)
    op.drop_column("embedding_spaces", "kind")  # with its check


def _edit_table(before: str, after: str) -> None:
    """Replace one definition in the text of SQLite's table `embeddings`."""
    conn = op.get_bind()
    stored = conn.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'embeddings'"
    ).scalar_one()
    edited = stored.replace(f"\t{before}, ", f"\t{after}, ")
    if len(edited) - len(stored) != len(after) - len(before):  # not exactly once
        raise RuntimeError(f"the table embeddings is not that of schema 0010: {stored}")
    version = conn.exec_driver_sql("PRAGMA schema_version").scalar_one()
    conn.exec_driver_sql("PRAGMA writable_schema = ON")
    conn.exec_driver_sql(
        "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = 'embeddings'", (edited,)
    )
    # Other connections read the schema again when this number changes.
    conn.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    conn.exec_driver_sql("PRAGMA writable_schema = OFF")
