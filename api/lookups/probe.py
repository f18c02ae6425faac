"""The probe: a questioned image with its embedding, from wherever it came."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.errors import InvalidRequest
from api.images import hash_image
from api.lineup import Lineup
from api.lookups.json import LookupRequest, ProbeAnswer
from embedder.pictures.decode import DecodedImage, decode
from embedder.pictures.delivery import Condition, condition_of, delivery_of
from embedder.pictures.legibility import luminance_std
from index.errors import UnknownImage
from index.truth.images import StoredEmbedding, find_embedding
from index.truth.perceptual import PerceptualHash


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A questioned image after its embedding is known;

    `picture` and `condition` are None without its bytes.
    """

    answer: ProbeAnswer
    vector: NDArray[np.float32]  # (d,)
    logit: float | None
    perceptual_hash: PerceptualHash | None = None
    picture: DecodedImage | None = None
    condition: Condition | None = None
    luminance_std: float | None = (
        None  # of what the model reads, in levels of 255; None where it was read before
    )
    decode_ms: float = 0.0
    embed_ms: float = 0.0


def probe_of_bytes(lineup: Lineup, data: bytes) -> Probe:
    """Of an image's bytes. Raises `ImageError`, `Overloaded`.

    Bytes that were ingested before are not embedded again: their stored embedding is taken, so that
    the identical image has similarity 1.
    """
    started = perf_counter()
    sha256 = hashlib.sha256(data).hexdigest()
    with lineup.database.read() as connection:
        stored = find_embedding(connection, lineup.space, sha256)
    decoded = decode(data, lineup.embedder.limits)
    condition = condition_of(delivery_of(data, decoded))
    if stored is not None:
        return _of_stored(stored, sha256, decoded, condition)
    pixels = lineup.embedder.preprocess(decoded)
    hashed = hash_image(decoded)
    decoded_at = perf_counter()
    vector, logit = lineup.batcher.embed(pixels)
    answer = ProbeAnswer(
        sha256=sha256,
        format=decoded.format,
        width=decoded.width,
        height=decoded.height,
        byte_size=len(data),
        embedding="computed",
        **_hash_fields(hashed),
    )
    decode_ms, embed_ms = (
        milliseconds(started, decoded_at),
        milliseconds(decoded_at, perf_counter()),
    )
    evenness = luminance_std(pixels, lineup.embedder.info.preprocessing)
    return Probe(answer, vector, logit, hashed, decoded, condition, evenness, decode_ms, embed_ms)


def probe_of_request(lineup: Lineup, request: LookupRequest) -> Probe:
    """Of an embedding that the client computed, or of an image that was ingested, named by its
    sha256.

    Raises `InvalidRequest`, `UnknownImage`, `ForeignSpace`.
    """
    if request.stability:
        raise InvalidRequest("stability re-encodes the probe and needs its image")
    if request.embedding is None:
        return _of_sha256(lineup, request.sha256)
    if request.embedding_space is None:
        raise InvalidRequest("an embedding needs its embedding_space (see GET /v1/models)")
    lineup.space.require(request.embedding_space)
    hashed = _sent_hash(request)
    answer = ProbeAnswer(sha256=request.sha256, embedding="sent", **_hash_fields(hashed))
    with np.errstate(over="ignore"):  # infinity is refused as no embedding
        return Probe(answer, np.asarray(request.embedding, dtype=np.float32), request.logit, hashed)


def milliseconds(started: float, finished: float) -> float:
    """Between two readings of `perf_counter`."""
    return round((finished - started) * 1000, 3)


def _of_sha256(lineup: Lineup, sha256: str | None) -> Probe:
    if sha256 is None:
        raise InvalidRequest("send an image, an embedding with its embedding_space, or a sha256")
    with lineup.database.read() as connection:
        stored = find_embedding(connection, lineup.space, sha256)
    if stored is None:
        raise UnknownImage(sha256)
    return _of_stored(stored, sha256)


def _of_stored(
    stored: StoredEmbedding,
    sha256: str,
    decoded: DecodedImage | None = None,
    condition: Condition | None = None,
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
    return Probe(answer, stored.vector, stored.logit, image.perceptual_hash, decoded, condition)


def _sent_hash(request: LookupRequest) -> PerceptualHash | None:
    if request.pdq_hash is None or request.pdq_quality is None:
        return None
    return PerceptualHash(bytes.fromhex(request.pdq_hash), request.pdq_quality)


def _hash_fields(hashed: PerceptualHash | None) -> dict[str, Any]:
    return {} if hashed is None else {"pdq_hash": hashed.bits.hex(), "pdq_quality": hashed.quality}
