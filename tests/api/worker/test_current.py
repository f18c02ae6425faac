"""A server answers with the active model; what a request holds stays open until it lets go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.lineup import open_database
from api.settings import Settings
from api.worker.current import CurrentLineup
from embedder.errors import ModelUnavailable
from index.calibration.standing import Calibrations
from index.truth.active import activate_model
from index.truth.databases.database import Database
from index.truth.spaces import Space
from tests.api.modelless import OTHER_SPACE, SPACE, queue_job


class Product:
    """What `CurrentLineup` sees of a `Lineup`: settings, database and the space of its model."""

    def __init__(self, settings: Settings, database: Database, space: Space) -> None:
        self.settings = settings
        self.database = database
        self.space = space
        self.calibrations = Calibrations(space)
        self.is_open = True
        self.asked_for_model = threading.Event()

    @property
    def model(self) -> Any:
        self.asked_for_model.set()
        raise AttributeError("there is no model")


class Products:
    """Opens products over one data folder, each with the space that is next."""

    def __init__(self, *spaces: Space) -> None:
        self.spaces = list(spaces)
        self.opened: list[Product] = []

    @contextmanager
    def open(self, settings: Settings, *, migrate: bool = False, **_: Any) -> Iterator[Any]:
        if not self.spaces:
            raise ModelUnavailable("other", "its file is gone")
        with open_database(settings, migrate=migrate) as database:
            product = Product(settings, database, self.spaces.pop(0))
            self.opened.append(product)
            yield product
            product.is_open = False


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", server_works=False)


@contextmanager
def current(settings: Settings, products: Products) -> Iterator[CurrentLineup]:
    opened = CurrentLineup(settings, products.open, look_seconds=3600)  # the tests look
    try:
        yield opened
    finally:
        opened.close()


def activate(settings: Settings, space: Space) -> None:
    with open_database(settings) as database, database.write() as conn:
        activate_model(conn, space.model, space)


def test_nothing_is_opened_anew_while_the_same_model_is_active(settings: Settings) -> None:
    products = Products(SPACE)
    with current(settings, products) as opened:
        opened.look()
        activate(settings, SPACE)
        opened.look()

    assert [product.is_open for product in products.opened] == [False]


def test_a_request_keeps_its_model_and_the_next_one_gets_the_active_one(
    settings: Settings,
) -> None:
    products = Products(SPACE, OTHER_SPACE)
    with current(settings, products) as opened:
        activate(settings, OTHER_SPACE)
        with opened.held() as early:
            opened.look()
            with opened.held() as late:
                assert (early.space, late.space) == (SPACE, OTHER_SPACE)
            opened.look()
            assert products.opened[0].is_open
        opened.look()
        assert [product.is_open for product in products.opened] == [False, True]

    assert [product.is_open for product in products.opened] == [False, False]


def test_a_product_that_nobody_holds_is_closed_at_once(settings: Settings) -> None:
    products = Products(SPACE, OTHER_SPACE)
    with current(settings, products) as opened:
        activate(settings, OTHER_SPACE)
        opened.look()

        assert [product.is_open for product in products.opened] == [False, True]


def test_a_model_that_cannot_be_opened_leaves_the_previous_one_in_place(
    settings: Settings,
) -> None:
    products = Products(SPACE)
    with current(settings, products) as opened:
        activate(settings, OTHER_SPACE)
        with pytest.raises(ModelUnavailable):
            opened.look()

        with opened.held() as lineup:
            assert lineup.space == SPACE
            assert products.opened[0].is_open


def test_what_is_held_at_the_end_is_closed_too(settings: Settings) -> None:
    products = Products(SPACE, OTHER_SPACE)
    with current(settings, products) as opened:
        activate(settings, OTHER_SPACE)
        held = opened.held()
        held.__enter__()
        opened.look()

    assert [product.is_open for product in products.opened] == [False, False]


@pytest.mark.parametrize("server_works", [True, False])
def test_a_server_works_on_jobs_unless_it_is_told_not_to(
    settings: Settings, server_works: bool
) -> None:
    chosen = settings.model_copy(update={"server_works": server_works})
    with open_database(chosen, migrate=True) as database:
        queue_job(database)
    products = Products(SPACE)
    with current(chosen, products):
        asked = products.opened[0].asked_for_model

        assert asked.wait(10 if server_works else 0.05) is server_works
