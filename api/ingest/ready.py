"""Ready embeddings into a corpus: vectors that the same model made elsewhere, without their images.

Only vectors of the same embedding space are accepted. An error in one row fails that row alone.
Vectors are checked for a whole chunk at once, because a million rows pass here in a minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

from api.errors import InvalidRequest
from api.ingest.provenance import COLUMNS, is_word, join_provenance, value_of
from api.ingest.request import IngestRequest
from api.jobs.task import Added, ItemResult, NotTaken
from api.sources.item import Span
from api.sources.ready import FREE_PROVENANCE_COLUMN, ReadyRows, ReadySource
from api.sources.ready_rows import PROVENANCE_COLUMNS
from index.errors import InvalidInput
from index.jsontext import JSON
from index.truth.adding import NewEntry
from index.truth.computations import Computation
from index.truth.images import ImageFacts
from index.truth.perceptual import PerceptualHash
from index.truth.provenance import Provenance
from index.truth.spaces import Space
from index.truth.vectors import find_unusable_vectors


class ReadyChunks:
    """Reads chunks of ready embeddings for one ingest."""

    def __init__(self, space: Space, request: IngestRequest) -> None:
        self._space = space
        self._request = request
        self._for_all = request.for_all
        self._only_rows_declare = self._for_all == Provenance() and request.parsed_pattern is None

    def require_space(self, source: ReadySource) -> None:
        """Refuse a source of another embedding space, and one that declares an impossible device.

        Raises `ForeignSpace`, `InvalidComputation`, and `InvalidRequest` where neither the source
        nor the request names the space, or where vectors do not have its dimension.
        """
        if (computation := _computation(source)) is not None:
            computation.validate()
        stated = source.embedding_space or self._request.embedding_space
        if stated is None:
            raise InvalidRequest(
                f"{source.location} does not state the embedding space of its vectors; "
                "name it with --embedding-space"
            )
        self._space.require(stated)
        if self._request.embedding_space is not None:
            self._space.require(self._request.embedding_space)
        if source.dimension != self._space.dimension:
            raise InvalidRequest(
                f"the vectors of {source.location} have {source.dimension} numbers; "
                f"those of this embedding space have {self._space.dimension}"
            )

    def read(self, source: ReadySource, span: Span, first: int) -> Iterator[ItemResult[NewEntry]]:
        """Yield the result of every row of a span; `first` is the position of its first row."""
        rows, computation = source.rows(span), _computation(source)
        unusable = self._unusable(rows)
        each = zip(
            rows.names,
            rows.sha256s,
            rows.vectors,
            rows.logits.tolist(),
            rows.facts,
            rows.declared,
            strict=True,
        )
        for row, (name, sha256, vector, logit, facts, declared) in enumerate(each):
            if row in unusable:
                yield NotTaken.failed(first + row, name, *unusable[row])
                continue
            try:
                image = _facts(sha256, facts)
                image.check()
                provenance = self.provenance(name, declared).normalise()
            except InvalidInput as err:
                yield NotTaken.failed(first + row, name, "invalid_row", str(err))
            else:
                new = NewEntry(image, vector, logit, provenance, computation)
                yield Added(first + row, name, new)

    def provenance(self, name: str, declared: Mapping[str, JSON]) -> Provenance:
        """Return the provenance of a row; free provenance that an export wrote stays as it is."""
        free = declared.get(FREE_PROVENANCE_COLUMN)
        if not isinstance(free, Mapping):
            return self._join(name, declared)
        if self._only_rows_declare and (names := _columns_and_others(tuple(declared))) is not None:
            return _provenance_of_row(declared, free, *names)
        return self.join_with_free(name, declared, free)

    def join_with_free(
        self, name: str, declared: Mapping[str, JSON], free: Mapping[str, JSON]
    ) -> Provenance:
        """Return the joined statements with the free provenance of the row."""
        stated = {key: value for key, value in declared.items() if key != FREE_PROVENANCE_COLUMN}
        joined = self._join(name, stated)
        extra = {key: value for key, value in joined.extra.items() if key not in ("path", "source")}
        # An export has no other columns.
        others = {key: value for key, value in stated.items() if key.lower() not in COLUMNS}
        if others:
            extra["source"] = others
        return replace(joined, extra={**extra, **free})

    def _join(self, name: str, declared: Mapping[str, JSON]) -> Provenance:
        return join_provenance(name, declared, self._for_all, pattern=self._request.parsed_pattern)

    def _unusable(self, rows: ReadyRows) -> dict[int, tuple[str, str]]:
        """Return the rows that fail whatever else they state, each with reason and message."""
        vectors = find_unusable_vectors(rows.vectors, rows.logits, self._space.dimension)
        unusable = {row: ("invalid_embedding", message) for row, message in vectors.items()}
        return unusable | {row: (err.reason, str(err)) for row, err in rows.unreadable.items()}


@lru_cache(64)  # the rows of a table have the same names
def _columns_and_others(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Split names into columns of an entry and others; None where a column has a synonym."""
    columns = tuple(name for name in names if name in PROVENANCE_COLUMNS)
    others = tuple(
        name for name in names if name.lower() not in COLUMNS and name != FREE_PROVENANCE_COLUMN
    )
    return (columns, others) if len(columns) + len(others) + 1 == len(names) else None


def _provenance_of_row(
    declared: Mapping[str, JSON],
    free: Mapping[str, JSON],
    columns: tuple[str, ...],
    others: tuple[str, ...],
) -> Provenance:
    """Return what `join_with_free` returns where only the row states anything, in a third of the
    time.
    """
    stated = {name: str(declared[name]) for name in columns if is_word(declared[name])}
    extra: dict[str, JSON] = {"source": {name: declared[name] for name in others}} if others else {}
    acquired_at = None
    if (text := stated.pop("acquired_at", None)) is not None:
        instant = value_of("acquired_at", text)
        if isinstance(instant, datetime):
            acquired_at = instant
        else:
            extra["acquired_at_unread"] = text
    extra.update(free)
    return Provenance(**stated, acquired_at=acquired_at, extra=extra)


def _computation(source: ReadySource) -> Computation | None:
    """Return what the source declares to have computed its vectors."""
    return None if source.computed_by is None else Computation(*source.computed_by)


def _facts(sha256: str | None, declared: Mapping[str, JSON]) -> ImageFacts:
    """Raises `InvalidInput`."""
    if sha256 is None:
        raise InvalidInput("a ready embedding needs the sha256 of its image")
    if not declared:
        return ImageFacts(sha256, None, None, None, None, seen=False)
    return ImageFacts(
        sha256,
        _count(declared, "byte_size"),
        _count(declared, "width"),
        _count(declared, "height"),
        _text(declared, "format"),
        _hash(declared),
        seen=False,
    )


def _hash(declared: Mapping[str, JSON]) -> PerceptualHash | None:
    bits, quality = declared.get("pdq_hash"), _count(declared, "pdq_quality")
    if bits is None or quality is None:
        return None
    try:
        return PerceptualHash(bytes.fromhex(str(bits)), quality)
    except ValueError as err:
        raise InvalidInput("a PDQ hash is 64 hex digits") from err


def _count(declared: Mapping[str, JSON], name: str) -> int | None:
    value = declared.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"{name} is a whole number")
    return value


def _text(declared: Mapping[str, JSON], name: str) -> str | None:
    value = declared.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InvalidInput(f"{name} is text")
