"""Reading populations from SQL: the images of corpora with their stored embeddings, as arrays.

Also owns the choice of a sample. The statistics are in the modules beside this one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from index.calibration.population import CollectionName, Population
from index.errors import CorpusKindConflict
from index.truth.corpora import CorpusKind, find_corpus_ids
from index.truth.perceptual import PerceptualHash
from index.truth.schema import corpora, embeddings, entries, images
from index.truth.spaces import Space, find_space_id
from index.truth.statements import is_any
from index.truth.vectors import rows_from_bytes

PAGE = 4096
# A key of free provenance: images with equal values were made from one photograph, or are parts of
# it.
SOURCE_IMAGE = "source_image"


@dataclass(frozen=True, slots=True)
class NamedCorpora:
    """Corpora of one kind: names and row ids, sorted by name."""

    names: tuple[str, ...]
    ids: tuple[int, ...]


class SourceNumbers:
    """Numbers of source images, the same for all populations that share this object."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, image_id: int, provenance: Mapping[str, Any]) -> int:
        """Return the number of an image's source: the declared one, otherwise the image itself."""
        source = _declared_source(provenance)
        key = f"image {image_id}" if source is None else f"source {source}"
        return self._numbers.setdefault(key, len(self._numbers))


def _declared_source(provenance: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- any JSON scalar
    """Return the source image that provenance declares: for the entry, in the row of a manifest, or
    by the pattern of a file name.
    """
    for declared in (provenance, provenance.get("source"), provenance.get("pattern")):
        if isinstance(declared, Mapping) and declared.get(SOURCE_IMAGE) is not None:
            return declared[SOURCE_IMAGE]
    return None


def find_folder(provenance: Mapping[str, Any]) -> str | None:
    """Return the folder that stands for an entry's collection where no source is declared: the
    first one of its path below what was ingested, otherwise the name of the folder that was
    ingested. None if an ingest of a folder did not add it.
    """
    path, location = provenance.get("path"), provenance.get("location")
    if not isinstance(path, str):
        return None
    first, separator, _ = path.strip("/").partition("/")
    if separator:
        return first or None
    if isinstance(location, str) and location.endswith(f"/{path}"):
        return location.removesuffix(f"/{path}").rpartition("/")[2] or None
    return None


def get_named_corpora(
    conn: Connection, names: Collection[str] | None, kind: CorpusKind
) -> NamedCorpora:
    """Return the live corpora of a kind with these names, or all of them if `names` is None.

    Raises:
        UnknownCorpus
        CorpusKindConflict: a name is that of a corpus of the other kind.

    """
    query = select(corpora.c.id, corpora.c.name, corpora.c.kind).where(
        corpora.c.removed_at.is_(None)
    )
    if names is None:
        query = query.where(corpora.c.kind == kind.value)
    else:
        query = query.where(corpora.c.id.in_(find_corpus_ids(conn, frozenset(names))))
    rows = conn.execute(query.order_by(corpora.c.name)).all()
    for row in rows:
        if row.kind != kind:
            raise CorpusKindConflict(row.name, row.kind, kind.value)
    return NamedCorpora(tuple(row.name for row in rows), tuple(row.id for row in rows))


class _Read(NamedTuple):
    """An entry as it is read, without the vector of its image."""

    id: int
    image_id: int
    corpus_id: int
    source: str | None
    generator: str | None
    provenance: Mapping[str, Any]
    pdq_hash: bytes | None
    pdq_quality: int  # of a hash
    logit: Any  # a float, or None in a copy space


def read_population(
    conn: Connection, space: Space, of: NamedCorpora, sources: SourceNumbers
) -> Population:
    """Return the images of some corpora that are embedded in a space, each once, ordered by the id
    of its first entry. In a copy space the logits are NaN.

    The vectors stay in the form in which they are stored: those of a million images described by
    512 numbers take 1 GB.
    """
    space_id, after = find_space_id(conn, space) or 0, 0
    corpus_names = dict(zip(of.ids, of.names, strict=True))
    collections: dict[CollectionName, CollectionName] = {}  # images share the objects
    seen: set[int] = set()
    rows: list[_Read] = []  # without their vectors, which take the most memory
    vectors = [np.empty((0, space.dimension), space.form)]
    while True:
        page = conn.execute(
            select(
                entries.c.id,
                entries.c.image_id,
                entries.c.corpus_id,
                entries.c.source,
                entries.c.generator,
                entries.c.provenance,
                images.c.pdq_hash,
                images.c.pdq_quality,
                embeddings.c.logit,
                embeddings.c.vector,
            )
            .join(images, images.c.id == entries.c.image_id)
            .join(
                embeddings,
                (embeddings.c.image_id == entries.c.image_id) & (embeddings.c.space_id == space_id),
            )
            .where(
                is_any(conn, entries.c.corpus_id, of.ids),
                entries.c.removed_at.is_(None),
                entries.c.id > after,
            )
            .order_by(entries.c.id)
            .limit(PAGE)
        ).all()
        if not page:
            break
        after = page[-1].id
        stored = []
        for row in page:
            if row.image_id not in seen:
                seen.add(row.image_id)
                stored.append(bytes(row.vector))
                rows.append(_Read(*row[:-1]))
        of_page = rows_from_bytes(stored, space.dimension, space.form)
        vectors.append(of_page.astype(space.form, copy=False))
    return Population(
        image_ids=np.array([row.image_id for row in rows], np.int64),
        sources=np.array([sources.number(row.image_id, row.provenance) for row in rows], np.int64),
        vectors=np.concatenate(vectors),
        logits=np.array([row.logit for row in rows], np.float64),
        generators=tuple(row.generator for row in rows),
        hashes=tuple(
            None if row.pdq_hash is None else PerceptualHash(bytes(row.pdq_hash), row.pdq_quality)
            for row in rows
        ),
        collections=tuple(
            collections.setdefault(name, name)
            for name in (
                CollectionName(
                    corpus_names[row.corpus_id], row.source or find_folder(row.provenance)
                )
                for row in rows
            )
        ),
    )


def draw_rows(count: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """Return the rows of a random sample of `wanted` of `count` rows, rising; all rows if there are
    no more.
    """
    if count <= wanted:
        return np.arange(count, dtype=np.int64)
    picked: NDArray[np.int64] = np.sort(
        np.random.default_rng(seed).choice(count, wanted, replace=False)
    )
    return picked
