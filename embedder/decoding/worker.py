"""The process that decodes: it gives up every right that decoding does not need, then makes one
picture after the other until its parent closes the pipe.

Started by `process` as `python -m embedder.decoding.worker`, with the request pipe as standard
input. What a decoder might load later is loaded before the rights are given up, and a sample is
decoded before and after: a confinement in which decoding does not work is found at the start.
"""

from __future__ import annotations

import argparse
import contextlib
import encodings.aliases
import gc
import importlib
import importlib.util
import os
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import AvifImagePlugin, Image

from embedder.copies.features import can_extract, load_extractor
from embedder.decoding import linux
from embedder.decoding.confinement import LAYERS, Closed, Layer
from embedder.decoding.free_memory import find_trim
from embedder.decoding.picture import Picture, PictureOrder
from embedder.decoding.protocol import (
    LENGTH,
    MAX_MESSAGE_BYTES,
    describe_error,
    make_sendable,
    pack,
    read_orders,
    write_picture,
)
from embedder.errors import ImageError
from embedder.pictures.delivery import Condition
from embedder.pictures.limits import DEFAULT_LIMITS
from embedder.pictures.preprocess import Preprocessing, Resample
from embedder.pictures.reencodings import REENCODING_NAMES

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

Decoder = Callable[[bytes, Sequence[PictureOrder]], Iterable[Picture | ImageError]]

# What one hang may cost where no parent is left to end it: this many times the time-out.
_ALARM_AFTER = 1.5
# After a larger file or picture, what is free is given back to the system.
_TRIM_FROM_BYTES = 8 * 2**20
# Large enough for everything that looks at a picture to do its work (`screenshots`).
_SAMPLE_SIDE = 160
# The replies behind which those to further orders come.
_REQUEST_GOES_ON = frozenset({"picture", "error"})
# What numpy loads where it is first used.
_LATE_MODULES = ("numpy.fft", "numpy.linalg", "numpy.ma")
_SAMPLE_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP")
_SAMPLE_ORDER = PictureOrder(
    DEFAULT_LIMITS,
    Preprocessing(48, Resample.BICUBIC, 32),
    deliveries=tuple(Condition),
    perceptual_hash=True,
    view_hashes=True,
    thumbnail_pixels=32,
    file_metadata=True,
    condition=True,
    luminance=True,
    reencodings=REENCODING_NAMES,
    local_features=64,
)


def main() -> None:
    """Confine this process, report how, and serve until the requests end."""
    arguments = _parse_arguments()
    _ignore_signals()
    if linux.IS_LINUX:
        linux.die_with_parent(arguments.parent)
    with _reporting(arguments.replies, "broken"):
        decoder = _load_decoder(arguments.decoder)
        samples = _prepare(decoder)
    tries, give_back = _make_tries(arguments.parent), find_trim()
    os.dup2(1, 2)  # from here on, what native decoders print goes where standard output goes
    layers = _give_up_rights(arguments)
    with _reporting(arguments.replies, "unusable"):
        _try(decoder, samples)
    give_back()  # what the samples took
    gc.freeze()
    _send(arguments.replies, pack({"closed": _find_closed(tries), "layers": layers}))
    _serve(decoder, arguments, give_back)


@contextlib.contextmanager
def _reporting(replies: int, name: str) -> Iterator[None]:
    """Tell the parent of what is raised here, under a name."""
    try:
        yield
    except Exception as err:
        _send(replies, pack({name: make_sendable(f"{type(err).__name__}: {err}")}))
        raise


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("parent", "replies", "block", "block-bytes", "memory-bytes"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--timeout", type=float, required=True)
    parser.add_argument("--decoder", required=True)
    parser.add_argument("--layers", type=lambda text: text.split(","), required=True)
    return parser.parse_args()


def _ignore_signals() -> None:
    """The parent ends its workers: a signal to the group, or to the service, is meant for it."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _load_decoder(name: str) -> Decoder:
    module, _, function = name.partition(":")
    decoder: Decoder = getattr(importlib.import_module(module), function)
    return decoder


def _prepare(decoder: Decoder) -> list[bytes]:
    """Load what decoding loads late, and return small files to try it with."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # there is a worker for each core
    if importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").options.DECODE_THREADS = 1
    for module in _LATE_MODULES:
        importlib.import_module(module)
    if can_extract():
        load_extractor()
    Image.init()
    for codec in sorted(set(encodings.aliases.aliases.values())):  # texts in metadata name theirs
        with contextlib.suppress(ImportError):
            importlib.import_module(f"encodings.{codec}")
    samples = list(_make_samples())
    _try(decoder, samples)
    return samples


def _try(decoder: Decoder, samples: Sequence[bytes]) -> None:
    """Make a picture of each sample. Raises what the decoder raises."""
    for sample in samples:
        for made in decoder(sample, [_SAMPLE_ORDER]):
            if isinstance(made, ImageError):
                raise made


def _make_samples() -> Iterator[bytes]:
    sample = Image.linear_gradient("L").resize((_SAMPLE_SIDE, _SAMPLE_SIDE)).convert("RGB")
    for image_format in _SAMPLE_FORMATS:
        buffer = BytesIO()
        sample.save(buffer, image_format)
        yield buffer.getvalue()


def _give_up_rights(arguments: argparse.Namespace) -> list[str]:
    """Take each layer that is asked for and that this system has. Returns what was done."""
    steps: dict[Layer, Callable[[], object]] = {
        Layer.NAMESPACES: lambda: _leave_network(arguments.parent),
        Layer.LIMITS: lambda: _limit_resources(arguments),
        Layer.LANDLOCK: linux.give_up_files,
        Layer.SECCOMP: linux.filter_system_calls,
    }
    done = []
    for layer in LAYERS:
        if layer in arguments.layers:
            with contextlib.suppress(OSError):
                steps[layer]()
                done.append(layer.value)
    return done


def _leave_network(parent: int) -> None:
    linux.leave_network()
    linux.die_with_parent(parent)  # a change of user forgets it


def _limit_resources(arguments: argparse.Namespace) -> None:
    """Memory, for the whole life; no file opened any more; none larger than the block.

    A new descriptor must be under the limit of their number, so none is opened where that is 0,
    while those that are open can be used. The parent lowers the limit of memory for each picture.
    """
    if resource is None:
        raise OSError("this system has no limits of resources")
    block_bytes = arguments.block_bytes
    for limit, most in (
        (resource.RLIMIT_AS, arguments.memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, block_bytes),
        (resource.RLIMIT_NOFILE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(limit, (wanted, wanted))


def _make_tries(parent: int) -> dict[Closed, Callable[[], object]]:
    """Return what to try once the rights are given up; how to try it is found out before."""
    folder = Path(_choose_folder(), f"lineup-{uuid.uuid4().hex}")
    return {
        Closed.FILES: lambda: Path(__file__).open("rb").close(),
        Closed.FOLDERS: lambda: _make_folder(folder),
        Closed.NETWORK: lambda: socket.socket().close(),
        Closed.PROGRAMS: _fork,
        Closed.PROCESSES: lambda: os.kill(parent, 0),
        Closed.MEMORY: _exceed_memory,
    }


def _choose_folder() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # none can be written, or the disk is full
        return os.sep


def _find_closed(tries: dict[Closed, Callable[[], object]]) -> list[str]:
    """Return what is closed: it is tried, not concluded from the layers."""
    closed = []
    for each, attempt in tries.items():
        try:
            attempt()
        except (OSError, MemoryError):
            closed.append(each.value)
    return closed


def _make_folder(path: Path) -> None:
    path.mkdir()
    path.rmdir()


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def _exceed_memory() -> None:
    """Take as much memory as the limit. It is not touched, so that taking it costs nothing."""
    if resource is not None:
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            bytearray(soft)


def _serve(
    decoder: Decoder, arguments: argparse.Namespace, give_back: Callable[[], object]
) -> None:
    while (body := _receive()) is not None:
        if hasattr(signal, "setitimer"):  # ends this process where its parent no longer can
            signal.setitimer(signal.ITIMER_REAL, arguments.timeout * _ALARM_AFTER)
        orders, size, number = read_orders(body)
        made = _make_replies(decoder, orders, size, arguments.block)
        left = len(orders)
        while left:
            message, weight = next(made)
            left = left - 1 if _REQUEST_GOES_ON.intersection(message) else 0
            if not left:  # nothing is kept while the next file is waited for
                made.close()
                if hasattr(signal, "setitimer"):
                    signal.setitimer(signal.ITIMER_REAL, 0)
                if weight >= _TRIM_FROM_BYTES:
                    give_back()
            _send(arguments.replies, pack({**message, "number": number}))


def _make_replies(
    decoder: Decoder, orders: Sequence[PictureOrder], size: int, block: int
) -> Generator[tuple[Mapping[str, Any], int]]:
    """Yield a reply for each order, and about how many bytes the picture took. A reply that is
    neither a picture nor an ImageError is the last one.
    """
    weight, at = size, 0
    try:
        for made in decoder(os.pread(block, size, 0), orders):
            if isinstance(made, Picture):
                weight = max(size, 4 * made.width * made.height)
                message = write_picture(made, block, at)
                at += sum(message["parts"])
            else:
                weight = _TRIM_FROM_BYTES
                message = {"out_of_memory": True} if _lacked_memory(made) else describe_error(made)
            yield message, weight
    except MemoryError:
        yield {"out_of_memory": True}, _TRIM_FROM_BYTES
    except Exception as err:  # a decoder that does what it must not, or a defect
        yield {"failure": make_sendable(f"{type(err).__name__}: {err}")}, weight


def _lacked_memory(err: ImageError) -> bool:
    """Whether memory was what a decoder lacked. Native ones say so in words only."""
    detail = getattr(err, "detail", "")
    return isinstance(err.__cause__, MemoryError) or "memory" in detail.lower()


def _receive() -> bytes | None:
    """Return the next request; None at the end."""
    header = _read_exactly(LENGTH.size)
    return None if header is None else _read_exactly(LENGTH.unpack(header)[0])


def _read_exactly(size: int) -> bytes | None:
    received = bytearray()
    while len(received) < size:
        piece = os.read(0, size - len(received))
        if not piece:
            return None
        received += piece
    return bytes(received)


def _send(replies: int, message: bytes) -> None:
    assert len(message) <= MAX_MESSAGE_BYTES
    view = memoryview(message)
    while view:
        view = view[os.write(replies, view) :]


if __name__ == "__main__":
    main()
    sys.exit(0)
