"""The model of an opened product: what its checked files say of it, and its network.

The network is loaded with the first image where no image is expected, because loading it takes
seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from api.decoding import make_decoders, make_image_limits
from api.interpreter import loading
from api.settings import Settings
from embedder.decoding.picture import Decoders, PictureOrder
from embedder.network.download import (
    ModelFiles,
    describe_model,
    locate_model,
    read_shipped_references,
)
from embedder.network.references import ReferenceVectors
from embedder.network.registry import ModelInfo
from embedder.network.results import Embedded, Failed
from embedder.pictures.limits import ImageLimits
from index.truth.computations import Computation, PrecisionCheck

if TYPE_CHECKING:
    from embedder.network.embed import Embedder

K = TypeVar("K")


def load_embedder(settings: Settings, decoders: Decoders | None = None) -> Embedder:
    """Load the model that the settings name. Raises `EmbedderError`.

    `decoders` make its pictures; without them those that the settings name, which start with the
    first picture.
    """
    with loading():
        from embedder.network.embed import Embedder  # noqa: PLC0415 -- torch takes seconds to load; most commands need no model

    return Embedder.load(
        settings.model,
        device=settings.device,
        precision=settings.precision,
        limits=make_image_limits(settings),
        batch_size=settings.batch_size,
        cache_dir=settings.model_cache_dir,
        offline=settings.offline,
        added_dir=settings.added_model_dir,
        checks_dir=settings.precision_dir,
        decoders=decoders or make_decoders(settings),
    )


def locate_files(settings: Settings) -> ModelFiles:
    """Find and check the files of the model that the settings name. Raises `ModelError`."""
    return locate_model(
        settings.model,
        settings.model_cache_dir,
        offline=settings.offline,
        added_dir=settings.added_model_dir,
    )


def read_precision_check(embedder: Embedder) -> PrecisionCheck | None:
    """Return what the panel measured of the precision that a model runs in.

    None where that is float32 on a CPU, and where the panel refused another precision.
    """
    check = embedder.precision_check
    if check is None or check.precision != embedder.precision:
        return None
    cosine = min(max(check.smallest_cosine, -1.0), 1.0)  # rounding may exceed 1
    return PrecisionCheck(check.images, cosine, check.largest_logit_difference)


class Model:
    """A model whose files were checked. Thread-safe.

    `references` are the photographs whose vectors travel with it; None without any.
    """

    def __init__(
        self,
        info: ModelInfo,
        limits: ImageLimits,
        decoders: Decoders,
        references: ReferenceVectors | None,
        load: Callable[[], Embedder],
    ) -> None:
        self.info = info
        self.limits = limits
        self.decoders = decoders
        self.references = references
        self._load = load
        self._embedder: Embedder | None = None
        self._loading = threading.Lock()

    @classmethod
    def of(cls, embedder: Embedder) -> Model:
        """The model of an embedder, which is loaded."""
        model = cls(
            embedder.info,
            embedder.limits,
            embedder.decoders,
            embedder.references,
            lambda: embedder,
        )
        model._embedder = embedder
        return model

    @classmethod
    def locate(cls, settings: Settings, decoders: Decoders) -> Model:
        """Check the files of the model that the settings name, and load its network later.

        Raises `ModelError`. Other errors of `load_embedder` come with the first image.
        """
        files = locate_files(settings)
        info = describe_model(files)
        return cls(
            info,
            make_image_limits(settings),
            decoders,
            read_shipped_references(files, info),
            lambda: load_embedder(settings, decoders),
        )

    @property
    def is_loaded(self) -> bool:
        """Whether the network is loaded."""
        return self._embedder is not None

    @property
    def embedder(self) -> Embedder:
        """The network on its device; the first call may load it. Raises `EmbedderError`."""
        with self._loading:
            if self._embedder is None:
                self._embedder = self._load()
            return self._embedder

    @property
    def computation(self) -> Computation:
        """What computes the embeddings of this process: rows record it. Raises like `embedder`."""
        embedder = self.embedder
        return Computation(embedder.device, embedder.precision, read_precision_check(embedder))

    @property
    def picture_order(self) -> PictureOrder:
        """The order for the pixels that the model reads."""
        return PictureOrder(self.limits, self.info.preprocessing)

    def embed_stream(
        self, items: Iterable[tuple[K, bytes, PictureOrder]]
    ) -> Generator[Embedded[K] | Failed[K], None, None]:
        """Embed a stream of files as `Embedder.embed_stream` does; without any, nothing is loaded.

        Raises like `embedder` and `Embedder.embed_stream`.
        """
        items = iter(items)
        try:
            first = iter([next(items)])  # nothing else holds the first file
        except StopIteration:
            return
        yield from self.embedder.embed_stream(chain(first, items))
