"""Count the commits that change what answers show of an entry and that the change log does not
record.

Revision 0012. It is frozen and imports nothing from Lineup, so that its result never changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "change_counter",
        sa.Column("amendments", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
    )


def downgrade() -> None:
    op.drop_column("change_counter", "amendments")
