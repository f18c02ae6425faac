"""Mark calibrations that rest on photographs that came with the model.

Revision 0008. It is frozen and imports nothing from Lineup, so that its result never changes.

Calibrations of earlier releases rest on known-real images of the installation.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "calibrations",
        sa.Column("provisional", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    op.drop_column("calibrations", "provisional")
