"""Corpora and their entries."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Annotated

from fastapi import File, Form, Response, UploadFile
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Json
from starlette.background import BackgroundTask

from api.corpora.catalogue import (
    add_corpus,
    describe_corpus,
    describe_entry,
    drop_entry,
    get_thumbnail,
    page_corpora,
    page_entries,
)
from api.corpora.json import AddedEntry, CorpusAnswer, CorpusPage, EntryAnswer, EntryPage, NewCorpus
from api.corpora.removing import start_removing
from api.fields import FreeJSON, Instant, PlainText
from api.http.lanes import Kind
from api.http.routes.dependencies import Opened
from api.http.routes.parameters import CorpusName, Cursor, EntryId, Limit
from api.http.routing import lane, make_router
from api.ingest.single import add_image
from api.jobs.json import JobAnswer
from index.truth.provenance import Provenance

router = make_router()
PARQUET = "application/vnd.apache.parquet"


@router.get("/corpora", tags=["corpora"], summary="List corpora")
def read_corpora(lineup: Opened, cursor: Cursor = None, limit: Limit = 100) -> CorpusPage:
    """Ordered by name."""
    return page_corpora(lineup.database, cursor, limit)


@router.post("/corpora", tags=["corpora"], status_code=201, summary="Create a corpus")
def create(new: NewCorpus, response: Response, lineup: Opened) -> CorpusAnswer:
    """A corpus holds known fakes or known-real images. Its kind cannot be changed later."""
    corpus = add_corpus(lineup.database, new)
    response.headers["Location"] = f"/v1/corpora/{corpus.name}"
    return corpus


@router.get("/corpora/{name}", tags=["corpora"], summary="Read a corpus")
def read_corpus(name: CorpusName, lineup: Opened) -> CorpusAnswer:
    """Returns the corpus and the number of its entries."""
    return describe_corpus(lineup.database, name)


@router.delete(
    "/corpora/{name}",
    tags=["corpora"],
    status_code=204,
    summary="Remove a corpus",
    responses={
        202: {
            "model": JobAnswer,
            "description": "A large corpus: it is removed, and a job removes its entries.",
        }
    },
)
def delete_corpus(name: CorpusName, lineup: Opened) -> Response:
    """Removes the corpus and all its entries. Images stay in the other corpora that hold them.

    When this returns, no new answer has an entry of the corpus. The rows of a large corpus are
    removed by a job, which the answer is then.
    """
    started = start_removing(lineup.database, lineup.blob_stores, name)
    if isinstance(started, int):
        return Response(status_code=204)
    answer, place = JobAnswer.of(started), {"Location": f"/v1/jobs/{started.id}"}
    return JSONResponse(answer.model_dump(mode="json"), 202, place)


@router.get(
    "/corpora/{name}/export",
    tags=["corpora"],
    summary="Export a corpus",
    response_class=FileResponse,
    responses={
        200: {
            "content": {PARQUET: {}},
            "description": "Parquet: provenance, hashes, logits and embeddings. No images.",
        }
    },
)
@lane(Kind.EXPORTS)
def export(name: CorpusName, lineup: Opened) -> FileResponse:
    """Returns all entries of one generation as a Parquet file. It can be ingested again wherever a
    model of the same embedding space is used.
    """
    from api.corpora.export import export_corpus  # noqa: PLC0415 -- pyarrow, as in api.worker.running

    folder = Path(mkdtemp(prefix="lineup-export-"))
    try:
        export_corpus(lineup.database, lineup.space, name, folder / f"{name}.parquet")
    except BaseException:
        rmtree(folder, ignore_errors=True)
        raise
    sent = BackgroundTask(rmtree, folder, ignore_errors=True)
    return FileResponse(
        folder / f"{name}.parquet", media_type=PARQUET, filename=f"{name}.parquet", background=sent
    )


@router.get("/corpora/{name}/entries", tags=["entries"], summary="List the entries of a corpus")
def read_entries(
    name: CorpusName, lineup: Opened, cursor: Cursor = None, limit: Limit = 100
) -> EntryPage:
    """Ordered by id, which is the order in which they were added."""
    return page_entries(lineup.database, name, cursor, limit)


@router.post(
    "/corpora/{name}/entries",
    tags=["entries"],
    status_code=201,
    summary="Add one image",
    responses={
        200: {
            "model": AddedEntry,
            "description": "The image is already in this corpus. Nothing changed.",
        }
    },
)
@lane(Kind.IMAGES)
def create_entry(
    name: CorpusName,
    response: Response,
    lineup: Opened,
    image: Annotated[UploadFile, File(description="The image file, unchanged.")],
    generator: Annotated[
        PlainText | None, Form(description="Generator that made the image.", max_length=200)
    ] = None,
    label: Annotated[PlainText | None, Form(description="Free label.", max_length=200)] = None,
    licence: Annotated[
        PlainText | None, Form(description="Licence of the image.", max_length=200)
    ] = None,
    source: Annotated[
        PlainText | None, Form(description="Where the image comes from.", max_length=1000)
    ] = None,
    acquired_at: Annotated[
        Instant | None,
        Form(description="When the image was acquired. A time without a zone is UTC."),
    ] = None,
    provenance: Annotated[
        Json[FreeJSON] | None, Form(description="Further provenance, as a free JSON object.")
    ] = None,
) -> AddedEntry:
    """Every look-up that starts after this answer finds the image, in every process."""
    declared = Provenance(generator, label, licence, source, acquired_at, provenance or {})
    describer = lineup.copies.find_describer()
    added = add_image(lineup, image.file.read(), name, declared, describer)
    response.status_code = 200 if added.status == "skipped" else 201
    response.headers["Location"] = f"/v1/entries/{added.entry.id}"
    return added


@router.get("/entries/{entry_id}", tags=["entries"], summary="Read an entry")
def read_entry(entry_id: EntryId, lineup: Opened) -> EntryAnswer:
    """Returns the entry with its provenance. An entry that was removed is not found."""
    return describe_entry(lineup.database, entry_id)


@router.delete("/entries/{entry_id}", tags=["entries"], status_code=204, summary="Remove an entry")
def delete_entry(entry_id: EntryId, lineup: Opened) -> None:
    """When this returns, no new answer contains the entry. The image stays in every other corpus
    that holds it.
    """
    drop_entry(lineup.database, lineup.blob_stores, entry_id)


@router.get(
    "/entries/{entry_id}/thumbnail",
    tags=["entries"],
    summary="Read the thumbnail of an entry",
    response_class=Response,
    responses={
        200: {
            "content": {"image/webp": {}},
            "description": "A WebP image, at most 256 pixels on the longer side.",
        }
    },
)
@lane(Kind.THUMBNAILS)
def read_thumbnail(entry_id: EntryId, lineup: Opened) -> Response:
    """Returns the thumbnail that was made when the image was added. Some corpora keep none."""
    data = get_thumbnail(lineup.database, lineup.blob_stores.thumbnails, entry_id)
    return Response(
        data, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600"}
    )
