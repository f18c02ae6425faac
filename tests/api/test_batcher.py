from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier, Event
from time import sleep

import numpy as np
import pytest
from numpy.typing import NDArray

from api.batcher import Admission, Batcher, Pixels, VectorAndLogit
from api.errors import Overloaded
from embedder.network.embed import Embedder
from embedder.network.results import Embeddings
from embedder.pictures.decode import decode

TOGETHER = 8
Picture = Callable[[int], bytes]


class GatedEmbedder(Embedder):
    """The model, with forwards that wait until the gate is opened."""

    gate = Event()

    def embed_each(self, pixels: Pixels) -> Embeddings:
        self.gate.wait()
        return super().embed_each(pixels)


@pytest.fixture
def batcher(embedder: Embedder) -> Iterator[Batcher]:
    opened = Batcher(embedder, queue_size=64)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pixels(embedder: Embedder, picture: Picture) -> list[Pixels]:
    return [embedder.preprocess(decode(picture(seed))) for seed in range(TOGETHER)]


def embed_together(batcher: Batcher, images: Sequence[Pixels]) -> list[Future[VectorAndLogit]]:
    """One thread for each image, all started at the same moment; every answer is there on
    return.
    """
    start = Barrier(len(images))

    def embed(image: Pixels) -> VectorAndLogit:
        start.wait()
        return batcher.embed(image)

    with ThreadPoolExecutor(len(images)) as threads:
        return [threads.submit(embed, image) for image in images]


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / np.linalg.norm(vector)


def test_an_error_of_the_forward_reaches_every_waiter(batcher: Batcher) -> None:
    wrong_size = [np.zeros((8, 8, 3), np.uint8)] * TOGETHER

    answers = embed_together(batcher, wrong_size)

    assert all(isinstance(answer.exception(), ValueError) for answer in answers)
    assert batcher.forwards == 0


class DefectiveEmbedder(Embedder):
    """A model whose preparation of the thread fails when the gate is opened."""

    gate = Event()

    def spare_cores(self) -> None:
        self.gate.wait()
        raise MemoryError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_thread_that_ended_by_a_defect(
    pixels: list[Pixels],
) -> None:
    defective = DefectiveEmbedder.load(device="cpu")
    opened = Batcher(defective, queue_size=4)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(opened.embed, pixels[0])
        defective.gate.set()
        with pytest.raises(Overloaded):
            waiting.result(timeout=30)
    with pytest.raises(Overloaded):
        opened.embed(pixels[0])
    assert opened.has_failed
    opened.close()


class ForwardThatEndsItsThread(Embedder):
    """A model whose forward raises what no boundary takes."""

    def embed_each(self, pixels: Pixels) -> Embeddings:  # noqa: ARG002 - as the model's
        raise SystemExit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_request_in_work_does_not_wait_for_a_thread_that_ended(pixels: list[Pixels]) -> None:
    opened = Batcher(ForwardThatEndsItsThread.load(device="cpu"), queue_size=4)
    with ThreadPoolExecutor(1) as threads, pytest.raises(Overloaded):
        threads.submit(opened.embed, pixels[0]).result(timeout=30)
    opened.close()


def test_the_next_image_is_embedded_after_an_error_of_the_forward(
    batcher: Batcher, pixels: list[Pixels]
) -> None:
    with pytest.raises(ValueError, match="pixels must be"):
        batcher.embed(np.zeros((8, 8, 3), np.uint8))

    vector, _ = batcher.embed(pixels[0])

    assert np.isfinite(vector).all()


def test_what_does_not_fit_into_the_queue_is_refused_and_the_others_are_answered(
    embedder: Embedder, pixels: list[Pixels]
) -> None:
    batcher = Batcher(embedder, queue_size=1)

    errors = [answer.exception() for answer in embed_together(batcher, pixels)]
    batcher.close()

    assert {type(error) for error in errors} == {type(None), Overloaded}


def test_a_closed_batcher_refuses(embedder: Embedder, pixels: list[Pixels]) -> None:
    batcher = Batcher(embedder, queue_size=4)

    batcher.close()

    with pytest.raises(Overloaded):
        batcher.embed(pixels[0])
    assert not batcher.has_failed


def test_close_finishes_what_is_waiting(pixels: list[Pixels]) -> None:
    embedder = GatedEmbedder.load(device="cpu", batch_size=2)
    batcher = Batcher(embedder, queue_size=64)

    with ThreadPoolExecutor(TOGETHER + 1) as threads:
        answers = [threads.submit(batcher.embed, image) for image in pixels]
        sleep(0.2)  # until all of them wait; nothing public tells when
        threads.submit(batcher.close)
        embedder.gate.set()

    assert all(answer.result()[0].shape == (embedder.info.dimension,) for answer in answers)


def test_concurrent_requests_share_forwards_where_these_have_room(pixels: list[Pixels]) -> None:
    """As on a GPU, whose forwards of look-ups have eight images."""
    embedder = GatedEmbedder.load(device="cpu")
    embedder.lookup_batch_size = 3
    embedder.gate.clear()
    batcher = Batcher(embedder, queue_size=64)

    with ThreadPoolExecutor(TOGETHER) as threads:
        answers = [threads.submit(batcher.embed, image) for image in pixels]
        sleep(0.2)  # until all of them wait; nothing public tells when
        embedder.gate.set()
    batcher.close()

    assert all(answer.exception() is None for answer in answers)
    assert batcher.forwards <= 4  # one began with the first image alone


def test_an_image_has_the_same_bits_whatever_is_embedded_beside_it(
    batcher: Batcher, pixels: list[Pixels]
) -> None:
    alone = [batcher.embed(image) for image in pixels]

    for _ in range(3):
        together = [answer.result() for answer in embed_together(batcher, pixels)]
        for (vector, logit), (own, own_logit) in zip(together, alone, strict=True):
            assert vector.tobytes() == own.tobytes()
            assert logit == own_logit


def test_the_images_of_one_request_need_one_place_and_one_forward(
    embedder: Embedder, pixels: list[Pixels]
) -> None:
    opened = Batcher(embedder, queue_size=1)
    answers = opened.embed_all(pixels)
    assert opened.forwards == 1
    alone = [opened.embed(image) for image in pixels]
    opened.close()
    assert opened.embed_all([]) == []
    for (vector, logit), (own, own_logit) in zip(answers, alone, strict=True):
        assert float(vector @ own) > 1 - 1e-5
        assert logit == pytest.approx(own_logit, abs=1e-3)
    with pytest.raises(Overloaded):
        opened.embed_all(pixels)


def test_equal_requests_of_several_images_have_equal_bits_whatever_else_waits(
    batcher: Batcher, pixels: list[Pixels]
) -> None:
    expected = batcher.embed_all(pixels[:5])
    with ThreadPoolExecutor(4) as threads:
        singles = [threads.submit(batcher.embed, image) for image in pixels]
        again = [threads.submit(batcher.embed_all, pixels[:5]) for _ in range(3)]
    assert all(answer.exception() is None for answer in singles)
    for answer in again:
        for (vector, logit), (own, own_logit) in zip(answer.result(), expected, strict=True):
            assert vector.tobytes() == own.tobytes()
            assert logit == own_logit


def test_each_of_several_requests_gets_its_own_embedding(
    batcher: Batcher, embedder: Embedder, pixels: list[Pixels]
) -> None:
    alone = [unit(embedder.embed_pixels(image[None]).vectors[0]) for image in pixels]

    together = [unit(answer.result()[0]) for answer in embed_together(batcher, pixels)]

    similarities = np.array(together) @ np.array(alone).T  # (n, n)
    assert similarities.argmax(axis=1).tolist() == list(range(TOGETHER))
    assert similarities.diagonal().min() > 0.999


def test_a_place_is_free_again_when_its_request_has_failed() -> None:
    admission = Admission(1)
    with pytest.raises(RuntimeError), admission.place():
        raise RuntimeError

    with admission.place(), pytest.raises(Overloaded) as refused, admission.place():
        pass

    assert refused.value.retry_after_seconds >= 1
