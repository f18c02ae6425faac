"""Add indexes for filters on free provenance, for the pages of a corpus and for its removal.

Revision 0002. It is frozen and imports nothing from Lineup, so that its result never changes.

The unique key of live entries now begins with the image. PostgreSQL has no statistics of a table
that is being filled. It then used the old key for queries by image, and read the whole key for each
of them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LIVE = sa.text("removed_at IS NULL")


def upgrade() -> None:
    op.drop_index("uq_entries_live_corpus_image", "entries")
    _create_live("uq_entries_live_image_corpus", ["image_id", "corpus_id"], unique=True)
    _create_live("ix_entries_live_corpus_id", ["corpus_id", "id"], unique=False)
    # Only PostgreSQL has a GIN index. SQLite cannot index the contents of JSON.
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(
            "ix_entries_provenance",
            "entries",
            ["provenance"],
            postgresql_using="gin",
            postgresql_ops={"provenance": "jsonb_path_ops"},
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_entries_provenance", "entries")
    op.drop_index("ix_entries_live_corpus_id", "entries")
    op.drop_index("uq_entries_live_image_corpus", "entries")
    _create_live("uq_entries_live_corpus_image", ["corpus_id", "image_id"], unique=True)


def _create_live(name: str, columns: list[str], *, unique: bool) -> None:
    op.create_index(
        name, "entries", columns, unique=unique, sqlite_where=LIVE, postgresql_where=LIVE
    )
