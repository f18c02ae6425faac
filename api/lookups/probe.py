"""The probe: a questioned image with its embedding, wherever that came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from api.batcher import Pixels, VectorAndLogit
from api.decoding import make_picture_now
from api.errors import InvalidRequest
from api.images import hash_of
from api.lookups.json import ProbeAnswer
from api.lookups.request import LookupRequest
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.pictures.delivery import Condition
from embedder.pictures.legibility import PictureQuality, is_flat
from embedder.pictures.reencodings import ReEncodings
from index.errors import UnknownImage
from index.evidence import ProbeFacts
from index.truth.computations import Computation
from index.truth.database import Database
from index.truth.images import StoredEmbedding, find_embedding
from index.truth.perceptual import PerceptualHash
from index.truth.spaces import Space


class Model(Protocol):
    """What a look-up needs of a loaded model. `embedder.network.embed.Embedder` is one."""

    @property
    def picture_order(self) -> PictureOrder: ...

    @property
    def decoders(self) -> Decoders: ...


class Forward(Protocol):
    """What runs the model. `api.batcher.Batcher` is one."""

    def embed(self, pixels: Pixels) -> VectorAndLogit: ...

    def embed_all(self, pictures: list[Pixels]) -> list[VectorAndLogit]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A questioned image with its embedding.

    `computation` is what computed the embedding, None if the embedding was sent or nobody recorded
    it. `condition`, how it seems to have been delivered, is None without its bytes; `reencodings`
    are None unless they were asked for. `luminance_std` is of what the model reads, in levels of
    255; None if the image was not preprocessed for this look-up.
    """

    answer: ProbeAnswer
    vector: NDArray[np.float32]  # (d,)
    logit: float | None
    perceptual_hash: PerceptualHash | None = None
    reencodings: ReEncodings | None = None
    condition: Condition | None = None
    luminance_std: float | None = None
    computation: Computation | None = None
    decode_ms: float = 0.0
    embed_ms: float = 0.0

    @property
    def pdq_quality(self) -> int | None:
        """The quality of its perceptual hash, 0 to 100."""
        return None if self.perceptual_hash is None else self.perceptual_hash.quality

    def facts(self, model_side: int) -> ProbeFacts:
        """What its evidence is assessed by. `model_side` is the edge in pixels of what the model
        reads.
        """
        sides = [side for side in (self.answer.width, self.answer.height) if side is not None]
        shortest_side = min(sides, default=None)
        return ProbeFacts(
            logit=self.logit,
            condition=self.condition,
            shortest_side=shortest_side,
            model_side=model_side,
            is_flat=is_flat(
                PictureQuality(shortest_side or 0, self.pdq_quality, self.luminance_std)
            ),
        )


def embed_probe(
    data: bytes,
    database: Database,
    space: Space,
    model: Model,
    forward: Forward,
    computation: Computation | None = None,
    *,
    stability: bool = False,
) -> Probe:
    """Decode an image and embed it. Raises `ImageError`, `Overloaded`.

    `computation` is what `forward` computes with. `stability` makes the re-encodings too.

    Bytes that were ingested before are not embedded again: their stored embedding is taken, so that
    the identical image has similarity 1.
    """
    started = perf_counter()
    sha256 = hashlib.sha256(data).hexdigest()
    with database.read() as connection:
        stored = find_embedding(connection, space, sha256)
    order = replace(
        model.picture_order,
        condition=True,
        reencodings=stability,
        pixels=stored is None,
        perceptual_hash=stored is None,
        luminance=stored is None,
    )
    picture = make_picture_now(model.decoders, data, order)
    decoded_at = perf_counter()
    if stored is not None:
        return _of_stored(stored, sha256, picture)
    assert picture.pixels is not None
    hashed = hash_of(picture)
    vector, logit = forward.embed(picture.pixels)
    return Probe(
        ProbeAnswer(
            sha256=sha256,
            format=picture.format,
            width=picture.width,
            height=picture.height,
            byte_size=len(data),
            embedding="computed",
            **_hash_fields(hashed),
        ),
        vector,
        logit,
        hashed,
        picture.reencodings,
        picture.condition,
        picture.luminance_std,
        computation,
        decode_ms=milliseconds(started, decoded_at),
        embed_ms=milliseconds(decoded_at, perf_counter()),
    )


def take_probe(request: LookupRequest, database: Database, space: Space) -> Probe:
    """Take an embedding that the client computed, or that of an ingested image by its sha256.

    Raises `InvalidRequest`, `UnknownImage`, `ForeignSpace`.
    """
    if request.stability:
        raise InvalidRequest("stability re-encodes the probe and needs its image")
    if request.embedding is None:
        return _of_sha256(request.sha256, database, space)
    if request.embedding_space is None:
        raise InvalidRequest("an embedding needs its embedding_space (see GET /v1/models)")
    space.require(request.embedding_space)
    hashed = _sent_hash(request)
    answer = ProbeAnswer(sha256=request.sha256, embedding="sent", **_hash_fields(hashed))
    with np.errstate(over="ignore"):  # the search refuses infinity
        return Probe(answer, np.asarray(request.embedding, dtype=np.float32), request.logit, hashed)


def milliseconds(started: float, finished: float) -> float:
    """Between two readings of `perf_counter`."""
    return round((finished - started) * 1000, 3)


def _of_sha256(sha256: str | None, database: Database, space: Space) -> Probe:
    if sha256 is None:
        raise InvalidRequest("send an image, an embedding with its embedding_space, or a sha256")
    with database.read() as connection:
        stored = find_embedding(connection, space, sha256)
    if stored is None:
        raise UnknownImage(sha256)
    return _of_stored(stored, sha256)


def _of_stored(
    stored: StoredEmbedding,
    sha256: str,
    picture: Picture | None = None,
) -> Probe:
    image = stored.image
    answer = ProbeAnswer(
        sha256=sha256,
        format=image.format,
        width=image.width,
        height=image.height,
        byte_size=image.byte_size,
        embedding="stored",
        **_hash_fields(image.perceptual_hash),
    )
    return Probe(
        answer,
        stored.vector,
        stored.logit,
        image.perceptual_hash,
        None if picture is None else picture.reencodings,
        None if picture is None else picture.condition,
        computation=stored.computation,
    )


def _sent_hash(request: LookupRequest) -> PerceptualHash | None:
    if request.pdq_hash is None or request.pdq_quality is None:
        return None
    return PerceptualHash(bytes.fromhex(request.pdq_hash), request.pdq_quality)


def _hash_fields(hashed: PerceptualHash | None) -> dict[str, Any]:
    return {} if hashed is None else {"pdq_hash": hashed.bits.hex(), "pdq_quality": hashed.quality}
