"""A decoder that obeys the file: what a hostile image could make a real one do.

A file that begins with PLANT names a function of this module and its argument. Any other file is
decoded as usual. Workers load this module by its name.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import pickle
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from embedder.decoding.picture import Picture, PictureOrder, make_pictures
from embedder.decoding.protocol import LENGTH, pack
from embedder.errors import CorruptImage, ImageError

PLANT = b"planted "


def plant(action: str, argument: object = "") -> bytes:
    return PLANT + f"{action} {argument}".encode()


def attempt(words: str) -> None:
    """Report what an action raises as the error of a sound decoder, so that the worker goes on."""
    action, _, argument = words.partition(" ")
    try:
        globals()[action](argument)
    except Exception as err:
        raise CorruptImage("planted", f"{type(err).__name__}: {err}") from None
    raise CorruptImage("planted", "nothing happened")


def decode(data: bytes, orders: Sequence[PictureOrder]) -> Iterator[Picture | ImageError]:
    if data.startswith(PLANT):
        action, _, argument = data.removeprefix(PLANT).decode().partition(" ")
        if action == "after_first":
            yield next(iter(make_pictures(data, orders)))
            action = argument
        try:
            globals()[action](argument)
        except ImageError as err:
            yield from [err] * len(orders)
            return
    yield from make_pictures(data, orders)


def never_start(data: bytes, orders: Sequence[PictureOrder]) -> Iterator[Picture | ImageError]:
    """Hold up the worker at its samples, before it is ready."""
    time.sleep(60)
    return make_pictures(data, orders)


def _descriptor(name: str) -> int:
    return int(sys.argv[sys.argv.index(f"--{name}") + 1])


def _say(*messages: bytes) -> None:
    os.write(_descriptor("replies"), b"".join(messages))  # at once: a second one is not too late
    time.sleep(60)


# -- how a decoder ends


def ring(_: str) -> None:
    """End by the alarm of the worker itself, which a busy parent may see before its own."""
    signal.raise_signal(signal.SIGALRM)


def segfault(_: str) -> None:
    ctypes.string_at(0)


def leave(_: str) -> None:
    os._exit(3)


def abort(_: str) -> None:
    os.abort()


def hang(_: str) -> None:
    while True:
        pass


def sleep(seconds: str) -> None:
    time.sleep(float(seconds))


def crash_later(_: str) -> None:
    """Leave something behind that ends the process during the next picture."""
    decode.__code__ = _leave_late.__code__


def _leave_late(data: bytes, orders: Sequence[PictureOrder]) -> Iterator[Picture | ImageError]:
    os._exit(9)


def balloon(_: str) -> None:
    blocks = []
    while True:
        blocks.append(bytearray(2**24))


def leap(_: str) -> None:
    bytearray(2**45)


# -- what a decoder must not do


def read(path: str) -> None:
    Path(path).read_bytes()


def look(path: str) -> None:
    Path(path).stat()


def write(path: str) -> None:
    Path(path).write_bytes(b"was here")


def remove(path: str) -> None:
    Path(path).unlink()


def connect(port: str) -> None:
    with socket.socket() as client:
        client.connect(("127.0.0.1", int(port)))


def connect_local(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def execute(path: str) -> None:
    os.execv("/bin/sh", ["sh", "-c", f"touch {path}"])


def fork(_: str) -> None:
    if os.fork() == 0:
        os._exit(0)


def signal_process(pid: str) -> None:
    os.kill(int(pid), 9)


def read_memory(pid: str) -> None:
    """Look into another process, by the system call of debuggers (process_vm_readv, x86-64)."""
    if ctypes.CDLL(None, use_errno=True).syscall(310, int(pid), 0, 0, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")


def map_code(_: str) -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def raise_limits(_: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))


def read_environment(name: str) -> None:
    raise RuntimeError(f"{name}={os.environ.get(name)}")


def print_warning(_: str) -> None:
    os.write(2, b"a warning of a native decoder\n")
    os.write(1, b"a warning of a native decoder\n")


# -- how a decoder that was taken over may answer


def _reply(message: Mapping[str, Any]) -> bytes:
    """A reply with the number of the request, which whoever has taken over a worker can find."""
    frame = sys._getframe()
    while frame.f_code.co_name != "_serve":
        assert frame.f_back is not None
        frame = frame.f_back
    return pack({**message, "number": frame.f_locals["number"]})


def say_garbage(_: str) -> None:
    _say(LENGTH.pack(20) + b"\x80\x04this is no JSON\x00\x01\x02")


def say_pickle(path: str) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {path}",)

    body = pickle.dumps(Bomb())
    _say(LENGTH.pack(len(body)) + body)


def say_much(_: str) -> None:
    _say(LENGTH.pack(2**31) + b"{}")


def say_for_ever(_: str) -> None:
    """A message of the largest length, byte by byte: slower than any time-out."""
    os.write(_descriptor("replies"), LENGTH.pack(2**22))
    while True:
        os.write(_descriptor("replies"), b"x")
        time.sleep(0.05)


def say_half(_: str) -> None:
    _say(LENGTH.pack(100) + b'{"picture"')


def say_twice(_: str) -> None:
    _say(_reply({"out_of_memory": True}), _reply({"out_of_memory": True}))


def say_deep(_: str) -> None:
    _say(LENGTH.pack(200_000) + b"[" * 200_000)


def say(message: str) -> None:
    parsed = json.loads(message)
    body = message.encode()
    _say(_reply(parsed) if isinstance(parsed, dict) else LENGTH.pack(len(body)) + body)


def say_early(_: str) -> None:
    """Answer before the decoder does, whose own answer then comes when nobody asked for it."""
    os.write(_descriptor("replies"), _reply({"error": {"reason": "not_an_image", "detail": "no"}}))


def shrink_block(_: str) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(_descriptor("block"), 0)
    _say(_reply({"picture": {"format": "png"}, "parts": [10]}))


def grow_block(_: str) -> None:
    for at in range(0, 2**40, 2**30):
        os.pwrite(_descriptor("block"), b"x", at)
