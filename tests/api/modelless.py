"""What jobs, ingests and workers need, without a model: a space, small images, an embedder."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import Connection

from api.images import BlobStores, describe_image
from api.jobs.task import Added, AlreadyThere, ItemResult, NotTaken, ToEmbed
from api.sources.item import Span
from embedder.decoding.picture import Picture, PictureOrder, make_picture
from embedder.decoding.threads import ThreadDecoders
from embedder.errors import ImageError
from embedder.network.results import Embedded, Failed
from embedder.pictures.delivery import Condition
from embedder.pictures.limits import ImageLimits
from embedder.pictures.preprocess import Preprocessing, Resample
from index.blobs import FEATURES_SUFFIX, ORIGINAL_SUFFIX, BlobStore
from index.jsontext import JSON
from index.truth.adding import NewEntry, add_entries
from index.truth.computations import Computation
from index.truth.corpora import CorpusKind, create_corpus, ensure_corpus, list_corpora
from index.truth.databases.database import Database
from index.truth.jobs.chunks import Chunk, ChunkResult
from index.truth.jobs.job import Job, JobCounts, JobKind, create_job, get_job
from index.truth.provenance import Provenance
from index.truth.spaces import Space

K = TypeVar("K")
DIMENSION = 8
LOGIT = 0.5
SPACE = Space("1" * 64, "modelless", "2" * 64, "3" * 64, DIMENSION)
COMPUTATION = Computation("cpu", "float32")
OTHER_SPACE = Space("4" * 64, "another", "5" * 64, "6" * 64, DIMENSION)
LIMITS = ImageLimits(max_image_bytes=256 * 1024, max_image_pixels=1_000_000, min_image_side=16)


@cache
def png(seed: int, side: int = 64) -> bytes:
    """A picture with structure, so that its perceptual hash is reliable."""
    rough = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    return encode(Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC), "PNG")


@cache
def jpeg_of(seed: int, quality: int = 80) -> bytes:
    """The picture of `png(seed)` in another encoding: other bytes, the same perceptual hash."""
    return encode(Image.open(io.BytesIO(png(seed))), "JPEG", quality=quality)


def encode(image: Image.Image, format: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# The picture as it is, at a size that every picture of these tests has.
ORDER = PictureOrder(
    LIMITS,
    Preprocessing(None, Resample.BOX, 64, resized=(64, 64)),
    perceptual_hash=True,
    thumbnail_pixels=64,
    file_metadata=True,
)


DECODERS = ThreadDecoders(2)  # which start nothing before they are used


def picture_of(data: bytes) -> Picture:
    """Everything that an entry needs of a file."""
    return make_picture(data, ORDER)


def vector_of(picture: Picture) -> NDArray[np.float32]:
    """A unit vector `(d,)` that is the same for the same pixels."""
    assert picture.pixels is not None
    seed = int.from_bytes(hashlib.sha256(picture.pixels.tobytes()).digest()[:8], "big")
    wide = np.random.default_rng(seed).standard_normal(DIMENSION)
    return (wide / np.linalg.norm(wide)).astype(np.float32)


class ImageEmbedder:
    """Makes pictures as the real one does and holds back the last items, as its batches do."""

    def __init__(self, ahead: int = 3) -> None:
        self.ahead = ahead
        self.embedded: list[str] = []

    def embed_stream(
        self, items: Iterable[tuple[K, bytes, PictureOrder]]
    ) -> Generator[Embedded[K] | Failed[K], None, None]:
        waiting: deque[Embedded[K] | Failed[K]] = deque()
        for key, data, order in items:
            waiting.append(self._embed(key, data, order))
            if len(waiting) > self.ahead:
                yield waiting.popleft()
        yield from waiting

    def _embed(self, key: K, data: bytes, order: PictureOrder) -> Embedded[K] | Failed[K]:
        try:
            picture = make_picture(data, order)
        except ImageError as err:
            return Failed(key, err)
        self.embedded.append(sha256_of(data))
        return Embedded(key, replace(picture, pixels=None), vector_of(picture), LOGIT)


@dataclass
class TinyTask:
    """A task whose items are names: an added one becomes a corpus, in the chunk's transaction.

    `bad` has bytes that are no image, `there` is already there, `gone` cannot be read.
    """

    names: Sequence[str]
    chunk_items: int = 2
    offered: int | None = None  # items that a chunk really gives, if not as many as listed
    deliveries: dict[str, Condition] = field(default_factory=dict)
    before_write: Callable[[], None] = lambda: None
    on_read: Callable[[], None] = lambda: None
    on_complete: Callable[[], None] = lambda: None
    fail_spans: Exception | None = None
    written: list[list[int]] = field(default_factory=list)
    stored: list[list[int]] = field(default_factory=list)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # of thumbnails
    cleaned: int = 0
    completed: int = 0
    closed: int = 0

    def spans(self) -> Iterator[Span]:
        for start in range(0, len(self.names), self.chunk_items):
            yield Span(len(self.names[start : start + self.chunk_items]), {"start": start})
        if self.fail_spans is not None:
            raise self.fail_spans

    def read(self, chunk: Chunk) -> Iterator[ToEmbed[str] | ItemResult[str]]:
        self.on_read()
        assert isinstance(chunk.span, dict)
        start = chunk.span["start"]
        assert isinstance(start, int)
        count = chunk.item_count if self.offered is None else self.offered
        for position, name in enumerate(self.names[start : start + count], chunk.first_position):
            data = b"no image" if name.startswith("bad") else png(position)
            if name.startswith("there"):
                yield AlreadyThere(position, name, sha256_of(data))
            elif name.startswith("gone"):
                yield NotTaken.failed(position, name, "unreadable", "it is gone")
            else:
                order = replace(ORDER, delivery=self.deliveries.get(name, Condition.AS_IS))
                yield ToEmbed(position, name, data, sha256_of(data), name, order)

    def narrow(self, chunk: Chunk, first: int, count: int) -> JSON:
        assert isinstance(chunk.span, dict)
        start = chunk.span["start"]
        assert isinstance(start, int)
        assert first + count <= chunk.item_count
        return {"start": start + first}

    def finish(
        self, item: ToEmbed[str], picture: Picture, vector: NDArray[np.float32], logit: float
    ) -> ItemResult[str]:
        assert item.payload == item.name
        assert (vector.shape, logit) == ((DIMENSION,), LOGIT)
        assert picture.thumbnail is not None
        with Image.open(io.BytesIO(picture.thumbnail)) as small:
            self.sizes[item.name] = small.size
        return Added(item.position, item.name, item.payload)

    def store(self, results: Sequence[ItemResult[str]]) -> None:
        self.stored.append([result.position for result in results])

    def write(self, conn: Connection, results: Sequence[ItemResult[str]]) -> ChunkResult:
        added = [result for result in results if isinstance(result, Added)]
        failed = [result.item for result in results if isinstance(result, NotTaken)]
        for result in added:
            create_corpus(conn, result.content, CorpusKind.KNOWN_FAKE)
        self.before_write()
        self.written.append([result.position for result in results])
        skipped = len(results) - len(added) - len(failed)
        return ChunkResult(JobCounts(added=len(added), skipped=skipped, failed=len(failed)), failed)

    def clean_up(self) -> None:
        self.cleaned += 1

    def complete(self) -> None:
        self.on_complete()
        self.completed += 1

    def close(self) -> None:
        self.closed += 1


def queue_job(
    database: Database, kind: JobKind = JobKind.REEMBED, request: dict[str, Any] | None = None
) -> Job:
    with database.write() as conn:
        return create_job(conn, kind, None, SPACE, request or {"model": "modelless"})


def read_job(database: Database, job_id: int) -> Job:
    with database.read() as conn:
        return get_job(conn, job_id)


def corpus_names(database: Database) -> list[str]:
    with database.read() as conn:
        return sorted(corpus.name for corpus in list_corpora(conn))


def stores_in(folder: Path) -> BlobStores:
    return BlobStores(
        BlobStore(folder / "thumbnails"),
        BlobStore(folder / "originals", ORIGINAL_SUFFIX),
        BlobStore(folder / "features", FEATURES_SUFFIX),
    )


def fill(
    database: Database,
    corpus: str,
    seeds: Iterable[int],
    kind: CorpusKind = CorpusKind.KNOWN_FAKE,
    space: Space = SPACE,
    computation: Computation | None = None,
    **provenance: Any,
) -> tuple[int, ...]:
    """Add the pictures of these seeds to a corpus, which is made if needed; return their ids."""
    new = []
    for seed in seeds:
        data = png(seed)
        picture = picture_of(data)
        facts = describe_image(sha256_of(data), data, picture)
        vector, stated = vector_of(picture), Provenance(**provenance)
        new.append(NewEntry(facts, vector, LOGIT, stated, computation))
    with database.write() as conn:
        ensure_corpus(conn, corpus, kind)
        return tuple(result.entry_id for result in add_entries(conn, corpus, space, new))
