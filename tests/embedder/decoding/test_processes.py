"""What an image can do to the process that decodes it is that image's trouble only."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder.decoding.confinement import ConfinementLevel
from embedder.decoding.picture import Picture, PictureOrder, make_picture
from embedder.decoding.processes import ProcessDecoders
from embedder.errors import (
    CorruptImage,
    DecoderCrashed,
    DecodersUnavailable,
    DecodingTimedOut,
    ImageError,
    ImageTooLarge,
    NeedsTooMuchMemory,
    NotAnImage,
)
from tests.conftest import unavailable
from tests.embedder.decoding.planted import plant
from tests.embedder.decoding.test_picture import LIMITS, MODEL, encode


def prove(*values: object) -> object:
    """A case that `make prove` runs: every crash costs the start of a worker."""
    return pytest.param(*values, marks=pytest.mark.prove)


ORDER = PictureOrder(LIMITS, MODEL, perceptual_hash=True)
PLANTED = "tests.embedder.decoding.planted:decode"
TIMEOUT_SECONDS = 2.0
BUDGET_BYTES = 256 * 2**20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tests of Linux's confinement")


@pytest.fixture(scope="module")
def planted() -> Iterator[ProcessDecoders]:
    """One worker, so that the next image is decoded where the last one was."""
    decoders = ProcessDecoders(
        1, timeout_seconds=TIMEOUT_SECONDS, budget_bytes=BUDGET_BYTES, decoder=PLANTED
    )
    yield decoders
    decoders.close()


def require_good(decoders: ProcessDecoders) -> None:
    """The next image is fine."""
    data = encode()
    picture, expected = decoders.submit(data, ORDER).result(30), make_picture(data, ORDER)
    assert picture.perceptual_hash == expected.perceptual_hash
    np.testing.assert_array_equal(picture.pixels, expected.pixels)


def attempt(decoders: ProcessDecoders, action: str, argument: object = "") -> str:
    """Return what a planted decoder was answered when it tried."""
    error = decoders.submit(plant("attempt", f"{action} {argument}"), ORDER).exception(60)
    assert isinstance(error, CorruptImage)
    return error.detail


def error_of(decoders: ProcessDecoders, data: bytes) -> BaseException:
    error = decoders.submit(data, ORDER).exception(60)
    assert error is not None
    require_good(decoders)
    return error


@pytest.mark.parametrize(
    ("action", "detail"),
    [
        ("segfault", "signal SIGSEGV"),
        prove("leave", "exit status 3"),
        prove("abort", "signal SIGABRT"),
    ],
)
def test_a_crash_is_an_error_of_that_image(
    planted: ProcessDecoders, action: str, detail: str
) -> None:
    error = error_of(planted, plant(action))
    assert isinstance(error, DecoderCrashed)
    assert error.detail == detail


def test_a_crash_that_another_image_left_behind_is_not_this_one_s(
    planted: ProcessDecoders,
) -> None:
    require_good(planted)
    assert isinstance(planted.submit(plant("crash_later"), ORDER).exception(30), NotAnImage)
    require_good(planted)


def test_a_worker_that_is_killed_from_outside_is_replaced_and_the_image_is_made_again(
    planted: ProcessDecoders,
) -> None:
    require_good(planted)
    future = planted.submit(plant("sleep", 1.0), ORDER)  # long enough to be killed in it
    while not future.running():
        time.sleep(0.01)
    (worker,) = planted.find_workers()
    time.sleep(0.1)
    os.kill(worker, signal.SIGTERM)  # the service's own shutdown: a worker does not heed it
    os.kill(worker, signal.SIGKILL)
    assert isinstance(future.exception(30), NotAnImage)
    assert planted.find_workers() != [worker]


@pytest.mark.parametrize("action", ["hang", "ring", *map(prove, ["say_for_ever", "say_half"])])
def test_what_takes_too_long_is_ended(planted: ProcessDecoders, action: str) -> None:
    began = time.monotonic()
    error = error_of(planted, plant(action))
    assert isinstance(error, DecodingTimedOut)
    assert time.monotonic() - began < TIMEOUT_SECONDS + 10


@pytest.mark.parametrize("action", ["balloon", prove("leap")])
def test_what_takes_too_much_memory_is_refused_it(planted: ProcessDecoders, action: str) -> None:
    error = error_of(planted, plant(action))
    assert isinstance(error, NeedsTooMuchMemory)
    assert error.limit_bytes == BUDGET_BYTES


def test_files_can_neither_be_read_nor_written_nor_seen(
    planted: ProcessDecoders, tmp_path: Path
) -> None:
    here, new = tmp_path / "here", tmp_path / "new"
    here.write_bytes(b"secret")
    for action, path in (("read", here), ("look", here), ("write", new), ("remove", here)):
        assert "PermissionError" in attempt(planted, action, path)
    error = error_of(planted, plant("read", here))
    assert isinstance(error, DecoderCrashed)
    assert "PermissionError" in error.detail
    assert here.read_bytes() == b"secret"
    assert not new.exists()


def test_nothing_can_be_connected_to(planted: ProcessDecoders, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        server.settimeout(0.2)
        local.bind(path)
        local.listen()
        local.settimeout(0.2)
        for action, where in (("connect", server.getsockname()[1]), ("connect_local", path)):
            assert "PermissionError" in attempt(planted, action, where)
        for listening in (server, local):
            with pytest.raises(TimeoutError):
                listening.accept()


@pytest.mark.parametrize("action", ["fork", "map_code", "raise_limits"])
def test_no_rights_are_left_to_take(planted: ProcessDecoders, action: str) -> None:
    assert attempt(planted, action).startswith(("PermissionError", "ValueError"))


def test_no_program_can_be_started(planted: ProcessDecoders, tmp_path: Path) -> None:
    assert "PermissionError" in attempt(planted, "execute", tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("action", ["signal_process", "read_memory"])
def test_no_other_process_can_be_touched(planted: ProcessDecoders, action: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        for pid in (other.pid, os.getpid()):
            assert "PermissionError" in attempt(planted, action, pid)
        assert other.poll() is None
        other.kill()


def test_a_worker_knows_no_passwords(
    planted: ProcessDecoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEUP_DATABASE_URL", "postgresql://u:secret@h/d")
    (worker,) = planted.find_workers() or [0]
    if worker:
        os.kill(worker, signal.SIGKILL)  # the next one starts beside the password
    said = attempt(planted, "read_environment", "LINEUP_DATABASE_URL")
    assert said == "RuntimeError: LINEUP_DATABASE_URL=None"


@pytest.mark.parametrize(
    "data",
    [
        plant("grow_block"),
        prove(plant("say_garbage")),
        prove(plant("say_much")),
        prove(plant("say_twice")),
        prove(plant("say_deep")),
        prove(plant("shrink_block")),
        prove(plant("say", "[]")),
        prove(plant("say", '{"error":{"reason":"disk_full"}}')),
        prove(plant("say", '{"picture":{"format":"png"},"parts":[1e9]}')),
    ],
    ids=lambda data: data.decode()[8:40],
)
def test_an_answer_that_is_none_is_a_crash(planted: ProcessDecoders, data: bytes) -> None:
    assert isinstance(error_of(planted, data), DecoderCrashed)


def test_no_answer_is_unpickled(planted: ProcessDecoders, tmp_path: Path) -> None:
    error = error_of(planted, plant("say_pickle", tmp_path / "made"))
    assert isinstance(error, DecoderCrashed)
    assert not (tmp_path / "made").exists()


def test_an_answer_that_comes_too_early_is_not_the_next_image_s(planted: ProcessDecoders) -> None:
    assert planted.submit(plant("say_early"), ORDER).exception(30) is not None
    require_good(planted)


def test_what_native_decoders_print_goes_nowhere(
    planted: ProcessDecoders, capfd: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(error_of(planted, plant("print_warning")), NotAnImage)
    assert capfd.readouterr() == ("", "")


def test_the_confinement_is_full_here_and_says_so(planted: ProcessDecoders) -> None:
    if planted.confinement.level is not ConfinementLevel.FULL:
        unavailable(f"this kernel confines less: {planted.confinement.detail}")
    assert "cannot open files" in planted.confinement.detail


# -- the pool


def test_nothing_starts_before_the_first_picture() -> None:
    decoders = ProcessDecoders(2)
    assert decoders.find_workers() == []
    decoders.close()


def test_a_worker_can_be_started_ahead_and_makes_the_first_picture() -> None:
    decoders = ProcessDecoders(2)
    try:
        decoders.prepare()
        decoders.prepare()
        assert decoders.confinement.detail  # waits until a worker has started
        (ahead,) = decoders.find_workers()
        require_good(decoders)
        assert decoders.find_workers() == [ahead]
    finally:
        decoders.close()
    decoders.prepare()
    assert decoders.find_workers() == []


def test_a_picture_waits_for_the_worker_that_starts_instead_of_starting_another() -> None:
    others, decoders = find_children(), ProcessDecoders(2)
    try:
        decoders.prepare()
        require_good(decoders)
        assert len(find_children() - others) == 1
    finally:
        decoders.close()


def test_there_must_be_a_worker() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ProcessDecoders(0)


def test_errors_are_those_of_the_function_itself(planted: ProcessDecoders) -> None:
    whole = encode()
    for data in (b"", b"nothing", whole[:-20], b"<svg", whole[:60] + bytes(40) + whole[100:]):
        with pytest.raises(ImageError) as expected:
            make_picture(data, ORDER)
        error = planted.submit(data, ORDER).exception(30)
        assert type(error) is type(expected.value)
        assert str(error) == str(expected.value)
        assert error.__traceback__ is None  # it would hold the file


def test_a_file_over_the_limit_is_refused_at_once(planted: ProcessDecoders) -> None:
    data = bytes(LIMITS.max_image_bytes + 1)
    assert isinstance(planted.submit(data, ORDER).exception(0), ImageTooLarge)


def test_a_picture_over_the_budget_is_refused_at_once() -> None:
    decoders = ProcessDecoders(1, budget_bytes=1_000_000)
    error = decoders.submit(encode(), ORDER).exception(0)
    assert isinstance(error, NeedsTooMuchMemory)
    assert error.needed_bytes is not None
    assert error.needed_bytes > 1_000_000
    assert decoders.find_workers() == []
    decoders.close()


def test_a_file_is_decoded_for_several_orders_each_with_its_own_parts(
    planted: ProcessDecoders,
) -> None:
    data = encode(90, 80)
    orders = [ORDER, replace(ORDER, thumbnail_pixels=32), PictureOrder(LIMITS, view_hashes=True)]
    made = [each.result(30) for each in planted.submit_all(data, orders)]
    for one, order in zip(made, orders, strict=True):
        expected = make_picture(data, order)
        np.testing.assert_equal(one.pixels, expected.pixels)
        assert one.thumbnail == expected.thumbnail
        assert one.view_hashes == expected.view_hashes
    require_good(planted)


def test_a_picture_is_there_before_that_of_the_next_order(planted: ProcessDecoders) -> None:
    require_good(planted)  # so that the crash could be that of another file, and it is tried again
    first, second = planted.submit_all(plant("after_first", "segfault"), [ORDER, ORDER])
    assert isinstance(first.exception(30), NotAnImage)
    assert isinstance(second.exception(30), NotAnImage | DecoderCrashed)
    require_good(planted)


def test_urgent_pictures_come_first(planted: ProcessDecoders) -> None:
    done: list[str] = []
    first = planted.submit(plant("sleep", 0.3), ORDER)
    waiting = {
        name: planted.submit(encode(), ORDER, urgent=name.startswith("urgent"))
        for name in ("one", "two", "urgent one", "urgent two")
    }
    for name, future in waiting.items():
        future.add_done_callback(lambda _, name=name: done.append(name))
    wait([first, *waiting.values()], 30)
    assert done == ["urgent one", "urgent two", "one", "two"]


def test_what_was_cancelled_is_not_made(planted: ProcessDecoders) -> None:
    first = planted.submit(plant("sleep", 0.3), ORDER)
    second, third = (planted.submit(encode(), ORDER) for _ in range(2))
    assert second.cancel()
    assert isinstance(first.exception(30), NotAnImage)
    assert isinstance(third.result(30), Picture)
    assert second.cancelled()


def test_close_ends_what_runs_and_cancels_what_waits() -> None:
    decoders = ProcessDecoders(2, decoder=PLANTED)
    futures: list[Future[Picture]] = [decoders.submit(plant("hang"), ORDER) for _ in range(4)]
    while not all(future.running() for future in futures[:2]):
        time.sleep(0.01)
    workers = decoders.find_workers()
    began = time.monotonic()
    decoders.close()
    decoders.close()
    assert time.monotonic() - began < 5
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    with pytest.raises(RuntimeError):
        decoders.submit(encode(), ORDER)


def test_close_ends_a_worker_that_is_not_ready_yet(caplog: pytest.LogCaptureFixture) -> None:
    others = find_children()
    decoders = ProcessDecoders(1, decoder="tests.embedder.decoding.planted:never_start")
    picture = decoders.submit(encode(), ORDER)
    while not (starting := find_children() - others):
        time.sleep(0.01)
    decoders.close()
    with pytest.raises(CancelledError):
        picture.result(0)
    assert find_children() & starting == set()
    assert caplog.text == ""


def find_children() -> set[int]:
    """Return the numbers of the processes that this one started, with any thread."""
    files = Path("/proc/self/task").glob("*/children")
    return {int(pid) for file in files for pid in file.read_text().split()}


def test_workers_end_when_nothing_comes_but_one_stays() -> None:
    decoders = ProcessDecoders(2, idle_seconds=0.2)
    try:
        wait([decoders.submit(encode(), ORDER) for _ in range(20)])
        until = time.monotonic() + 20
        while len(decoders.find_workers()) != 1 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(decoders.find_workers()) == 1
        require_good(decoders)
    finally:
        decoders.close()


def test_a_decoder_that_is_not_there_blames_no_image() -> None:
    decoders = ProcessDecoders(1, decoder="embedder.decoding.nowhere:make_picture")
    try:
        with pytest.raises(DecodersUnavailable, match="nowhere"):
            decoders.submit(encode(), ORDER).result(60)
    finally:
        decoders.close()


def test_a_process_without_descriptors_refuses_and_goes_on_once_it_has_some() -> None:
    decoders = ProcessDecoders(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        futures = [decoders.submit(encode(), ORDER) for _ in range(3)]
        for future in futures:
            assert isinstance(future.exception(30), DecodersUnavailable)
        with pytest.raises(DecodersUnavailable, match="no decoding process can be started"):
            _ = decoders.confinement
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        require_good(decoders)
        assert decoders.confinement.level is not ConfinementLevel.NONE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        decoders.close()


def test_a_defect_while_a_worker_starts_is_told_to_all_who_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    decoders = ProcessDecoders(1, decoder="no name of a\0 module")  # no argument of a command
    try:
        for future in [decoders.submit(encode(), ORDER) for _ in range(3)]:
            with pytest.raises(DecodersUnavailable, match="defect of Lineup: ValueError"):
                future.result(30)
        with pytest.raises(DecodersUnavailable):
            _ = decoders.confinement
    finally:
        decoders.close()
    assert "embedded null byte" in caplog.text


def test_workers_start_where_no_file_can_be_written() -> None:
    """As on a full disk, where even the search for a folder of temporary files fails."""
    decoders = ProcessDecoders(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        level = decoders.confinement.level
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert level is not ConfinementLevel.NONE
        require_good(decoders)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        decoders.close()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12: the point
def test_a_forked_process_begins_anew() -> None:
    decoders = ProcessDecoders(1)
    require_good(decoders)
    try:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert decoders.find_workers() == []
                require_good(decoders)
                decoders.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        require_good(decoders)
    finally:
        decoders.close()


ORPHANS = """
import os, sys, time
from embedder.decoding.processes import ProcessDecoders
from tests.embedder.decoding.planted import plant
from tests.embedder.decoding.test_processes import ORDER, PLANTED
decoders = ProcessDecoders(2, decoder=PLANTED)
futures = [decoders.submit(plant("hang"), ORDER), decoders.submit(plant("sleep", 0), ORDER)]
while not all(future.running() or future.done() for future in futures):
    time.sleep(0.01)
time.sleep(0.2)
print(*decoders.find_workers(), flush=True)
sys.stdin.readline()
if "leave" in sys.argv:
    sys.exit(0)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["kill", prove("leave")])
def test_workers_end_with_their_parent_even_in_the_middle_of_a_hang(how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        workers = [int(each) for each in parent.stdout.readline().split()]
        assert len(workers) == 2
        parent.communicate(b"\n", 30)
    until = time.monotonic() + 10
    while any(_lives(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(_lives(pid) for pid in workers)


def test_many_threads_get_their_own_pictures() -> None:
    decoders = ProcessDecoders(2)
    files = [encode(seed=seed) for seed in range(6)]
    expected = [make_picture(data, ORDER).perceptual_hash for data in files]
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(3):
            picture = decoders.submit(files[number], ORDER, urgent=bool(number % 2)).result(60)
            if picture.perceptual_hash != expected[number]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    decoders.close()
    assert wrong == []
    gc.collect()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
