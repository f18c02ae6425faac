"""A client's ingest reads only what the server may read, or what the client sent."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import pytest

from api.errors import InvalidRequest, SourceNotAllowed
from api.jobs.catalogue import describe_job
from api.worker.submitting import IngestOrder, submit, submit_upload
from index.errors import CorpusKindConflict
from index.truth.corpora import CorpusKind, create_corpus
from index.truth.databases.database import Database
from tests.api.modelless import SPACE, corpus_names


def test_sources_outside_of_the_roots_are_refused_before_anything_is_made(
    database: Database, tmp_path: Path
) -> None:
    roots = [str(tmp_path / "in")]
    for source in ("/etc", f"{tmp_path}/in/../other", f"{tmp_path}/in-too", "s3://bucket/x"):
        with pytest.raises(SourceNotAllowed):
            submit(database, SPACE, roots, "known", IngestOrder(sources=[source]))
    with pytest.raises(SourceNotAllowed):  # one of several
        submit(database, SPACE, roots, "known", IngestOrder(sources=[*roots, "/etc"]))
    with pytest.raises(SourceNotAllowed):  # a server without roots
        submit(database, SPACE, [], "known", IngestOrder(sources=roots))
    with pytest.raises(InvalidRequest, match="at least one"):
        submit(database, SPACE, roots, "known", IngestOrder())

    assert corpus_names(database) == []


def test_an_order_becomes_the_request_of_a_job_with_its_roots(
    database: Database, tmp_path: Path
) -> None:
    order = IngestOrder(sources=[f"{tmp_path}/in/b"], generator="sdxl", provenance={"n": 1})

    answer = submit(database, SPACE, [str(tmp_path / "in")], "known", order)

    assert answer.request == {
        "sources": ["b"],
        "corpus": "known",
        "generator": "sdxl",
        "provenance": {"n": 1},
    }, "a client reads no path of the server"
    assert describe_job(database, answer.id, local=True).request == {
        "sources": [f"{tmp_path}/in/b"],
        "corpus": "known",
        "roots": [f"{tmp_path}/in"],
        "generator": "sdxl",
        "provenance": {"n": 1},
    }


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a.tar", "a.tar"),
        ("../../evil.tar", "evil.tar"),
        ("C:\\x\\evil.zip", "evil.zip"),
        (".hidden", "hidden"),
        ("", "upload"),
        ("/", "upload"),
        ("..", "upload"),
    ],
)
def test_an_upload_lies_in_a_folder_of_its_own_which_is_its_root(
    database: Database, tmp_path: Path, name: str, kept: str
) -> None:
    answer = submit_upload(
        database, SPACE, tmp_path / "uploads", "known", IngestOrder(), io.BytesIO(b"bytes"), name
    )

    assert answer.request["sources"] == [f"upload:{kept}"]
    request = describe_job(database, answer.id, local=True).request
    (source,), (root,) = request["sources"], request["roots"]
    assert (Path(source).name, Path(source).read_bytes()) == (kept, b"bytes")
    assert Path(source).parent == Path(root)
    assert Path(root).parent == tmp_path / "uploads"


def test_an_upload_with_a_name_that_no_disk_holds_is_refused(
    database: Database, tmp_path: Path
) -> None:
    for name in ("x" * 256, "é" * 128):
        with pytest.raises(InvalidRequest) as caught:
            submit_upload(
                database, SPACE, tmp_path, "known", IngestOrder(), io.BytesIO(b"bytes"), name
            )
        assert caught.value.errors[0]["field"] == "source"
    assert not list(tmp_path.glob("*/"))


class BrokenFile(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:  # noqa: ARG002 -- as any file
        raise OSError("the connection broke off")


@pytest.mark.parametrize("file", [io.BytesIO(b"x"), BrokenFile()])
def test_an_upload_that_is_refused_leaves_no_file(
    database: Database, tmp_path: Path, file: BinaryIO
) -> None:
    uploads = tmp_path / "uploads"
    with database.write() as conn:
        create_corpus(conn, "known", CorpusKind.KNOWN_REAL)

    with pytest.raises((CorpusKindConflict, OSError)):
        submit_upload(database, SPACE, uploads, "known", IngestOrder(), file, "a.tar")
    with pytest.raises(InvalidRequest):
        submit_upload(
            database, SPACE, uploads, "known", IngestOrder(sources=["/x"]), io.BytesIO(), "a.tar"
        )

    assert list(uploads.iterdir()) == []
