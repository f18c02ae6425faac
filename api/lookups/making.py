"""What is made of a probe in bytes: its picture, and embeddings of what the model reads.

Decoders make the picture by several orders, so that forwards run while the rest of it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol

from api.batcher import Pixels, VectorAndLogit
from embedder.copies.inputs import DescriptorInput
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.errors import ImageTooSmall
from embedder.pictures.reencodings import REENCODING_GROUPS, ReEncodings, join_reencodings


class Forward(Protocol):
    """What runs the model. `api.batcher.Batcher` is one."""

    def embed_all(self, pictures: Sequence[Pixels]) -> list[VectorAndLogit]: ...


@dataclass(frozen=True, slots=True, eq=False)
class MadeProbe:
    """A picture without the pixels that the model read, its embedding, and those of its usable
    re-encodings. `embedding` is None if none was wanted, or if the model finds it too small.
    """

    picture: Picture
    embedding: VectorAndLogit | None
    reencoded: tuple[VectorAndLogit, ...]
    embed_ms: float


@dataclass(slots=True, eq=False)
class Making:
    """A probe that is being made. For one thread.

    `reading` orders the pixels that the model reads. `is_known`: the picture itself needs no
    embedding. `stability`: its re-encodings are made and embedded too.
    """

    decoders: Decoders
    data: bytes
    reading: PictureOrder
    is_known: bool
    stability: bool
    descriptor: DescriptorInput | None
    _read: Future[Picture] | None = None
    _reencodings: list[Future[Picture]] = field(default_factory=list)
    _rest: Future[Picture] | None = None

    def begin(self) -> None:
        """Order everything: what the model reads, the quick re-encodings, then the rest. WebP takes
        longer than all of these, so it is made beside them.
        """
        read = replace(self.reading, condition=True, luminance=True)
        again = replace(self.reading, pixels=False, condition=True)
        quick, slow = (replace(again, reencodings=names) for names in REENCODING_GROUPS)
        rest = PictureOrder(
            self.reading.limits,
            perceptual_hash=True,
            condition=True,
            view_hashes=True,
            descriptor=self.descriptor,
        )
        orders = [*([] if self.is_known else [read]), *([quick] if self.stability else []), rest]
        *self._reencodings, self._rest = self._submit(orders)
        if not self.is_known:
            self._read = self._reencodings.pop(0)
        if self.stability:
            self._reencodings += self._submit([slow])

    def finish(self, forward: Forward) -> MadeProbe:
        """Embed what has come while the rest is made. Raises `ImageError`, `Overloaded`."""
        assert self._rest is not None
        timed = _TimedForward(forward)
        embedding = luminance_std = None
        if self._read is not None:
            try:
                read = self._read.result()
            except ImageTooSmall:
                self.cancel()
                return MadeProbe(self._rest.result(), None, (), 0.0)
            assert read.pixels is not None
            (embedding,), luminance_std = timed.embed([read.pixels]), read.luminance_std
        reencodings, reencoded = self._embed_reencodings(timed)
        picture = replace(self._rest.result(), luminance_std=luminance_std, reencodings=reencodings)
        return MadeProbe(picture, embedding, reencoded, timed.took_ms)

    def cancel(self) -> None:
        """Let nobody make what has not begun."""
        for each in (self._read, *self._reencodings, self._rest):
            if each is not None:
                each.cancel()

    def _submit(self, orders: Sequence[PictureOrder]) -> list[Future[Picture]]:
        return self.decoders.submit_all(self.data, orders, urgent=True)

    def _embed_reencodings(
        self, timed: _TimedForward
    ) -> tuple[ReEncodings | None, tuple[VectorAndLogit, ...]]:
        groups, embedded = list[ReEncodings](), dict[str, VectorAndLogit]()
        for each in self._reencodings:
            made = each.result().reencodings
            assert made is not None
            groups.append(made)
            vectors = timed.embed([one.pixels for one in made.usable])
            embedded |= zip((one.name for one in made.usable), vectors, strict=True)
        if not groups:
            return None, ()
        joined = join_reencodings(groups)
        return joined, tuple(embedded[each.name] for each in joined.usable)


@dataclass(slots=True)
class _TimedForward:
    forward: Forward
    took_ms: float = 0.0

    def embed(self, pictures: Sequence[Pixels]) -> list[VectorAndLogit]:
        began = perf_counter()
        embedded = self.forward.embed_all(pictures)
        self.took_ms += (perf_counter() - began) * 1000
        return embedded
