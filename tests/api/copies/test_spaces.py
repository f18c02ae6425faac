"""Which copy space a process searches and fills, and that no failure of it is an error."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.copies.searching import CANDIDATES, search_copies
from api.copies.spaces import NOTHING_DESCRIBED, Copies
from api.copies.stages import StageOutcome
from api.ingest.single import add_image
from api.settings import Settings
from embedder.decoding.picture import PictureOrder, make_picture
from index.cache.live import LiveIndex
from index.cache.plans.config import DEFAULT_CONFIG
from index.cache.searching.questions import Question, SearchResult
from index.truth.active import activate_copy_space, deactivate_copy_space, find_active_copy_space
from index.truth.corpora import CorpusKind, Keep, create_corpus
from index.truth.databases.database import Database
from index.truth.filters import EVERYTHING, Filter
from index.truth.provenance import Provenance
from index.truth.spaces import list_spaces
from tests.api.copies.colours import INPUT, Colours, Shop
from tests.api.ingest.test_single import Product
from tests.api.modelless import LIMITS, SPACE, fill, png, stores_in


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def open_copies(database: Database, tmp_path: Path, shop: Shop) -> Iterator[Callable[..., Copies]]:
    opened: list[Copies] = []

    def open_one(*, background: bool = False, choose: Any = shop.choose, **settings: Any) -> Copies:
        chosen = Settings(data_dir=tmp_path, **{"copy_descriptor": "auto"} | settings)
        opened.append(
            Copies(chosen, database, DEFAULT_CONFIG, background=background, choose=choose)
        )
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def active_name(database: Database) -> str | None:
    with database.read() as conn:
        active = find_active_copy_space(conn)
    return None if active is None else active.descriptor


def test_an_empty_database_takes_the_first_descriptor_with_its_first_picture(
    database: Database, open_copies: Any
) -> None:
    copies = open_copies()
    assert copies.find() is None
    assert active_name(database) is None
    describer = copies.find_describer()
    assert describer is not None
    assert active_name(database) == "colours"
    assert copies.find().name == "colours"
    assert (copies.outcome, copies.detail, copies.describe()) == (StageOutcome.RAN, None, "ok")


def test_a_database_that_has_entries_stays_as_it_is_until_a_back_fill(
    database: Database, open_copies: Any
) -> None:
    fill(database, "known", [0])
    copies = open_copies()
    assert copies.find_describer() is None
    assert copies.find() is None
    assert active_name(database) is None
    if copies.outcome is StageOutcome.RAN:  # a descriptor is installed beside these tests
        assert copies.describe() == NOTHING_DESCRIBED
    else:
        assert copies.outcome is StageOutcome.NOT_INSTALLED
    assert copies.start().name == "colours"
    assert active_name(database) == "colours"


def test_none_opens_and_asks_for_nothing(database: Database, open_copies: Any, shop: Shop) -> None:
    copies = open_copies(copy_descriptor="none")
    assert (copies.find(), copies.find_describer(), copies.start()) == (None, None, None)
    assert copies.outcome is StageOutcome.SWITCHED_OFF
    assert shop.asked == 0
    assert active_name(database) is None


def test_a_named_descriptor_is_used_whatever_is_active(
    database: Database, open_copies: Any, shop: Shop
) -> None:
    shop.installed.append(Colours("other"))
    assert open_copies().find_describer() is not None
    named = open_copies(copy_descriptor="other")
    assert named.find().name == "other"
    assert named.find_describer().space.model == "other"
    assert active_name(database) == "colours"


def test_another_active_space_is_opened_and_a_missing_one_is_a_reason(
    database: Database, open_copies: Any, shop: Shop
) -> None:
    other = Colours("other")
    shop.installed.append(other)
    copies = open_copies()
    first = copies.find_describer()
    with database.write() as conn:
        activate_copy_space(
            conn,
            "other",
            replace(
                first.space,
                fingerprint=other.fingerprint,
                weights_sha256=other.info.weights_sha256,
                model="other",
            ),
        )
    assert copies.find().name == "other"
    shop.installed.clear()
    with database.write() as conn:
        activate_copy_space(conn, "colours", first.space)
    assert copies.find() is None
    assert (copies.outcome, copies.detail) == (StageOutcome.NOT_INSTALLED, "no 'colours' here")
    asked = shop.asked
    assert copies.find() is None
    assert shop.asked == asked  # it is not tried again at each look-up
    with database.write() as conn:
        deactivate_copy_space(conn)
    assert copies.find() is None


def test_a_broken_descriptor_is_a_reason_and_no_error(open_copies: Any) -> None:
    assert open_copies().find_describer() is not None

    def break_it(*_: object) -> Any:
        raise RuntimeError("a driver that nobody foresaw")

    broken = open_copies(choose=break_it)
    assert broken.find() is None
    assert broken.outcome is StageOutcome.FAILED
    assert "defect" in broken.describe()


def test_a_reason_names_no_folder_of_this_machine(open_copies: Any) -> None:
    copies = open_copies(copy_descriptor="/srv/cases/2026/own.onnx")
    assert copies.find() is None
    assert "own.onnx" in copies.describe()
    assert "cases" not in copies.describe()


def test_in_the_background_a_thread_opens_it_and_no_look_up_waits(
    database: Database, open_copies: Any
) -> None:
    open_copies().find_describer()
    copies = open_copies(background=True)
    end = time.monotonic() + 20
    while copies.find() is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert copies.describe() == "ok"


def test_an_ingest_does_not_wait_for_an_index_that_is_still_being_opened(
    database: Database, open_copies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_copies().find_describer()
    may_open, is_opening = threading.Event(), threading.Event()
    open_index = LiveIndex.open

    def open_slowly(*values: Any, **options: Any) -> LiveIndex:
        is_opening.set()
        assert may_open.wait(20)
        return open_index(*values, **options)

    monkeypatch.setattr(LiveIndex, "open", open_slowly)
    copies = open_copies(background=True)
    assert is_opening.wait(20)
    try:
        assert copies.find_describer() is not None
        assert copies.find() is None
        assert copies.outcome is StageOutcome.FAILED
        assert "still being opened" in copies.describe()
    finally:
        may_open.set()


class SmallProduct(Product):
    """An `OpenedProduct` of the search, too."""

    copies: Copies
    index: LiveIndex


@pytest.fixture
def product(database: Database, tmp_path: Path, open_copies: Any) -> Iterator[SmallProduct]:
    with database.write() as conn:
        create_corpus(conn, "known", CorpusKind.KNOWN_FAKE, keep=Keep.ORIGINAL)
    product = SmallProduct(database, stores_in(tmp_path))
    product.copies = open_copies()
    with LiveIndex.open(database, SPACE, tmp_path / "index") as live:
        product.index = live
        yield product


def probe(seed: int) -> Any:
    return make_picture(png(seed), PictureOrder(LIMITS, descriptor=INPUT))


def test_a_picture_that_is_added_is_found_by_its_descriptor_at_once(
    product: SmallProduct,
) -> None:
    describer = product.copies.find_describer()
    added = [add_image(product, png(seed), "known", Provenance(), describer) for seed in range(5)]
    found = search_copies(product, probe(3))
    assert found.candidates[0][0] == added[3].entry.id
    assert found.candidates[0][1] == pytest.approx(1, abs=1e-3)
    assert [similarity for _, similarity in found.candidates] == sorted(
        (similarity for _, similarity in found.candidates), reverse=True
    )
    assert (found.report.outcome, found.report.compared) == (StageOutcome.RAN, 5)
    assert found.report.generation == 10  # both vectors of each are in the log
    assert found.report.exact


@pytest.mark.parametrize("exact", [True, False])
def test_an_exact_look_up_compares_every_vector_of_the_copy_space(
    product: SmallProduct, exact: bool
) -> None:
    describer = product.copies.find_describer()
    add_image(product, png(1), "known", Provenance(), describer)
    opened = product.copies.find()
    assert opened is not None
    asked: list[Question] = []

    class Asked:
        """The index, and what it is asked."""

        def search_all(
            self, questions: Sequence[Question], *, newest: bool
        ) -> Sequence[SearchResult]:
            asked.extend(questions)
            assert newest, "another server may have come further"
            return opened.index.search_all(questions, newest=newest)

    class Opened:
        def find(self) -> Any:
            return replace(opened, index=Asked())

    whole, product.copies = product.copies, Opened()  # type: ignore[assignment]
    assert search_copies(product, probe(1), exact=exact).candidates
    product.copies = whole
    assert [each.exact for each in asked] == [exact]


def test_a_filter_never_starves_and_several_are_joined(
    product: SmallProduct, database: Database
) -> None:
    describer = product.copies.find_describer()
    with database.write() as conn:
        create_corpus(conn, "few", CorpusKind.KNOWN_REAL)
    for seed in range(24):
        add_image(product, png(seed), "known", Provenance(), describer)
    few = add_image(product, png(50), "few", Provenance(), describer).entry.id
    chosen = Filter(corpora=frozenset(["few"]))
    assert [i for i, _ in search_copies(product, probe(3), chosen).candidates] == [few]
    both = search_copies(product, probe(3), EVERYTHING, chosen).candidates
    assert len(both) in (CANDIDATES, CANDIDATES + 1)
    assert few in dict(both)


def test_a_known_picture_in_another_corpus_gets_the_vector_that_it_lacks(
    product: SmallProduct, database: Database
) -> None:
    add_image(product, png(1), "known", Provenance())
    with database.write() as conn:
        create_corpus(conn, "more", CorpusKind.KNOWN_FAKE)
    describer = product.copies.start().describer
    add_image(product, png(1), "more", Provenance(), describer)
    assert len(search_copies(product, probe(1)).candidates) == 2
    described = product.copies.find().describer.descriptor.described
    add_image(product, png(1), "more", Provenance(), describer)  # it is there, and described
    # The probe of the search was described, and nothing else.
    assert product.copies.find().describer.descriptor.described == described


def test_a_descriptor_that_fails_fails_neither_a_look_up_nor_an_ingest(
    product: SmallProduct, shop: Shop, database: Database
) -> None:
    describer = product.copies.find_describer()
    shop.installed[0].fails = True
    added = add_image(product, png(1), "known", Provenance(), describer)
    assert added.status == "added"
    found = search_copies(product, probe(1))
    assert (found.report.outcome, found.candidates) == (StageOutcome.FAILED, ())
    shop.installed[0].fails = False
    assert search_copies(product, probe(1)).candidates == ()
    with database.read() as conn:
        assert {space.kind.value for space in list_spaces(conn)} == {"forensic", "copy"}


def test_a_picture_that_was_made_for_no_descriptor_is_not_searched(product: SmallProduct) -> None:
    product.copies.find_describer()
    picture = make_picture(png(1), PictureOrder(LIMITS, perceptual_hash=True))
    assert search_copies(product, picture).report.outcome is StageOutcome.NO_IMAGE
    assert hashlib.sha256(png(1)).hexdigest()  # its bytes are there all the same
