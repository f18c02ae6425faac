"""The job that measured a calibration, as a column.

Revision 0005. Frozen: it imports nothing of Lineup, so that it means the same for ever.

The number was a part of the stored request, which still holds it; here it is copied, so that the
calibration of a job is found by an index.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

calibrations = sa.table(
    "calibrations",
    sa.column("id", BIG_ID),
    sa.column("request", sa.Text()),
    sa.column("job_id", BIG_ID),
)


def upgrade() -> None:
    op.add_column("calibrations", sa.Column("job_id", BIG_ID))
    conn = op.get_bind()
    for row in conn.execute(sa.select(calibrations.c.id, calibrations.c.request)).all():
        job_id = json.loads(row.request).get("job")
        if job_id is not None:
            conn.execute(
                sa.update(calibrations).where(calibrations.c.id == row.id).values(job_id=job_id)
            )
    op.create_index("ix_calibrations_job_id", "calibrations", ["job_id"])


def downgrade() -> None:
    op.drop_index("ix_calibrations_job_id", "calibrations")
    op.drop_column("calibrations", "job_id")
