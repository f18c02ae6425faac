"""Add the column `job_id` to calibrations.

Revision 0005. It is frozen and imports nothing from Lineup, so that its result never changes.

The stored request of a calibration contains the id of its job and keeps it. This copies the id into
a column with an index, to find the calibration of a job.
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
        job_id = _read_job_id(row.request)
        if job_id is not None:
            conn.execute(
                sa.update(calibrations).where(calibrations.c.id == row.id).values(job_id=job_id)
            )
    op.create_index("ix_calibrations_job_id", "calibrations", ["job_id"])


def _read_job_id(request: str) -> int | None:
    """Return the job that a request names; None where another program wrote the request."""
    try:
        stored = json.loads(request)
    except ValueError:
        return None
    job_id = stored.get("job") if isinstance(stored, dict) else None
    return job_id if type(job_id) is int and 0 < job_id < 2**63 else None


def downgrade() -> None:
    op.drop_index("ix_calibrations_job_id", "calibrations")
    op.drop_column("calibrations", "job_id")
