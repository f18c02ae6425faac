"""The model of an opened product: loaded at once, or with its first image."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

from api.decoding import make_image_limits
from api.model import Model, load_embedder
from api.settings import Settings
from embedder.decoding.threads import ThreadDecoders
from embedder.errors import DeviceUnavailable, UnknownModel
from embedder.network.embed import Embedder
from tests.api.modelless import ORDER
from tests.api.small_lineup import TilesModel

DECODERS = ThreadDecoders(1)


class StreamModel(TilesModel):
    """A model that notes what its stream reads."""

    def embed_stream(self, items: Iterable[Any]) -> Generator[Any, None, None]:
        yield from (f"embedded {key}" for key, _, _ in items)


@pytest.fixture
def loads() -> list[str]:
    return []


@pytest.fixture
def late(loads: list[str]) -> Model:
    """A model that notes when it is loaded."""
    model: Any = StreamModel()

    def load() -> Embedder:
        loads.append("loaded")
        return model

    return Model(model.info, model.limits, model.decoders, None, load)


def test_a_stream_without_images_loads_nothing(late: Model, loads: list[str]) -> None:
    assert list(late.embed_stream([])) == []
    assert late.picture_order.preprocessing == late.info.preprocessing
    assert loads == []


def test_the_first_image_loads_the_network_once_and_none_is_lost(
    late: Model, loads: list[str]
) -> None:
    items = [(number, b"", ORDER) for number in range(3)]
    assert list(late.embed_stream(items)) == ["embedded 0", "embedded 1", "embedded 2"]
    assert list(late.embed_stream(items[:1])) == ["embedded 0"]
    assert late.computation.device == "cpu"
    assert loads == ["loaded"]


def test_an_error_of_the_first_item_is_raised_before_anything_is_loaded(
    late: Model, loads: list[str]
) -> None:
    def fail() -> Generator[Any, None, None]:
        raise OSError("the source is gone")
        yield

    with pytest.raises(OSError, match="the source is gone"):
        list(late.embed_stream(fail()))
    assert loads == []


def test_located_files_say_what_the_loaded_network_says(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, offline=True, device="cpu", precision="float32")
    located = Model.locate(settings, DECODERS)
    loaded = Model.of(load_embedder(settings, DECODERS))

    assert located.info == loaded.info
    assert located.limits == loaded.limits == make_image_limits(settings)
    assert located.picture_order == loaded.picture_order
    assert located.references is not None
    assert loaded.references is not None
    assert located.references.sha256 == loaded.references.sha256
    assert located.computation == loaded.computation


@pytest.mark.parametrize(
    ("read", "refused"),
    [
        (lambda model: model.info, None),
        (lambda model: model.embedder, DeviceUnavailable),
        (lambda model: list(model.embed_stream([(0, b"", ORDER)])), DeviceUnavailable),
    ],
)
def test_a_device_that_is_not_there_is_an_error_of_the_network_alone(
    tmp_path: Path, read: Callable[[Model], object], refused: type[Exception] | None
) -> None:
    model = Model.locate(Settings(data_dir=tmp_path, offline=True, device="abacus"), DECODERS)
    if refused is None:
        read(model)
        return
    with pytest.raises(refused):
        read(model)


def test_files_are_checked_when_the_model_is_located(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel):
        Model.locate(Settings(data_dir=tmp_path, offline=True, model="nobody"), DECODERS)
