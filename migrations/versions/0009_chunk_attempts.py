"""Count how often the work on a chunk began, and say why nobody works on a job.

Revision 0009. It is frozen and imports nothing from Lineup, so that its result never changes.

Chunks of earlier releases count as not tried.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "job_chunks",
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
    )
    op.add_column("job_chunks", sa.Column("error", sa.Text()))
    op.add_column("job_chunks", sa.Column("item_name", sa.Text()))
    op.add_column("jobs", sa.Column("obstacle", sa.Text()))


def downgrade() -> None:
    op.drop_column("jobs", "obstacle")
    for column in ("item_name", "error", "attempts"):
        op.drop_column("job_chunks", column)
