"""Export a corpus as one Parquet file: entries, provenance, hashes, logits and vectors, no images.

Vectors of copy descriptors are written where they are asked for, and are not read back.
`lineup ingest FILE` reads it back wherever the same embedding space is used, and look-ups then find
the same. The columns are those of `api.sources.ready`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from api.errors import ExportUnwritable, FileAlreadyExists
from api.fields import Answer, CorpusName, Sha256
from api.release import get_version
from api.server_paths import name_provenance
from api.sources.ready import COPY_VECTOR_COLUMN, DEVICE_KEY, PRECISION_KEY, SPACE_KEY
from index.durable import publish, temporary_beside
from index.jsontext import canonical_json
from index.truth.active import find_active_copy_space
from index.truth.changes import last_number
from index.truth.computations import Computation, find_computations
from index.truth.corpora import get_corpus
from index.truth.coverage import ExportedRow, read_export_rows
from index.truth.databases.database import Database
from index.truth.spaces import Space
from index.truth.vectors import HALF

ROW_GROUP = 50_000
# Keys in the metadata of a file that has vectors of a copy descriptor.
COPY_SPACE_KEY = "lineup.copy_space"
COPY_MODEL_KEY = "lineup.copy_descriptor"
COLUMNS = {
    "sha256": pa.string(),
    "logit": pa.float64(),
    "byte_size": pa.int64(),
    "width": pa.int32(),
    "height": pa.int32(),
    "format": pa.string(),
    "pdq_hash": pa.string(),
    "pdq_quality": pa.int16(),
    "generator": pa.string(),
    "label": pa.string(),
    "licence": pa.string(),
    "source": pa.string(),
    "acquired_at": pa.timestamp("us", "UTC"),
    "provenance": pa.string(),
}


class ExportAnswer(Answer):
    """A corpus that was written to a file."""

    corpus: CorpusName
    file: str = Field(description="Where it is.")
    entries: int = Field(
        ge=0, description="Rows in it: live entries that are in the embedding space."
    )
    byte_size: int = Field(ge=0, description="Of the file.")
    embedding_space: Sha256 = Field(description="Of its vectors; only this space takes them back.")
    generation: int = Field(ge=0, description="The state of the corpora that it holds.")


def export_corpus(
    database: Database,
    space: Space,
    corpus: str,
    target: Path,
    *,
    replace: bool = False,
    local: bool = False,
    copies: bool = False,
) -> ExportAnswer:
    """Write the live entries of a corpus that are in a space, in one state of the database.

    Text is written as it is: a table of data is no output that anybody obeys. `local`: for somebody
    on this machine, with the paths of the images in the provenance. `copies`: with the vectors of
    the active copy space.

    Raises `UnknownCorpus`, `FileAlreadyExists`, `ExportUnwritable`.
    """
    if target.exists() and not replace:
        raise FileAlreadyExists(target)
    try:
        with temporary_beside(target) as temporary:
            with database.read(unlimited=True) as conn:
                kind = get_corpus(conn, corpus).kind
                generation = last_number(conn)
                computed = find_computations(conn, space, generation, [corpus])
                active = find_active_copy_space(conn) if copies else None
                copy_space = None if active is None else active.space
                schema = _schema(space, corpus, kind, generation, computed, copy_space)
                found = read_export_rows(conn, corpus, space, copy_space=copy_space)
                rows = _write_rows(temporary, schema, found, local=local)
            publish(temporary, target, replace=replace)
    except FileExistsError:
        raise FileAlreadyExists(target) from None
    except OSError as err:
        raise ExportUnwritable(target, err.strerror or str(err)) from err
    return ExportAnswer(
        corpus=corpus,
        file=str(target),
        entries=rows,
        byte_size=target.stat().st_size,
        embedding_space=space.fingerprint,
        generation=generation,
    )


def _write_rows(
    path: Path, schema: pa.Schema, batches: Iterable[Sequence[ExportedRow]], *, local: bool
) -> int:
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for some in batches:
            writer.write_batch(_batch(some, schema, local=local), row_group_size=ROW_GROUP)
            rows += len(some)
    return rows


def _schema(
    space: Space,
    corpus: str,
    kind: str,
    generation: int,
    computed: Sequence[Computation | None],
    copy_space: Space | None,
) -> pa.Schema:
    """Return the columns; the metadata states what a reader must know about the vectors.

    It names a device and a precision only if all vectors were computed in that one way.
    """
    metadata = {
        SPACE_KEY: space.fingerprint,
        "lineup.model": space.model,
        "lineup.weights_sha256": space.weights_sha256,
        "lineup.preprocessing_fingerprint": space.preprocessing_fingerprint,
        "lineup.corpus": corpus,
        "lineup.kind": str(kind),
        "lineup.generation": str(generation),
        "lineup.version": get_version(),
    }
    match computed:
        case [Computation() as computation]:
            metadata |= {DEVICE_KEY: computation.device, PRECISION_KEY: computation.precision}
    fields = [pa.field(name, of) for name, of in COLUMNS.items()]
    fields.append(pa.field("vector", pa.list_(pa.float32(), space.dimension)))
    if copy_space is not None:
        metadata |= {COPY_SPACE_KEY: copy_space.fingerprint, COPY_MODEL_KEY: copy_space.model}
        of_copies = pa.list_(pa.float16(), copy_space.dimension)
        fields.append(pa.field(COPY_VECTOR_COLUMN, of_copies))
    return pa.schema(fields, metadata)


def _batch(rows: Sequence[ExportedRow], schema: pa.Schema, *, local: bool) -> pa.RecordBatch:
    cells = [_cells(row, local=local) for row in rows]
    columns = {name: pa.array([each[name] for each in cells], of) for name, of in COLUMNS.items()}
    vectors = np.frombuffer(b"".join(row.vector for row in rows), "<f4")  # (n * d,)
    of_vector = schema.field("vector").type
    columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors), type=of_vector)
    if COPY_VECTOR_COLUMN in schema.names:
        columns[COPY_VECTOR_COLUMN] = pa.array(
            [row.copy_vector and np.frombuffer(row.copy_vector, HALF) for row in rows],
            type=schema.field(COPY_VECTOR_COLUMN).type,
        )
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _cells(row: ExportedRow, *, local: bool) -> dict[str, object]:
    entry, image = row.entry, row.entry.image
    provenance = entry.provenance if local else name_provenance(entry.provenance)
    hashed = image.perceptual_hash
    return {
        "sha256": image.sha256,
        "logit": row.logit,
        "byte_size": image.byte_size,
        "width": image.width,
        "height": image.height,
        "format": image.format,
        "pdq_hash": hashed.bits.hex() if hashed else None,
        "pdq_quality": hashed.quality if hashed else None,
        "generator": entry.generator,
        "label": entry.label,
        "licence": entry.licence,
        "source": entry.source,
        "acquired_at": entry.acquired_at,
        "provenance": canonical_json(provenance),
    }
