"""The local features of a probe: an order of their own, for when a candidate can be compared.

They take the decoders several times as long as everything else that is made of a probe. Where
nothing is kept of the candidates, nobody needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from embedder.copies.features import MAX_KEYPOINTS, LocalFeatures
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.pictures.limits import ImageLimits


class ProbeFeatures:
    """The features of the picture in `data`, made once, from `begin` or `find` on. For one thread.

    `data` must be a file of which a picture was made within `limits`, or is being made; or a
    function that reads the file, where it need not stay in memory until then.
    """

    def __init__(
        self, decoders: Decoders, data: bytes | Callable[[], bytes], limits: ImageLimits
    ) -> None:
        self._decoders = decoders
        self._data = data
        self._order = PictureOrder(limits, local_features=MAX_KEYPOINTS)
        self._future: Future[Picture] | None = None

    def begin(self) -> Future[Picture]:
        """Have them made while the look-up goes on. Raises what reading the file does."""
        if self._future is None:
            data = self._data if isinstance(self._data, bytes) else self._data()
            self._future = self._decoders.submit(data, self._order, urgent=True)
        return self._future

    def cancel(self) -> None:
        """Let nobody make them any more, where that has not begun."""
        if self._future is not None:
            self._future.cancel()

    def find(self) -> LocalFeatures | None:
        """Wait for them; None without OpenCV. Raises EmbedderError where a decoder failed, and like
        `begin`.
        """
        return self.begin().result().local_features
