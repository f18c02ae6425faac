"""One worker process, as its parent sees it: started, asked for a picture with a deadline, ended.

The thread that starts a worker asks and ends it too: the kernel kills a worker whose thread ends.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from embedder.decoding.confinement import (
    LAYERS,
    UNKNOWN,
    Closed,
    Layer,
    judge_confinement,
)
from embedder.decoding.picture import Picture, PictureOrder
from embedder.decoding.protocol import LENGTH, MAX_MESSAGE_BYTES, pack_orders
from embedder.decoding.replies import (
    DecoderFailure,
    InvalidReplyError,
    OutOfMemory,
    read_reply,
    unpack,
)
from embedder.errors import DecodersUnavailable, DecodingTimedOut, ImageError

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

# Loading the decoders takes 0.3 s of a slow core; a machine that is busy takes its time.
START_SECONDS = 60.0
# What a picture may take beyond what was reckoned, and what a worker may take that has done
# nothing: its modules are about 350 MiB of addresses.
SLACK_BYTES = 64 * 2**20
_LIBRARY_BYTES = 2**30
# The block keeps this much between pictures; more is given back.
_KEPT_BLOCK_BYTES = 2**20
# What a small picture takes and frees stays with the worker for the next: a new page costs as much
# as computing what it holds. glibc gives back what is larger, as the worker does after a larger
# picture.
_KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": 2 * 2**20, "MALLOC_TRIM_THRESHOLD_": 8 * 2**20}
_KILL_SECONDS = 10.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_MODULE = "embedder.decoding.worker"
# Windows has neither.
CAN_RUN_PROCESSES = hasattr(select, "poll") and hasattr(os, "preadv")


class WorkerEndedError(Exception):
    """A worker ended, or had to be ended, while it made a picture.

    `from_outside`: by a signal that no decoder sends itself, so perhaps not for this picture.
    """

    def __init__(self, detail: str, *, from_outside: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.from_outside = from_outside


class UnusableConfinementError(Exception):
    """Under these layers a worker does not get as far as decoding a sample."""


class MemoryExceededError(Exception):
    """A picture took more memory than was set aside for it."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What all workers of a pool have in common.

    `decoder` names a function with the signature of `make_pictures`. `max_bytes` is the most that
    one picture may take, `max_block_bytes` the most that a file or the parts of an answer have.
    """

    decoder: str
    timeout_seconds: float
    max_bytes: int
    max_block_bytes: int


class DecodingProcess:
    """A worker that is ready. Use it in the thread that started it, except for `kill`."""

    def __init__(
        self, process: subprocess.Popen[bytes], replies: int, block: int, options: WorkerOptions
    ) -> None:
        self._process = process
        self._replies = replies
        self._block = block
        self._options = options
        self._limit = 0
        self._received = bytearray()
        self._base_bytes: int | None = None
        self.confinement = UNKNOWN
        self.pictures = 0

    @classmethod
    def start(
        cls,
        options: WorkerOptions,
        layers: Sequence[Layer] = LAYERS,
        register: Callable[[DecodingProcess], object] = lambda _: None,
    ) -> DecodingProcess:
        """Start a worker, and wait until it is confined and has decoded samples.

        `register` gets the worker before that, so that another thread can kill it meanwhile.

        Raises DecodersUnavailable, UnusableConfinementError.
        """
        try:
            with os.fdopen(_open_unnamed("lineup-errors"), "w+b") as errors:
                worker = _spawn(options, layers, errors)
                try:
                    register(worker)
                    worker._read_report(errors)
                except BaseException:
                    worker.end()
                    raise
        except OSError as err:  # no descriptor or no process is left, or no program is there
            raise DecodersUnavailable(f"no decoding process can be started: {err}") from err
        return worker

    def _read_report(self, errors: IO[bytes]) -> None:
        """Wait for what a worker says once it is confined.

        Raises UnusableConfinementError; DecodersUnavailable where confinement is not the reason.
        """
        try:
            message = unpack(self._receive(time.monotonic() + START_SECONDS))
            closed = [Closed(each) for each in message["closed"]]
            layers = [Layer(each) for each in message["layers"]]
        except KeyError:
            if "broken" in message:
                raise DecodersUnavailable(
                    f"a decoding process cannot load its decoders: {message['broken']}"
                ) from None
            raise UnusableConfinementError(message.get("unusable", "no report")) from None
        except (OSError, InvalidReplyError, ValueError, TypeError) as err:
            self.end()
            raise UnusableConfinementError(
                _last_line(errors) or f"it did not start: {type(err).__name__} {err}"
            ) from err
        self.confinement = judge_confinement(closed, layers)
        self._base_bytes = self.read_resident_bytes()

    def make_pictures(
        self, data: bytes, orders: Sequence[PictureOrder], max_bytes: int
    ) -> Iterator[Picture | ImageError]:
        """Yield what each order makes of a file, all of which may take `max_bytes`. Take all of it.

        Raises MemoryExceededError and, once the worker has ended, WorkerEndedError or
        DecodingTimedOut.
        """
        self._limit_memory(max_bytes)
        deadline = time.monotonic() + self._options.timeout_seconds
        at = 0
        try:
            self._require_silence()
            self._write(data)
            number = secrets.randbits(53)
            self._send(pack_orders(orders, len(data), number), deadline)
            for left, order in zip(reversed(range(len(orders))), orders, strict=True):
                message = unpack(self._receive(deadline))
                if message.get("number") != number:
                    raise InvalidReplyError("an answer to another request")  # noqa: TRY301 -- as below
                reply = read_reply(message, self._block, order, at)
                at += sum(message.get("parts", ()))
                is_last = not left or isinstance(reply, OutOfMemory | DecoderFailure)
                if is_last:
                    self._require_silence()
                    self.pictures += 1
                    self._shrink_block(len(data))
                match reply:
                    case OutOfMemory():
                        raise MemoryExceededError
                    case DecoderFailure(detail):
                        self.end()
                        raise WorkerEndedError(detail)
                    case _:
                        yield reply
        except TimeoutError:
            self.end()
            raise DecodingTimedOut(self._options.timeout_seconds) from None
        except InvalidReplyError as err:
            self.end()
            raise WorkerEndedError(f"it gave an invalid answer ({err})") from err
        except OSError as err:
            raise self._explain_end() from err

    def has_grown(self, most: int) -> bool:
        """Whether it holds `most` bytes more than when it started. False where that is unknown."""
        now = self.read_resident_bytes()
        return now is not None and self._base_bytes is not None and now > self._base_bytes + most

    def read_resident_bytes(self) -> int | None:
        """Return the memory that it holds, in bytes; None where the system does not say."""
        return _read_statm(self._process.pid, 1)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def kill(self) -> None:
        """End the process now, from any thread. Its own thread notices."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def end(self) -> None:
        """End the process and release what it used. May be called twice."""
        self.kill()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        for descriptor in (self._replies, self._block):
            if descriptor >= 0:
                os.close(descriptor)
        self._replies = self._block = -1
        with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel may be slow to free it
            self._process.wait(_KILL_SECONDS)

    def abandon(self) -> None:
        """Close a forked child's copies of the pipes. The worker is its parent's."""
        assert self._process.stdin is not None
        for descriptor in (self._process.stdin.fileno(), self._replies, self._block):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._process.returncode = 0  # not this process's child: nothing to wait for

    def _write(self, data: bytes) -> None:
        view, at = memoryview(data), 0
        while view:
            written = os.pwrite(self._block, view, at)
            at, view = at + written, view[written:]

    def _send(self, message: bytes, deadline: float) -> None:
        """Send to a worker that may not read. Raises TimeoutError, OSError."""
        assert self._process.stdin is not None
        descriptor = self._process.stdin.fileno()
        view = memoryview(message)
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                _wait_for(descriptor, select.POLLOUT, deadline)

    def _receive(self, deadline: float) -> bytes:
        """Return the body of the next message. Raises TimeoutError, OSError, InvalidReplyError."""
        (length,) = LENGTH.unpack(self._take(LENGTH.size, deadline))
        if length > MAX_MESSAGE_BYTES:
            raise InvalidReplyError(f"a message of {length:,} bytes")
        return self._take(length, deadline)

    def _take(self, size: int, deadline: float) -> bytes:
        """Return the next bytes of the replies; keep what came behind them."""
        while len(self._received) < size:
            _wait_for(self._replies, select.POLLIN, deadline)
            piece = os.read(self._replies, 2**16)
            if not piece:
                raise BrokenPipeError("the worker closed its end")
            self._received += piece
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    def _require_silence(self) -> None:
        """Raise InvalidReplyError where an answer is there that nobody asked for."""
        with contextlib.suppress(TimeoutError):
            if not self._received:
                _wait_for(self._replies, select.POLLIN, time.monotonic())
            raise InvalidReplyError("an answer that nobody asked for")

    def _limit_memory(self, max_bytes: int) -> None:
        """Set how much more the worker may take than it has now. From outside: it cannot itself."""
        now = _read_statm(self._process.pid, 0)
        if now is None or resource is None or not hasattr(resource, "prlimit"):
            return
        # In steps, so that most pictures need no change.
        limit = -(-(now + max_bytes + SLACK_BYTES) // SLACK_BYTES) * SLACK_BYTES
        if limit != self._limit:
            with contextlib.suppress(OSError, ValueError):
                _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_AS)
                if hard != resource.RLIM_INFINITY:
                    limit = min(limit, hard)
                resource.prlimit(self._process.pid, resource.RLIMIT_AS, (limit, hard))
                self._limit = limit

    def _shrink_block(self, size: int) -> None:
        if size > _KEPT_BLOCK_BYTES:
            os.ftruncate(self._block, 0)

    def _explain_end(self) -> WorkerEndedError | DecodingTimedOut:
        """Say how the worker ended, which closed its pipe."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        status = self._process.returncode
        self.end()
        if status is None:
            return WorkerEndedError("it closed its pipe")
        if status >= 0:
            return WorkerEndedError(f"exit status {status}")
        name = _name_signal(-status)
        if name == "SIGALRM":  # its own time-out, noticed before that of this process
            return DecodingTimedOut(self._options.timeout_seconds)
        return WorkerEndedError(f"signal {name}", from_outside=name in _FROM_OUTSIDE)


# No decoder sends these to itself: the kernel out of memory, or a person.
_FROM_OUTSIDE = frozenset({"SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"})


def _spawn(options: WorkerOptions, layers: Sequence[Layer], errors: IO[bytes]) -> DecodingProcess:
    """Start a process, and keep no descriptor where that fails. Raises OSError."""
    with contextlib.ExitStack() as undo, contextlib.ExitStack() as theirs:
        replies, worker_end = os.pipe()
        undo.callback(os.close, replies)
        theirs.callback(os.close, worker_end)
        block = _open_unnamed("lineup-picture")
        undo.callback(os.close, block)
        process = subprocess.Popen(  # noqa: S603  # nosec B603 # this interpreter, values of this module
            _make_command(options, layers, worker_end, block),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            bufsize=0,
            pass_fds=(worker_end, block),
            start_new_session=True,
            cwd="/",
            env=_make_environment(),
        )
        undo.pop_all()
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    os.set_blocking(replies, False)
    return DecodingProcess(process, replies, block, options)


def _make_command(
    options: WorkerOptions, layers: Sequence[Layer], worker_end: int, block: int
) -> list[str]:
    values = {
        "parent": os.getpid(),
        "replies": worker_end,
        "block": block,
        "block-bytes": options.max_block_bytes,
        "memory-bytes": _LIBRARY_BYTES + options.max_bytes,
        "timeout": options.timeout_seconds,
        "decoder": options.decoder,
        "layers": ",".join(layers),
    }
    arguments = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-P", "-s", "-m", _MODULE, *arguments]


def _open_unnamed(label: str) -> int:
    """Return a file that has no name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(label)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _make_environment() -> dict[str, str]:
    """Return the little that a worker needs to know: no passwords, no settings.

    It has a core of its own, so no library needs threads. Its modules are found where this
    process finds them.
    """
    kept = {
        name: os.environ[name]
        for name in ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")
        if name in os.environ
    }
    path = [str(Path(each).resolve()) for each in sys.path]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **kept,
        **one_thread,
        "MALLOC_ARENA_MAX": "1",
        **{name: str(value) for name, value in _KEPT_MEMORY.items()},
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
    }


def _wait_for(descriptor: int, event: int, deadline: float) -> None:
    """Wait until a pipe can be read or written. Raises TimeoutError."""
    poll = select.poll()
    poll.register(descriptor, event)
    seconds = deadline - time.monotonic()
    if not poll.poll(max(0.0, seconds) * 1000):
        raise TimeoutError


def _read_statm(pid: int, field: int) -> int | None:
    """Return a field of Linux's `statm` in bytes: 0 addresses, 1 memory that is held.

    It is read twice for each picture, so by system calls alone: a file object takes 0.1 ms.
    """
    try:
        descriptor = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return int(os.read(descriptor, 256).split()[field]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return None
    finally:
        os.close(descriptor)


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _last_line(errors: IO[bytes]) -> str:
    """Return the last line that a worker printed, without what is not printable."""
    errors.seek(0)
    lines = errors.read(2**16).decode(errors="replace").strip().splitlines()
    return "".join(each if each.isprintable() else "?" for each in lines[-1])[:500] if lines else ""
