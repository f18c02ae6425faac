"""Ready embeddings into a corpus: vectors that the same model made elsewhere, without their images.

Only vectors of the same embedding space are taken. What is checked of one row fails that row alone;
the checks of vectors are made for a whole chunk at once, for a million rows come through here in a
minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache

from api.errors import InvalidRequest
from api.ingest.provenance import COLUMNS, is_word, joined, value_of
from api.ingest.request import IngestRequest
from api.jobs.task import End, Left, Taken
from api.sources.item import Item, Span, UnreadableItem
from api.sources.ready import FREE_PROVENANCE_COLUMN, ReadyRows, ReadySource
from api.sources.ready_rows import PROVENANCE_COLUMNS
from index.errors import InvalidInput
from index.jsontext import JSON
from index.truth.entries import NewEntry
from index.truth.images import ImageFacts
from index.truth.perceptual import PerceptualHash
from index.truth.provenance import Provenance
from index.truth.spaces import Space
from index.truth.vectors import find_unusable_vectors

NOTHING: Mapping[str, JSON] = {}


class ReadyChunks:
    """Reads chunks of ready embeddings for one ingest."""

    def __init__(self, space: Space, request: IngestRequest) -> None:
        self._space = space
        self._request = request
        self._told = request.told
        self._only_rows_speak = self._told == Provenance() and request.parsed_pattern is None

    def require_space(self, source: ReadySource) -> None:
        """Raises `ForeignSpace`, or `InvalidRequest` where nobody says which space it is."""
        told = source.embedding_space or self._request.embedding_space
        if told is None:
            raise InvalidRequest(
                f"{source.location} does not say of which embedding space its vectors are; "
                f"--embedding-space does"
            )
        self._space.require(told)
        if self._request.embedding_space is not None:
            self._space.require(self._request.embedding_space)

    def read(self, source: ReadySource, span: Span, first: int) -> Iterator[End]:
        """How every row of a span ended: taken, or failed with its reason."""
        rows = source.rows(span)
        wrong = self._unusable(rows)
        each = zip(
            rows.names,
            rows.sha256s,
            rows.vectors,
            rows.logits.tolist(),
            rows.facts,
            rows.declared,
            strict=True,
        )
        for row, (name, sha256, vector, logit, facts, told) in enumerate(each):
            if row in wrong:
                yield Left.failed(first + row, name, *wrong[row])
                continue
            try:
                image = _facts(sha256, facts)
                image.check()
                provenance = self._provenance(name, told).normalise()
            except InvalidInput as err:
                yield Left.failed(first + row, name, "invalid_row", str(err))
            else:
                yield Taken(first + row, name, NewEntry(image, vector, logit, provenance))

    def _unusable(self, rows: ReadyRows) -> dict[int, tuple[str, str]]:
        """Which rows cannot be taken whatever else they tell: reason and message."""
        vectors = find_unusable_vectors(rows.vectors, rows.logits, self._space.dimension)
        wrong = {row: ("invalid_embedding", message) for row, message in vectors.items()}
        return wrong | {row: (err.reason, str(err)) for row, err in rows.unreadable.items()}

    def _provenance(self, name: str, told: Mapping[str, JSON]) -> Provenance:
        """As the row says it; free provenance that an export wrote is taken as it is."""
        free = told.get(FREE_PROVENANCE_COLUMN)
        if not isinstance(free, Mapping):
            return self._joined(name, told)
        if self._only_rows_speak and (names := _columns_and_others(tuple(told))) is not None:
            return _of_row(told, free, *names)
        return self._beside(name, told, free)

    def _beside(self, name: str, told: Mapping[str, JSON], free: Mapping[str, JSON]) -> Provenance:
        """Free provenance, and what everybody says beside it."""
        words = {key: value for key, value in told.items() if key != FREE_PROVENANCE_COLUMN}
        read = self._joined(name, words)
        kept = {key: value for key, value in read.extra.items() if key not in ("path", "source")}
        more = {
            key: value for key, value in words.items() if key.lower() not in COLUMNS
        }  # an export has none
        if more:
            kept["source"] = more
        extra = {**kept, **free}
        return Provenance(
            read.generator, read.label, read.licence, read.source, read.acquired_at, extra
        )

    def _joined(self, name: str, words: Mapping[str, JSON]) -> Provenance:
        return joined(
            Item(name, _no_bytes, words), self._told, self._request.parsed_pattern, NOTHING, None
        )


@lru_cache(64)  # the rows of a table have the same names
def _columns_and_others(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The columns of an entry by their own names, and the other names;

    None where a column has another name.
    """
    columns = tuple(name for name in names if name in PROVENANCE_COLUMNS)
    others = tuple(
        name for name in names if name.lower() not in COLUMNS and name != FREE_PROVENANCE_COLUMN
    )
    return (columns, others) if len(columns) + len(others) + 1 == len(names) else None


def _of_row(
    told: Mapping[str, JSON],
    free: Mapping[str, JSON],
    columns: tuple[str, ...],
    others: tuple[str, ...],
) -> Provenance:
    """What `_beside` comes to where nobody but the row speaks, in a third of the time."""
    words = {name: str(told[name]) for name in columns if is_word(told[name])}
    extra: dict[str, JSON] = {"source": {name: told[name] for name in others}} if others else {}
    acquired_at = None
    if (text := words.pop("acquired_at", None)) is not None:
        read = value_of("acquired_at", text)
        if isinstance(read, datetime):
            acquired_at = read
        else:
            extra["acquired_at_unread"] = text
    extra.update(free)
    return Provenance(**words, acquired_at=acquired_at, extra=extra)


def _facts(sha256: str | None, told: Mapping[str, JSON]) -> ImageFacts:
    """Raises `InvalidInput`."""
    if sha256 is None:
        raise InvalidInput("a ready embedding needs the sha256 of its image")
    if not told:
        return ImageFacts(sha256, None, None, None, None, seen=False)
    return ImageFacts(
        sha256,
        _count(told, "byte_size"),
        _count(told, "width"),
        _count(told, "height"),
        _text(told, "format"),
        _hash(told),
        seen=False,
    )


def _hash(told: Mapping[str, JSON]) -> PerceptualHash | None:
    bits, quality = told.get("pdq_hash"), _count(told, "pdq_quality")
    if bits is None or quality is None:
        return None
    try:
        return PerceptualHash(bytes.fromhex(str(bits)), quality)
    except ValueError as err:
        raise InvalidInput("a PDQ hash is 64 hex digits") from err


def _count(told: Mapping[str, JSON], name: str) -> int | None:
    value = told.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"{name} is a whole number")
    return value


def _text(told: Mapping[str, JSON], name: str) -> str | None:
    value = told.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InvalidInput(f"{name} is text")


def _no_bytes(_max_bytes: int) -> bytes:
    raise UnreadableItem("no_image", "a ready embedding has no image")
