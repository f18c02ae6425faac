"""Look-ups over HTTP beside Meta's hasher-matcher-actioner (HMA), in one run.

Both servers know the same N random hashes and the same pictures, and keep nothing else of them
(`--keep thumbnail`: Lineup keeps thumbnails too, and verifies candidates by geometry where OpenCV
is installed). Each picture is looked up as a JPEG file that was saved again, in several sizes, and
by its hash. HMA answers with the banks that hold a near hash; Lineup answers, and stores, what it
answers always: neighbours by embedding, by hash in all views, the classifier and the evidence.

Prints p50, p95 and look-ups per second of both, and of copies (saved again, mirrored, cropped) the
share whose picture each finds. `hma_peer` says what of HMA is measured. It needs `threatexchange`,
`flask-sqlalchemy` and `gunicorn`. The client is another process, on the same cores.

    python -m tests.benchmarks.hma --n 100000 [--folder DIR] [--connections 1,8]
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import platform
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from api.ingest.request import IngestRequest
from api.lineup import Lineup, make_space
from api.settings import Settings
from api.worker.running import work_on
from api.worker.starting import start_ingest
from embedder.demonstration.photographs import load_bundled_photographs
from embedder.network.embed import Embedder
from embedder.pictures.perceptual import compute_perceptual_hash
from index.truth.corpora import CorpusKind, Keep, create_corpus
from tests.benchmarks import hma_peer
from tests.benchmarks.filling import fill
from tests.benchmarks.vectors import clustered

SIZES = ((512, 512), (1600, 1200), (4000, 3000))
STORED_SIZE, PICTURES = (1600, 1200), 12
SAME = {"identical", "near_duplicate", "edited_copy"}


def crop(image: Image.Image) -> Image.Image:
    across, down = round(0.05 * image.width), round(0.05 * image.height)
    return image.crop((across, down, image.width - across, image.height - down))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved again": lambda image: image,
    "mirrored": ImageOps.mirror,
    "cropped by 5 %": crop,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a client: what is sent, and the picture that it shows, None if no known one."""

    method: str
    path: str
    body: bytes | None
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Engine:
    """A server that runs: how a file and a hash are asked, and which answer finds a picture."""

    name: str
    port: int
    ask_file: Callable[[bytes], Asked]
    ask_hash: Callable[[str], Asked]
    finds: Callable[[bytes, str], bool]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100_000, help="random hashes that both know")
    parser.add_argument("--folder", type=Path, help="where the databases are, or are made")
    parser.add_argument("--connections", default="1,8")
    parser.add_argument("--workers", type=int, default=1, help="processes of HMA")
    parser.add_argument("--requests", type=int, default=40, help="look-ups of one measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", choices=[each.value for each in Keep], default="none")
    parser.add_argument("--sizes", default=",".join(f"{w}x{h}" for w, h in SIZES))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the servers too
    sizes = [tuple(map(int, each.split("x"))) for each in options.sizes.split(",")]
    connections = [int(each) for each in options.connections.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        pictures = make_pictures()
        if not (folder / "ready").exists():
            prepare(folder, options.n, pictures, Keep(options.keep))
        print(
            f"{platform.platform()}, {os.cpu_count()} cores, {options.n:,} hashes and "
            f"{len(pictures)} pictures; p50 / p95 ms and look-ups per second"
        )
        with serve_peer(folder, options.workers) as peer, serve_lineup(folder) as lineup:
            engines = (peer, lineup)
            for width, height in sizes:
                files = [write(each.resize((width, height)), 85) for each in pictures]
                asked = {each.name: [each.ask_file(file) for file in files] for each in engines}
                title = f"image {width}x{height}, {np.mean([*map(len, files)]) / 1000:.0f} kB"
                compare(title, engines, asked, connections, options)
            hashes = [compute_perceptual_hash(each).bits.hex() for each in pictures]
            asked = {each.name: [each.ask_hash(one) for one in hashes] for each in engines}
            compare("hash", engines, asked, connections, options)
            show_quality(engines, pictures)


def make_pictures() -> list[Image.Image]:
    """Return the pictures that both know: windows of photographs, which share nothing."""
    made, sources = list[Image.Image](), [each.image for each in load_bundled_photographs()]
    for number in range(PICTURES):
        source, quarter = sources[number % len(sources)], number // len(sources)
        width, height = source.width // 2, source.height // 2
        left, top = quarter % 2 * width, quarter // 2 * height
        window = source.crop((left, top, left + width, top + height))
        shown = np.asarray(window.resize(STORED_SIZE, Image.Resampling.BICUBIC), np.int16)
        grain = np.random.default_rng(number).normal(0, 3, shown.shape[:2]).round()
        made.append(Image.fromarray((shown + grain[..., None]).clip(0, 255).astype(np.uint8)))
    return made


def write(image: Image.Image, quality: int) -> bytes:
    stored = BytesIO()
    image.save(stored, "JPEG", quality=quality)
    return stored.getvalue()


def prepare(folder: Path, count: int, pictures: Sequence[Image.Image], keep: Keep) -> None:
    """Make both databases."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(7)
    hashes = random.integers(0, 256, (count, 32), np.uint8)
    data, files = folder / "lineup", folder / "pictures"
    data.mkdir()
    files.mkdir()
    for number, each in enumerate(pictures):
        (files / f"{number}.jpg").write_bytes(write(each, 95))
    info = Embedder.load("builtin", device="cpu").info
    vectors = clustered(count, info.dimension).blocks()
    fill(data / "lineup.db", vectors, info.dimension, space=make_space(info))
    with closing(sqlite3.connect(data / "lineup.db")) as raw, raw:
        rows = ((bits.tobytes(), number) for number, bits in enumerate(hashes, start=1))
        raw.executemany("UPDATE images SET pdq_hash = ?, pdq_quality = 100 WHERE id = ?", rows)
    with Lineup.open(Settings(data_dir=data, device="cpu", offline=True)) as lineup:
        with lineup.database.write() as connection:
            create_corpus(connection, "fakes", CorpusKind.KNOWN_FAKE, keep=keep)
        request = IngestRequest(sources=[str(files)], corpus="fakes")
        work_on(lineup, start_ingest(lineup.database, lineup.space, request))
        lineup.index.settle()
    known = [compute_perceptual_hash(each).bits for each in pictures]
    more = np.frombuffer(b"".join(known), np.uint8).reshape(-1, 32)
    hma_peer.write_database(folder, np.concatenate([hashes, more]))
    (folder / "ready").touch()


@contextmanager
def serve_peer(folder: Path, workers: int) -> Iterator[Engine]:
    """Run HMA's way behind gunicorn, whose threads keep connections open."""
    port = find_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", str(workers), "--worker-class", "gthread", "--threads", "4"]
    command += ["--keep-alive", "60", "--log-level", "error"]
    with run([*command, "tests.benchmarks.hma_peer:create_app()"], HMA_FOLDER=str(folder)):
        wait_for(port)
        yield Engine("HMA", port, ask_peer_file, ask_peer_hash, peer_finds)


@contextmanager
def serve_lineup(folder: Path) -> Iterator[Engine]:
    """Run `lineup serve`."""
    port = find_port()
    command = [sys.executable, "-m", "api.terminal", "serve", "--port", str(port)]
    data = str(folder / "lineup")
    with run(command, LINEUP_DATA_DIR=data, LINEUP_DEVICE="cpu", LINEUP_OFFLINE="1"):
        wait_for(port)
        yield Engine("Lineup", port, ask_file, ask_hash, finds)


@contextmanager
def run(command: list[str], **environment: str) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def find_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Wait until a server answers anything."""
    for _ in range(600):
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/readyz")
                connection.getresponse().read()
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError


def make_form(part: str, file: bytes) -> tuple[bytes, dict[str, str]]:
    border = "lineup-benchmark"
    head = (
        f'--{border}\r\nContent-Disposition: form-data; name="{part}"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + file + f"\r\n--{border}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={border}"}


def ask_peer_file(file: bytes) -> Asked:
    return Asked("POST", "/m/lookup", *make_form("photo", file))


def ask_peer_hash(bits: str) -> Asked:
    return Asked("GET", f"/m/lookup?signal_type=pdq&signal={bits}", None, {})


def peer_finds(answer: bytes, _: str) -> bool:
    """Whether a bank matches: nothing but the picture is near, as all other hashes are random."""
    return hma_peer.BANK in answer.decode()


def ask_file(file: bytes) -> Asked:
    body, headers = make_form("image", file)
    return Asked("POST", "/v1/lookups", body, headers | {"X-Requested-By": "benchmark"})


def ask_hash(bits: str) -> Asked:
    body = json.dumps({"pdq_hash": bits, "pdq_quality": 100}).encode()
    headers = {"Content-Type": "application/json", "X-Requested-By": "benchmark"}
    return Asked("POST", "/v1/lookups", body, headers)


def finds(answer: bytes, sha256: str) -> bool:
    neighbours = json.loads(answer)["similarity"]["neighbours"]
    same = (each for each in neighbours if each["relation"] in SAME)
    return sha256 in {each["entry"]["sha256"] for each in same}


def send(connection: http.client.HTTPConnection, asked: Asked) -> bytes:
    connection.request(asked.method, asked.path, asked.body, asked.headers)
    response = connection.getresponse()
    body = response.read()
    if response.status >= 300:
        raise RuntimeError(f"{response.status}: {body[:500]!r}")
    return body


def compare(
    title: str,
    engines: Sequence[Engine],
    asked: dict[str, list[Asked]],
    connections: Sequence[int],
    options: argparse.Namespace,
) -> None:
    """Print the times of both engines, measured in turn; the best of the repeats counts."""
    for count in connections:
        best: dict[str, tuple[float, float, float]] = {}
        for _ in range(options.repeats):
            for each in engines:
                measured = measure(each.port, asked[each.name], count, options.requests)
                best[each.name] = min(best.get(each.name, measured), measured)
        texts = [
            f"{name} {p50:7.2f} / {p95:7.2f} {rate:7.1f}/s"
            for name, (p50, p95, rate) in best.items()
        ]
        peer, own = best.values()
        ratio = f"{peer[0] / own[0]:.2f} of HMA's speed at p50, {own[2] / peer[2]:.2f} of its rate"
        print(f"{title}, {count} conn.: {'; '.join(texts)}: {ratio}", flush=True)


def measure(
    port: int, asked: Sequence[Asked], connections: int, requests: int
) -> tuple[float, float, float]:
    """Return p50 and p95 in milliseconds and requests per second, after one of each connection."""
    seconds: list[float] = []
    turns = iter(range(requests))
    started = threading.Barrier(connections + 1)

    def work() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            try:
                send(connection, asked[0])
            except BaseException:
                started.abort()
                raise
            started.wait()
            for turn in turns:
                began = time.perf_counter()
                send(connection, asked[turn % len(asked)])
                seconds.append(time.perf_counter() - began)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for each in threads:
        each.start()
    started.wait()
    began = time.perf_counter()
    for each in threads:
        each.join()
    wall = time.perf_counter() - began
    p50, p95 = np.quantile(seconds, [0.5, 0.95]) * 1000
    return float(p50), float(p95), len(seconds) / wall


def show_quality(engines: Sequence[Engine], pictures: Sequence[Image.Image]) -> None:
    """Print the share of copies whose picture an engine finds."""
    stored = [hashlib.sha256(write(each, 95)).hexdigest() for each in pictures]
    for name, change in COPIES.items():
        shares = []
        for engine in engines:
            with closing(http.client.HTTPConnection("127.0.0.1", engine.port)) as connection:
                hits = sum(
                    engine.finds(
                        send(connection, engine.ask_file(write(change(image), 85))), sha256
                    )
                    for image, sha256 in zip(pictures, stored, strict=True)
                )
            shares.append(f"{engine.name} {hits} of {len(pictures)}")
        print(f"found, {name}: {'; '.join(shares)}")


if __name__ == "__main__":
    main()
