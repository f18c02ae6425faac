"""An embedder of a few lines that streams, so that evaluations run without loading a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from PIL import Image

from embedder.decoding.picture import PictureOrder, make_picture
from embedder.errors import ImageError
from embedder.network.embed import Embedder
from embedder.network.results import Embedded, Failed
from tests.api.small_lineup import INFO, TilesModel


class StreamingModel(TilesModel):
    """The logit of an image grows with its brightness."""

    def __init__(self, batch_size: int = 3, **info: Any) -> None:
        super().__init__(replace(INFO, **info))
        self.batch_size = batch_size
        self.batches: list[int] = []

    def embed_pixels(self, pixels: Any) -> Any:
        self.batches.append(len(pixels))
        return super().embed_pixels(pixels)

    def embed_stream(self, items: Iterable[tuple[Any, bytes, PictureOrder]]) -> Iterator[Any]:
        for key, data, order in items:
            try:
                picture = make_picture(data, order)
            except ImageError as err:
                yield Failed(key, err)
                continue
            assert picture.pixels is not None
            made = super().embed_pixels(picture.pixels[None])
            kept = replace(picture, pixels=None)
            yield Embedded(key, kept, made.vectors[0], float(made.logits[0]))


def as_embedder(model: StreamingModel) -> Embedder:
    return cast("Embedder", model)


def save_grey(path: Path, level: int, side: int = 128) -> Path:
    """Save a picture of one brightness, with a brighter corner so that it has a direction."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (side, side), (level, level, level))
    image.paste((min(255, level + 20),) * 3, (0, 0, side // 2, side // 2))
    image.save(path)
    return path
