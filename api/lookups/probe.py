"""The probe: a questioned image with its embedding, wherever that came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from api.batcher import VectorAndLogit
from api.copies.probe_features import ProbeFeatures
from api.errors import InvalidRequest
from api.images import hash_of, view_hashes_of
from api.lookups.answers.json import ProbeAnswer
from api.lookups.making import Forward, MadeProbe, Making
from api.lookups.request import SentProbe
from embedder.copies.inputs import DescriptorInput
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.pictures.delivery import Condition
from embedder.pictures.legibility import PictureQuality, is_flat
from embedder.pictures.reencodings import ReEncodings
from index.copies import AS_SEEN, ViewHash
from index.errors import UnknownImage
from index.evidence import ProbeFacts
from index.truth.computations import Computation
from index.truth.databases.database import Database
from index.truth.images import StoredEmbedding, find_embedding
from index.truth.perceptual import PerceptualHash
from index.truth.spaces import Space


class Model(Protocol):
    """What a look-up needs of a loaded model. `embedder.network.embed.Embedder` is one."""

    @property
    def picture_order(self) -> PictureOrder: ...

    @property
    def decoders(self) -> Decoders: ...


# Returns what is kept of the picture of an ingested image, by its sha256.
FindPicture = Callable[[str], tuple[Picture, ProbeFeatures] | None]


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A questioned image with its embedding; `vector` is None if it is too small for the model.

    `views` are the hashes of its views, the first of the whole picture as it is. `picture` has what
    the copy stages read of it, and `features` its local features; None if neither its bytes nor a
    kept picture were there.
    `computation` is what computed the embedding, None if the embedding was sent or nobody recorded
    it. `condition`, how it seems to have been delivered, is None without its bytes; `reencodings`
    are None unless they were asked for, and `reencoded` are the embeddings of the usable ones.
    `luminance_std` is of what the model reads, in levels of 255; None if the image was not
    preprocessed for this look-up.
    """

    answer: ProbeAnswer
    vector: NDArray[np.float32] | None  # (d,)
    logit: float | None
    perceptual_hash: PerceptualHash | None = None
    reencodings: ReEncodings | None = None
    condition: Condition | None = None
    luminance_std: float | None = None
    computation: Computation | None = None
    views: tuple[ViewHash, ...] = ()
    picture: Picture | None = None
    features: ProbeFeatures | None = None
    reencoded: tuple[VectorAndLogit, ...] = ()
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
            is_embedded=self.vector is not None,
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
    descriptor: DescriptorInput | None = None,
    features_are_likely: bool = False,
) -> Probe:
    """Decode an image and embed it. Raises `ImageError`, `Overloaded`.

    `computation` is what `forward` computes with. `stability` makes the re-encodings too.
    `descriptor` is what the copy descriptor reads, None without one. Local features are made when
    they are asked for; if that is likely, beside the rest.

    Bytes that were ingested before are not embedded again: their stored embedding is taken, so that
    the identical image has similarity 1. An image that only the model finds too small has no
    embedding: copies of it are looked for all the same.
    """
    started = perf_counter()
    sha256 = hashlib.sha256(data).hexdigest()
    with database.read() as connection:
        stored = find_embedding(connection, space, sha256)
    reading = model.picture_order
    features = ProbeFeatures(model.decoders, data, reading.limits)
    making = Making(
        model.decoders,
        data,
        reading,
        is_known=stored is not None,
        stability=stability,
        descriptor=descriptor,
    )
    try:
        making.begin()
        if features_are_likely:
            features.begin()
        made = making.finish(forward)
    except BaseException:
        making.cancel()
        features.cancel()
        raise
    picture, embed_ms = made.picture, round(made.embed_ms, 3)
    decode_ms = round(milliseconds(started, perf_counter()) - embed_ms, 3)
    if stored is not None:
        known = _of_stored(stored, sha256, picture, features, decode_ms=decode_ms)
        return replace(known, reencoded=made.reencoded)
    probe = _of_made(made, sha256, len(data), computation, features)
    return replace(probe, decode_ms=decode_ms, embed_ms=embed_ms)


def _of_made(
    made: MadeProbe,
    sha256: str,
    byte_size: int,
    computation: Computation | None,
    features: ProbeFeatures,
) -> Probe:
    """The probe of a picture that was embedded now, or that the model finds too small."""
    picture = made.picture
    vector, logit = (None, None) if made.embedding is None else made.embedding
    hashed = hash_of(picture)
    return Probe(
        ProbeAnswer(
            sha256=sha256,
            format=picture.format,
            width=picture.width,
            height=picture.height,
            byte_size=byte_size,
            embedding="none" if vector is None else "computed",
            **_hash_fields(hashed),
        ),
        vector,
        logit,
        hashed,
        picture.reencodings,
        picture.condition,
        picture.luminance_std,
        None if vector is None else computation,
        view_hashes_of(picture),
        picture,
        features,
        reencoded=made.reencoded,
    )


def take_probe(
    request: SentProbe,
    database: Database,
    space: Space,
    find_picture: FindPicture = lambda _: None,
    known: Mapping[str, StoredEmbedding] | None = None,
) -> Probe:
    """Take an embedding that the client computed; that of an ingested image by its sha256, whose
    picture `find_picture` makes again if it is kept; or nothing but a perceptual hash.

    `known` are the stored embeddings, by sha256; None to ask the database.

    Raises `InvalidRequest`, `UnknownImage`, `ForeignSpace`.
    """
    hashed = _sent_hash(request)
    if request.embedding is None and request.sha256 is None and hashed is not None:
        answer = ProbeAnswer(sha256=None, embedding="none", **_hash_fields(hashed))
        return Probe(answer, None, None, hashed, views=_sent_views(request, hashed))
    if request.embedding is None:
        return _of_sha256(request.sha256, database, space, find_picture, known)
    if request.embedding_space is None:
        raise InvalidRequest("an embedding needs its embedding_space (see GET /v1/models)")
    space.require(request.embedding_space)
    answer = ProbeAnswer(sha256=request.sha256, embedding="sent", **_hash_fields(hashed))
    with np.errstate(over="ignore"):  # the search refuses infinity
        vector = np.asarray(request.embedding, dtype=np.float32)
    return Probe(answer, vector, request.logit, hashed, views=_sent_views(request, hashed))


def milliseconds(started: float, finished: float) -> float:
    """Between two readings of `perf_counter`."""
    return round((finished - started) * 1000, 3)


def _of_sha256(
    sha256: str | None,
    database: Database,
    space: Space,
    find_picture: FindPicture,
    known: Mapping[str, StoredEmbedding] | None,
) -> Probe:
    if sha256 is None:
        raise InvalidRequest(
            "send an image, an embedding with its embedding_space, a sha256, or a pdq_hash with "
            "its pdq_quality"
        )
    if known is None:
        with database.read() as connection:
            stored = find_embedding(connection, space, sha256)
    else:
        stored = known.get(sha256)
    if stored is None:
        raise UnknownImage(sha256)
    picture, features = find_picture(sha256) or (None, None)
    probe = _of_stored(stored, sha256, picture, features)
    # What is kept may be a thumbnail: it says nothing about the file's delivery.
    return replace(probe, condition=None)


def _of_stored(
    stored: StoredEmbedding,
    sha256: str,
    picture: Picture | None = None,
    features: ProbeFeatures | None = None,
    decode_ms: float = 0.0,
) -> Probe:
    image = stored.image
    views = () if picture is None else view_hashes_of(picture)
    hashed = image.perceptual_hash
    if hashed is not None:
        views = (ViewHash(AS_SEEN, hashed), *views[1:])
    elif views:  # a row that was imported without a hash, and whose picture is kept
        hashed = views[0].hash
    answer = ProbeAnswer(
        sha256=sha256,
        format=image.format,
        width=image.width,
        height=image.height,
        byte_size=image.byte_size,
        embedding="stored",
        **_hash_fields(hashed),
    )
    return Probe(
        answer,
        stored.vector,
        stored.logit,
        hashed,
        None if picture is None else picture.reencodings,
        None if picture is None else picture.condition,
        computation=stored.computation,
        views=views,
        picture=picture,
        features=features,
        decode_ms=decode_ms,
    )


def _sent_hash(request: SentProbe) -> PerceptualHash | None:
    if request.pdq_hash is None or request.pdq_quality is None:
        return None
    return PerceptualHash(bytes.fromhex(request.pdq_hash), request.pdq_quality)


def _sent_views(request: SentProbe, hashed: PerceptualHash | None) -> tuple[ViewHash, ...]:
    """The views that a client sent, after that of the whole picture as it is."""
    sent = (each.to_view_hash() for each in request.view_hashes)
    others = tuple(each for each in sent if each.view != AS_SEEN)
    return others if hashed is None else (ViewHash(AS_SEEN, hashed), *others)


def _hash_fields(hashed: PerceptualHash | None) -> dict[str, Any]:
    return {} if hashed is None else {"pdq_hash": hashed.bits.hex(), "pdq_quality": hashed.quality}
