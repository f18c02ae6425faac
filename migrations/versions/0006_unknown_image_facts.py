"""Store NULL for unknown facts about an image, instead of 0 and empty text.

Revision 0006. It is frozen and imports nothing from Lineup, so that its result never changes.

A ready embedding may come without the size and format of its image. SQLite cannot drop NOT NULL
from a column. Alembic's batch mode would drop the table and create it again, which the foreign keys
of entries and embeddings forbid within a transaction. So a new column replaces each old one.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "byte_size": sa.BigInteger(),
    "width": sa.Integer(),
    "height": sa.Integer(),
    "format": sa.String(16),
}
UNKNOWN: dict[str, Any] = {"byte_size": 0, "width": 0, "height": 0, "format": ""}

images = sa.table(
    "images",
    *(sa.column(name, of) for name, of in TYPES.items()),
    *(sa.column(f"new_{name}", of) for name, of in TYPES.items()),
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _replace_columns(
            [sa.Column(f"new_{name}", of) for name, of in TYPES.items()],
            {name: sa.func.nullif(images.c[name], UNKNOWN[name]) for name in TYPES},
        )
        return
    for name in TYPES:
        op.alter_column("images", name, nullable=True)
    for name, value in UNKNOWN.items():
        op.execute(sa.update(images).where(images.c[name] == value).values({name: None}))


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _replace_columns(
            [  # SQLite adds no NOT NULL column without a default
                sa.Column(f"new_{name}", of, nullable=False, server_default=str(UNKNOWN[name]))
                for name, of in TYPES.items()
            ],
            {name: sa.func.coalesce(images.c[name], UNKNOWN[name]) for name in TYPES},
        )
        return
    for name, value in UNKNOWN.items():
        op.execute(sa.update(images).where(images.c[name].is_(None)).values({name: value}))
    for name in TYPES:
        op.alter_column("images", name, nullable=False)


def _replace_columns(
    columns: list[sa.Column[Any]], values: dict[str, sa.ColumnElement[Any]]
) -> None:
    for column in columns:
        op.add_column("images", column)
    op.execute(sa.update(images).values({f"new_{name}": value for name, value in values.items()}))
    for name in TYPES:
        op.drop_column("images", name)
        op.execute(sa.text(f"ALTER TABLE images RENAME COLUMN new_{name} TO {name}"))
