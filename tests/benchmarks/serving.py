"""Look-ups over HTTP beside an empty route: `python -m tests.benchmarks.serving [--n 100000]`.

The peer is a FastAPI route that reads the same body as the same model, does nothing and answers
`{}`; it is run by uvicorn as it comes. What Lineup adds is the work of a look-up: search, evidence,
and a durable row. Servers are processes of their own, with one worker or with two that share a
database, and the client is this process, on the same machine. Rounds of the two alternate. The
client is a bare socket, so that the figures are the servers' own; with `--client httpx` both share
their cores with a client as programs use it, which takes more than an empty route.

Batches send all probes in one request; their row counts look-ups, not requests.

Every answer is compared with the look-up of the same probe in process (the digest of its
evidence), and every id that was acknowledged is looked for in the database at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI

from api.calibrations.first import calibrate_first
from api.lineup import Lineup, make_space
from api.lookups.batches.request import BatchProbe, LookupBatch
from api.lookups.lookup import look_up_request
from api.lookups.request import LookupQuery, LookupRequest
from api.settings import Settings
from api.worker.running import find_shipped
from embedder.network.embed import Embedder
from tests.benchmarks.filling import fill, sha256_of
from tests.benchmarks.vectors import clustered

K, PROBES = 10, 200
ONE, MANY = "/v1/lookups", "/v1/lookups/batch"
START_SECONDS = 120.0


def serve_nothing(port: int) -> None:
    """Serve the peer: one route that reads a look-up and answers nothing."""
    app = FastAPI()

    @app.post(ONE, status_code=201)
    async def create(wanted: LookupRequest) -> dict[str, str]:
        return {}

    @app.post(MANY)
    async def create_many(wanted: LookupBatch) -> dict[str, str]:
        return {}

    uvicorn.run(app, port=port)


@dataclass
class Client:
    """A connection that is kept, and what the answers on it said."""

    port: int
    path: str = ONE
    seconds: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def run(self, requests: Sequence[bytes], until: float) -> None:
        """Send requests one after another until the time has come."""
        with self.connect() as post:
            turn = 0
            while (started := time.perf_counter()) < until:
                self.bodies.append(post(requests[turn % len(requests)]))
                self.seconds.append(time.perf_counter() - started)
                turn += 1

    @contextmanager
    def connect(self) -> Iterator[Callable[[bytes], bytes]]:
        """Yield what sends a body and returns that of the answer."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def post(body: bytes) -> bytes:
                connection.sendall(make_http(self.path, body))
                return receive(connection)

            yield post


class UsualClient(Client):
    """The same with httpx."""

    @contextmanager
    def connect(self) -> Iterator[Callable[[bytes], bytes]]:
        with httpx.Client(base_url=f"http://localhost:{self.port}") as connection:

            def post(body: bytes) -> bytes:
                answer = connection.post(
                    self.path, content=body, headers={"Content-Type": "application/json"}
                )
                assert answer.is_success, answer.text
                return answer.content

            yield post


CLIENTS = {"bare": Client, "httpx": UsualClient}


def receive(connection: socket.socket) -> bytes:
    """Read one answer with a length. Raises where it is no success."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 20"), data
    (length,) = (
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += _more(connection)
    return body


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 18)
    assert data, "the server closed the connection"
    return data


def make_http(path: str, body: bytes) -> bytes:
    """Return the bytes of a request."""
    return (
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
    )


@dataclass
class Round:
    """What one round of requests measured."""

    rate: float  # answers a second
    seconds: list[float]
    bodies: list[bytes]


def measure(
    ports: Sequence[int],
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    make_client: Callable[[int], Client] = Client,
    slow: Sequence[bytes] = (),
) -> Round:
    """Send bodies over some connections at the same time; each goes to one worker. `slow` are sent
    over one more connection, and not measured.
    """
    clients = [make_client(ports[number % len(ports)]) for number in range(connections)]
    started = time.perf_counter()
    with ThreadPoolExecutor(connections + 1) as threads:
        beside = threads.submit(Client(ports[0]).run, slow, started + seconds) if slow else None
        running = [
            threads.submit(
                each.run, [*requests[7 * number :], *requests[: 7 * number]], started + seconds
            )
            for number, each in enumerate(clients)
        ]
    for each in [*running, *([beside] if beside else [])]:
        each.result()
    took = time.perf_counter() - started
    times = [each for client in clients for each in client.seconds]
    bodies = [each for client in clients for each in client.bodies]
    return Round(len(times) / took, times, bodies)


@contextmanager
def run_servers(
    commands: Sequence[Callable[[int], list[str]]], folder: Path
) -> Iterator[list[int]]:
    """Run servers, wait until they answer, and yield their ports."""
    with ExitStack() as stack:
        ports = []
        for number, command in enumerate(commands):
            port = find_free_port()
            log = stack.enter_context((folder / f"server-{number}-{port}.log").open("w"))
            process = subprocess.Popen(command(port), stdout=log, stderr=subprocess.STDOUT)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            ports.append(port)
        for port in ports:
            wait_until_open(port)
        yield ports


def find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until_open(port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def make_empty_command(port: int) -> list[str]:
    return [sys.executable, "-m", __spec__.name, "--serve-nothing", str(port)]


def make_lineup_command(folder: Path) -> Callable[[int], list[str]]:
    return lambda port: [
        *(sys.executable, "-m", "api.terminal", "--data-dir", str(folder)),
        *("serve", "--port", str(port)),
    ]


def make_kinds(lineup: Lineup, probes: np.ndarray) -> dict[str, list[LookupRequest]]:
    """Return requests by embedding, by embedding and hash, and by sha256."""
    space, random = lineup.space.fingerprint, np.random.default_rng(3)
    embedded = [
        LookupRequest(embedding=row.tolist(), embedding_space=space, logit=0.5, k=K)
        for row in probes
    ]
    hashed = [
        each.model_copy(update={"pdq_hash": random.bytes(32).hex(), "pdq_quality": 100})
        for each in embedded
    ]
    ingested = [LookupRequest(sha256=sha256_of(number + 1), k=K) for number in range(len(probes))]
    return {"embedding": embedded, "embedding and hash": hashed, "sha256": ingested}


def make_batch(requests: Sequence[LookupRequest]) -> LookupBatch:
    """Return the same look-ups as one request."""
    own = BatchProbe.model_fields.keys()
    probes = [BatchProbe(**each.model_dump(include=own, exclude_unset=True)) for each in requests]
    return LookupBatch(query=LookupQuery(k=K), probes=probes)


@dataclass(frozen=True)
class Load:
    """Bodies of one kind, the digests of their answers, and how many look-ups each body is."""

    bodies: list[bytes]
    expected: list[str]
    path: str = ONE
    lookups: int = 1


def prepare(folder: Path, n: int) -> dict[str, Load]:
    """Fill a database, build its index, calibrate it as a server would do after a minute, and
    return what is sent of each kind.
    """
    info = Embedder.load("builtin", device="cpu").info
    vectors = clustered(n, info.dimension)
    if not (folder / "lineup.db").exists():
        fill(folder / "lineup.db", vectors.blocks(), info.dimension, space=make_space(info))
    with Lineup.open(Settings(data_dir=folder, device="cpu"), migrate=True) as lineup:
        lineup.index.settle()
        calibrate_first(lineup.database, lineup.space, find_shipped(lineup))
        loads = dict[str, Load]()
        for kind, requests in make_kinds(lineup, vectors.probes(PROBES)).items():
            bodies = [each.model_dump_json(exclude_unset=True).encode() for each in requests]
            expected = [look_up_request(lineup, each).evidence_sha256 or "" for each in requests]
            loads[kind] = Load(bodies, expected)
            batch = make_batch(requests).model_dump_json(exclude_unset=True).encode()
            loads[f"{kind}, batch"] = Load([batch], expected, MANY, len(requests))
        return loads


def make_slow(requests: Sequence[bytes]) -> list[bytes]:
    """Return the same questions, each to compare every entry."""
    return [json.dumps(json.loads(each) | {"exact": True}).encode() for each in requests]


def check(bodies: Sequence[bytes], expected: Sequence[str], database: Path) -> int:
    """Return how many answers were read, each the one that was computed in process, and stored."""
    answers = [answer for each in bodies for answer in _list_lookups(json.loads(each))]
    wrong = [each["id"] for each in answers if each["evidence_sha256"] not in set(expected)]
    assert not wrong, f"{len(wrong)} answers of {len(answers)} are others than in process"
    with sqlite3.connect(database) as connection:
        stored = {row[0] for row in connection.execute("SELECT id FROM lookups")}
    lost = [each["id"] for each in answers if each["id"] not in stored]
    assert not lost, f"{len(lost)} acknowledged look-ups of {len(answers)} are not stored"
    return len(answers)


def _list_lookups(body: Any) -> list[Any]:
    return [each["lookup"] for each in body["outcomes"]] if "outcomes" in body else [body]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100_000, help="known fakes")
    parser.add_argument("--folder", type=Path, help="keep the database here, or use it again")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one round")
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument(
        "--client",
        choices=CLIENTS,
        default="bare",
        help="bare: a socket, which costs nearly nothing; httpx: what programs use",
    )
    parser.add_argument(
        "--slow", action="store_true", help="one more connection asks Lineup for exact searches"
    )
    parser.add_argument("--kinds", nargs="*", help="of look-ups; all without it")
    parser.add_argument("--serve-nothing", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_nothing is not None:
        serve_nothing(options.serve_nothing)
        return
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"uvicorn {uvicorn.__version__}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        kinds = prepare(folder, options.n)
        print(
            f"{options.n:,} known fakes, client: {options.client}; answers a second, "
            f"median of {options.rounds} rounds"
        )
        print(
            f"{'look-up by':<26}{'workers':>8}{'conns':>6}{'empty':>8}{'lineup':>8}{'share':>7}"
            f"{'p50 ms':>9}{'p99 ms':>9}{'same answers':>14}"
        )
        for workers in options.workers:
            with (
                run_servers([make_empty_command] * workers, folder) as empty,
                run_servers([make_lineup_command(folder)] * workers, folder) as lineup,
            ):
                for kind in options.kinds or kinds:
                    for connections in options.connections:
                        show(folder, kind, kinds[kind], empty, lineup, connections, options)


def show(
    folder: Path,
    kind: str,
    load: Load,
    empty: Sequence[int],
    lineup: Sequence[int],
    connections: int,
    options: argparse.Namespace,
) -> None:
    """Measure one row of the table and print it."""
    client = partial(CLIENTS[options.client], path=load.path)
    slow = options.slow and load.lookups == 1
    rounds: dict[str, list[Round]] = {"empty": [], "lineup": []}
    for number in range(options.rounds + 1):  # the first one is a warm-up
        for name, ports in (("empty", empty), ("lineup", lineup)):
            measured = measure(
                ports,
                load.bodies,
                connections,
                options.seconds,
                client,
                make_slow(load.bodies) if slow and ports is lineup else (),
            )
            if number:
                rounds[name].append(measured)
    peer, own = (
        load.lookups * float(np.median([each.rate for each in rounds[name]])) for name in rounds
    )
    seconds = [each for one in rounds["lineup"] for each in one.seconds]
    p50, p99 = (1e3 * float(np.quantile(seconds, q)) for q in (0.5, 0.99))
    bodies = [each for one in rounds["lineup"] for each in one.bodies]
    checked = check(bodies, load.expected, folder / "lineup.db")
    print(
        f"{kind:<26}{len(lineup):>8}{connections:>6}{peer:>8.0f}{own:>8.0f}{own / peer:>7.2f}"
        f"{p50:>9.2f}{p99:>9.2f}{checked:>14,}",
        flush=True,
    )


if __name__ == "__main__":
    main()
