"""Add an index of the perceptual hashes, so that opening does not read the rows of all images; and
what a removal of a corpus in several transactions needs.

Revision 0010. It is frozen and imports nothing from Lineup, so that its result never changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

HASHED = sa.text("pdq_hash IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_images_hashes",
        "images",
        ["id", "pdq_quality", "pdq_hash"],
        sqlite_where=HASHED,
        postgresql_where=HASHED,
    )
    op.add_column("corpora", sa.Column("removed_from", sa.BigInteger()))
    op.add_column(
        "corpora",
        sa.Column("emptying", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column(
        "jobs",
        sa.Column("removed", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
    )


def downgrade() -> None:
    op.drop_column("jobs", "removed")
    op.drop_column("corpora", "emptying")
    op.drop_column("corpora", "removed_from")
    op.drop_index("ix_images_hashes", "images")
