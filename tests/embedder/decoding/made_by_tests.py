"""Decoders whose pictures a test makes, in threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from embedder.decoding.confinement import Confinement, ConfinementLevel
from embedder.decoding.picture import Picture, PictureOrder


class PlantedDecoders:
    """Calls `make(data, order)` in threads; nothing is urgent. Implements `Decoders`."""

    confinement = Confinement(ConfinementLevel.NONE, "a test")

    def __init__(self, make: Callable[[bytes, PictureOrder], Picture], count: int = 2) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="planted")

    def submit(
        self,
        data: bytes,
        order: PictureOrder,
        *,
        urgent: bool = False,  # noqa: ARG002 -- of the protocol
    ) -> Future[Picture]:
        return self._pool.submit(self._make, data, order)

    def submit_all(
        self, data: bytes, orders: Sequence[PictureOrder], *, urgent: bool = False
    ) -> list[Future[Picture]]:
        return [self.submit(data, each, urgent=urgent) for each in orders]

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
