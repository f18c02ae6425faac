import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from index.errors import NoData, SchemaOutdated
from index.truth.databases import revisions
from index.truth.databases.database import Database
from index.truth.schema import metadata

POSTGRESQL_ONLY = {
    "ix_entries_provenance"
}  # Alembic does not ask an index for which database it is
MIGRATE = """
import sys
from index.truth.databases.database import Database
Database.open(sys.argv[1], migrate=True).close()
"""


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(revisions.configuration()).get_heads()) == 1


def test_a_database_never_migrated_is_refused_with_the_command_to_run(
    empty_database_url: str,
) -> None:
    with pytest.raises(NoData, match=r".*; run `lineup init`"):
        Database.open(empty_database_url)


def test_a_database_of_a_newer_release_is_refused_and_left_alone(empty_database_url: str) -> None:
    with Database.open(empty_database_url, migrate=True) as database, database.write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for migrate in (False, True):
        with pytest.raises(SchemaOutdated, match="upgrade Lineup") as caught:
            Database.open(empty_database_url, migrate=migrate)
        assert caught.value.newer


def test_offline_migrations_are_refused() -> None:
    config = revisions.configuration()
    from alembic import command  # noqa: PLC0415 - this test alone runs Alembic without Lineup

    with pytest.raises(CommandError, match="lineup init"):
        command.upgrade(config, "head", sql=True)


def test_migrations_run_where_only_the_installed_package_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lineup.db"
    subprocess.run([sys.executable, "-c", MIGRATE, url], check=True, cwd=tmp_path)
    with Database.open(url) as database:
        assert database.revision() == revisions.head()


def test_up_down_up_leaves_nothing_behind_and_everything_there(empty_database_url: str) -> None:
    with Database.open(empty_database_url, migrate=True) as database:
        before = _tables(database)
        with database.write() as conn:
            revisions.downgrade(conn, "base")
        assert _tables(database) == {"alembic_version"}
        database.upgrade()
        assert _tables(database) == before == {*metadata.tables, "alembic_version"}
        with database.read() as conn:
            assert conn.execute(text("SELECT id, last FROM change_counter")).all() == [(1, 0)]


def test_the_job_of_a_stored_calibration_becomes_a_column(empty_database_url: str) -> None:
    """A calibration of schema 0004 names its job in its request only."""
    unusable = ["[7]", "null", '{"job":"7"}', '{"job":true}', '{"job":99999999999999999999}', "{"]
    requests = ['{"job":7,"against":[]}', '{"against":[]}', '{"job":null}', *unusable]
    with Database.open(empty_database_url, migrate=True) as database:
        with database.write() as conn:
            revisions.downgrade(conn, "0004")
            conn.execute(
                text(
                    "INSERT INTO embedding_spaces (id, fingerprint, model, weights_sha256, "
                    "preprocessing_fingerprint, dimension, created_at) "
                    "VALUES (1, 'f', 'm', 'w', 'p', 4, '2026-01-02 03:04:05')"
                )
            )
            for request in requests:
                conn.execute(
                    text(
                        "INSERT INTO calibrations (space_id, generation, created_at, request, "
                        "document, document_sha256) "
                        "VALUES (1, 0, '2026-01-02 03:04:05', :request, '{}', 's')"
                    ),
                    {"request": request},
                )
        database.upgrade()
        with database.write() as conn:
            rows = conn.execute(text("SELECT job_id, request FROM calibrations ORDER BY id")).all()
            assert [tuple(row) for row in rows] == [
                (7, requests[0]),
                *((None, request) for request in requests[1:]),
            ]
            revisions.downgrade(conn, "0004")
            kept = conn.execute(text("SELECT request FROM calibrations ORDER BY id")).scalars()
            assert list(kept) == requests


def test_what_is_not_known_of_an_image_becomes_null(empty_database_url: str, dialect: str) -> None:
    """Schema 0005 has 0 and the empty text. Entries and embeddings keep their images."""
    known, unknown = ("a" * 64, 10, 20, 30, "jpeg"), ("b" * 64, 0, 0, 0, "")
    facts = "SELECT sha256, byte_size, width, height, format FROM images ORDER BY id"
    with Database.open(empty_database_url, migrate=True) as database:
        with database.write() as conn:
            revisions.downgrade(conn, "0005")
            _insert_entries(conn, [known, unknown])
        database.upgrade()
        with database.write() as conn:
            rows = [tuple(row) for row in conn.execute(text(facts))]
            assert rows == [known, ("b" * 64, None, None, None, None)]
            joined = "SELECT count(*) FROM entries JOIN images ON image_id = images.id"
            assert conn.execute(text(joined)).scalar_one() == 2
            if dialect == "sqlite":
                assert conn.execute(text("PRAGMA foreign_key_check")).all() == []
            _insert_image(conn, ("c", None, None, None, None))
            revisions.downgrade(conn, "0005")
            rows = [tuple(row) for row in conn.execute(text(facts))]
            assert rows == [known, unknown, ("c", 0, 0, 0, "")]
        database.upgrade()
        with database.read() as conn:
            nulls = "SELECT count(*) FROM images WHERE width IS NULL"
            assert conn.execute(text(nulls)).scalar_one() == 2


def test_rows_of_before_schema_0007_say_nothing_of_what_computed_them(
    empty_database_url: str, dialect: str
) -> None:
    """A corpus gets one such row for each space, from the first change that added to it."""
    computed = ("embeddings", "reference_embeddings", "calibrations")
    with Database.open(empty_database_url, migrate=True) as database:
        with database.write() as conn:
            revisions.downgrade(conn, "0006")
            for table in ("computations", "corpus_computations"):
                assert not inspect(conn).has_table(table)
            _insert_members(conn)
        database.upgrade()
        with database.write() as conn:
            for table in computed:
                unknown = text(f"SELECT count(*) FROM {table} WHERE computation_id IS NULL")
                assert conn.execute(unknown).scalar_one() == (2 if table == "embeddings" else 1)
            query = (
                "SELECT corpus_id, space_id, computation_id, first_generation "
                "FROM corpus_computations ORDER BY id"
            )
            assert [tuple(row) for row in conn.execute(text(query))] == [
                (1, 1, None, 1),
                (2, 1, None, 2),
            ]
            conn.execute(text("INSERT INTO computations VALUES (5, 'cpu', 'float32')"))
            conn.execute(text("UPDATE embeddings SET computation_id = 5 WHERE id = 2"))
            conn.execute(text("UPDATE corpus_computations SET computation_id = 5 WHERE id = 2"))
            if dialect == "sqlite":
                assert conn.execute(text("PRAGMA foreign_key_check")).all() == []
            revisions.downgrade(conn, "0006")
            kept = conn.execute(text("SELECT id, logit FROM embeddings ORDER BY id")).all()
            assert [tuple(row) for row in kept] == [(1, 0.25), (2, 0.5)]
        database.upgrade()
        with database.read() as conn:
            assert conn.execute(text("SELECT count(*) FROM corpus_computations")).scalar_one() == 2
            assert conn.execute(text("SELECT count(*) FROM computations")).scalar_one() == 0


def test_rows_of_before_schema_0011_are_forensic_and_keep_their_logits(
    empty_database_url: str, dialect: str
) -> None:
    """NOT NULL leaves and comes back without a row that is written again."""
    logits = text("SELECT id, logit, vector FROM embeddings ORDER BY id")
    with Database.open(empty_database_url, migrate=True) as database:
        with database.write() as conn:
            revisions.downgrade(conn, "0010")
            _insert_members(conn)
        with database.read() as other:  # a connection that knows the earlier schema
            before = other.execute(logits).all()
        database.upgrade()
        with database.write() as conn:
            assert conn.execute(logits).all() == before
            kinds = text("SELECT kind FROM embedding_spaces")
            assert list(conn.execute(kinds).scalars()) == ["forensic"]
            assert not any(conn.execute(text("SELECT features FROM corpora")).scalars())
            conn.execute(text("UPDATE embeddings SET logit = NULL WHERE id = 2"))
            conn.execute(text("UPDATE embeddings SET logit = 0.5 WHERE id = 2"))
            if dialect == "sqlite":
                assert conn.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
            revisions.downgrade(conn, "0010")
            assert conn.execute(logits).all() == before
        with pytest.raises(IntegrityError), database.write() as conn:
            conn.execute(text("UPDATE embeddings SET logit = NULL WHERE id = 2"))


def test_a_downgrade_that_would_lose_copy_vectors_is_refused(empty_database_url: str) -> None:
    with Database.open(empty_database_url, migrate=True) as database:
        with database.write() as conn:
            conn.execute(
                text(
                    "INSERT INTO embedding_spaces (id, fingerprint, model, weights_sha256, "
                    "preprocessing_fingerprint, dimension, created_at, kind) "
                    "VALUES (1, 'f', 'm', 'w', 'p', 1, '2026-01-02 03:04:05', 'copy')"
                )
            )
        with pytest.raises(RuntimeError, match="copy descriptors"), database.write() as conn:
            revisions.downgrade(conn, "0010")
        assert database.revision() == revisions.head()


def test_migrating_twice_changes_nothing(database: Database) -> None:
    before = _tables(database)
    database.upgrade()
    assert _tables(database) == before


def test_the_tables_in_code_are_the_tables_of_the_migrations(
    database: Database, dialect: str
) -> None:
    def belongs(_: Any, name: str | None, *__: Any) -> bool:
        return dialect == "postgresql" or name not in POSTGRESQL_ONLY

    with database.read() as conn:
        options = {"compare_type": True, "compare_server_default": True, "include_object": belongs}
        assert compare_metadata(MigrationContext.configure(conn, opts=options), metadata) == []


def test_partial_indexes_and_checks_are_the_same_in_code_and_migrations(
    empty_database_url: str, dialect: str
) -> None:
    with Database.open(empty_database_url, migrate=True) as database, database.write() as conn:
        migrated = _definitions(conn, dialect)
        revisions.downgrade(conn, "base")
        metadata.create_all(conn)
        assert _definitions(conn, dialect) == migrated


def test_processes_that_migrate_at_once_do_not_disturb_each_other(empty_database_url: str) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", MIGRATE, empty_database_url]) for _ in range(2)
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    with Database.open(empty_database_url) as database:
        assert database.revision() == revisions.head()


def test_the_configuration_survives_a_percent_sign_in_the_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(revisions, "files", lambda _package: "/some%20where/migrations")
    config: Config = revisions.configuration()
    assert config.get_main_option("script_location") == "/some%20where/migrations"


def _insert_members(conn: Any) -> None:
    """Two corpora with one image each, of which the second was removed again; a calibration."""
    at = "'2026-01-02 03:04:05'"
    for statement in (
        "INSERT INTO embedding_spaces (id, fingerprint, model, weights_sha256, "
        f"preprocessing_fingerprint, dimension, created_at) "
        f"VALUES (1, 'f', 'm', 'w', 'p', 1, {at})",
        "INSERT INTO corpora (id, name, kind, description, keep, created_at) VALUES "
        f"(1, 'fakes', 'known_fake', '', 'none', {at}), "
        f"(2, 'reals', 'known_real', '', 'none', {at})",
        f"INSERT INTO images (id, sha256, created_at) VALUES (1, 'a', {at}), (2, 'b', {at})",
        "INSERT INTO embeddings (id, image_id, space_id, vector, logit) VALUES "
        "(1, 1, 1, :vector, 0.25), (2, 2, 1, :vector, 0.5)",
        "INSERT INTO reference_embeddings (image_id, space_id, condition, vector, logit) VALUES "
        "(1, 1, 'jpeg75', :vector, 0.25)",
        "INSERT INTO entries (id, corpus_id, image_id, provenance, created_at, removed_at) VALUES "
        f"(1, 1, 1, '{{}}', {at}, NULL), (2, 2, 2, '{{}}', {at}, {at})",
        "INSERT INTO changes (number, kind, entry_id, space_id, digest, at) VALUES "
        f"(1, 'add', 1, 1, :vector, {at}), (2, 'add', 2, 1, :vector, {at}), "
        f"(3, 'remove', 2, 1, :vector, {at})",
        "INSERT INTO calibrations (space_id, generation, created_at, request, document, "
        f"document_sha256) VALUES (1, 3, {at}, '{{}}', '{{}}', 's')",
    ):
        values = {"vector": bytes(4)} if ":vector" in statement else {}
        conn.execute(text(statement), values)


def _insert_entries(conn: Any, images: list[tuple[Any, ...]]) -> None:
    corpus = (
        "INSERT INTO corpora (id, name, kind, description, keep, created_at) "
        "VALUES (1, 'known', 'known_fake', '', 'none', '2026-01-02 03:04:05')"
    )
    entries = (
        "INSERT INTO entries (corpus_id, image_id, provenance, created_at) "
        "SELECT 1, id, '{}', '2026-01-02 03:04:05' FROM images"
    )
    conn.execute(text(corpus))
    for image in images:
        _insert_image(conn, image)
    conn.execute(text(entries))


def _insert_image(conn: Any, image: tuple[Any, ...]) -> None:
    statement = (
        "INSERT INTO images (sha256, byte_size, width, height, format, created_at) "
        "VALUES (:sha256, :byte_size, :width, :height, :format, '2026-01-02 03:04:05')"
    )
    names = ("sha256", "byte_size", "width", "height", "format")
    conn.execute(text(statement), dict(zip(names, image, strict=True)))


def _tables(database: Database) -> Any:
    with database.read() as conn:
        return set(inspect(conn).get_table_names())


def _definitions(conn: Any, dialect: str) -> Any:
    if dialect == "sqlite":
        rows = conn.execute(
            text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        )
    else:
        rows = conn.execute(
            text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
        )
    indexes = {name: " ".join(sql.split()) for name, sql in rows if not name.startswith("alembic")}
    checks = {table: inspect(conn).get_check_constraints(table) for table in metadata.tables}
    return indexes, checks
