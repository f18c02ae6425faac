"""One Parquet table of ready embeddings into LanceDB, Milvus Lite, Qdrant Edge and Chroma.

    python -m tests.benchmarks.ingest_peers --n 100000 [--only lancedb,chroma]
        [--limit 1200] [--work FOLDER]

Every peer reads the same batches of the same table and stores the vector and all other columns on
disk. `write` returns when the rows are durable according to the peer's documentation, `index` when
a search uses the index that its documentation recommends. Each peer loads in a process of its own,
which then kills itself (SIGKILL) without closing anything. Another process opens what remains,
counts the rows, compares some with the table, and searches. A shorter load is killed before there
is an index. Killing a process does not affect the system's cache, so it shows nothing about a loss
of power; `durability` therefore states what strace showed of fsync and msync (10,000 rows,
2026-11-25).

Seconds start when the peer is imported and its store exists; `process_seconds` starts with the
process. The parameter that trades recall for time is raised until recall@10 >= 0.99; the figures
are those of the same probes.

The kernel starts a program's `ru_maxrss` at its parent's peak, so peaks are read from /proc
(`VmHWM`, `RssAnon`).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryFile
from typing import Any, NoReturn, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.engines import THREADS, Ids, Lance, Milvus, Qdrant, Rows
from tests.benchmarks.vectors import DIMENSION, clustered

BATCH = 4096  # Chroma takes at most 5,461 at once
K, RECALL, PROBES = 10, 0.99, 200
PROOF_ROWS = 10_000  # of the load that is killed before it is indexed
CHECKED = 50  # rows compared with the table
LIMIT_SECONDS = 1200.0
POLL_SECONDS = 0.25
RARE, GENERATORS = 10_000, 100  # as in `filling`
TEXTS = ("sha256", "generator", "label", "path", "provenance")
MOST_TEXT = 1024  # characters; Milvus needs to know

Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Killed:
    """What remained of `rows` after SIGKILL.

    `kept` rows were there; `wrong` counts those that differ, among some that were compared field by
    field.
    """

    rows: int
    kept: int
    wrong: int


@dataclass(frozen=True)
class Loaded:
    """One peer's load. A value of None is not known; `failed` gives the reason.

    `rows_reached` rows were read.
    """

    peer: str
    version: str
    settings: str
    durability: str
    rows: int
    failed: str = ""
    rows_reached: int = 0
    durable_seconds: float | None = None
    searchable_seconds: float | None = None
    process_seconds: float | None = None
    peak_bytes: int | None = None
    peak_anonymous_bytes: int | None = None
    disk_bytes: int | None = None
    killed_unindexed: Killed | None = None  # a load of PROOF_ROWS
    killed: Killed | None = None
    recall_at_10: float | None = None
    reach: Any = None
    p50_ms: float | None = None

    @property
    def rows_per_second(self) -> float | None:
        """The rate until the rows are durable."""
        return self.rows / self.durable_seconds if self.durable_seconds else None


class Peer(Protocol):
    package: str
    settings: str
    durability: str

    @property
    def reaches(self) -> Sequence[Any]: ...

    def create(self, folder: Path, dimension: int) -> None: ...
    def write(self, batches: Batches) -> None: ...
    def index(self) -> None: ...
    def open(self, folder: Path) -> None: ...
    def count(self) -> int: ...
    def row(self, number: int) -> dict[str, Any]: ...
    def search(self, probe: Rows, k: int, reach: Any) -> Ids: ...


class LancePeer(Lance):
    package = "lancedb"
    settings = "one append of a stream of batches; IVF_PQ, its defaults"
    durability = "the commit of a version makes its files count (its format); nothing is synced"

    def create(self, folder: Path, dimension: int) -> None:
        import lancedb

        self.database = lancedb.connect(folder)

    def write(self, batches: Batches) -> None:
        self.table = self.database.create_table("rows", data=batches, schema=batch_schema())

    def index(self) -> None:
        from lancedb.index import IvfPq

        self.table.create_index("vector", config=IvfPq(distance_type="dot"))

    def count(self) -> int:
        return int(self.table.count_rows())

    def row(self, number: int) -> dict[str, Any]:
        return dict(self.table.search().where(f"id = {number}").limit(1).to_arrow().to_pylist()[0])


class MilvusPeer(Milvus):
    """Uses IVF_FLAT, not the default HNSW.

    For 50,000 rows HNSW took 26 s and IVF_FLAT 1 s, at the same recall (2026-11-25).
    """

    package = "milvus-lite"
    settings = "insert and flush; IVF_FLAT nlist=1024"
    durability = (
        "flush() persists (its documentation); log and manifest are synced, the segment "
        "that replaces the log is not"
    )

    def create(self, folder: Path, dimension: int) -> None:
        from pymilvus import DataType, MilvusClient

        self.client = MilvusClient(str(folder / "rows.db"))
        schema = self.client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
        schema.add_field("logit", DataType.DOUBLE)
        for name in TEXTS:
            schema.add_field(name, DataType.VARCHAR, max_length=MOST_TEXT)
        self.client.create_collection("rows", schema=schema)

    def write(self, batches: Batches) -> None:
        for batch in batches:
            rows = drop_vectors(batch)
            for row, vector in zip(rows, vectors_of(batch), strict=True):
                row["vector"] = vector
            self.client.insert("rows", rows)
        self.client.flush("rows")

    def index(self) -> None:
        parameters = self.client.prepare_index_params()
        parameters.add_index(
            "vector", index_type="IVF_FLAT", metric_type="IP", params={"nlist": 1024}
        )
        self.client.create_index("rows", parameters)
        self.client.load_collection("rows")

    def open(self, folder: Path) -> None:
        from pymilvus import MilvusClient

        self.client = MilvusClient(str(folder / "rows.db"))
        if self.client.list_indexes("rows"):
            self.client.load_collection("rows")

    def count(self) -> int:
        return int(self.client.query("rows", filter="", output_fields=["count(*)"])[0]["count(*)"])

    def row(self, number: int) -> dict[str, Any]:
        return dict(self.client.get("rows", [number], output_fields=["*"])[0])


class QdrantPeer(Qdrant):
    package = "qdrant-edge-py"
    settings = "upsert and flush; HNSW m=16 ef_construct=100 (its defaults), optimised"
    durability = "write-ahead log, then flush() (its documentation); synced"

    def create(self, folder: Path, dimension: int) -> None:
        import qdrant_edge as q

        config = q.EdgeConfig(vectors=q.EdgeVectorParams(size=dimension, distance=q.Distance.Dot))
        self.shard = q.EdgeShard.create(str(folder), config)

    def write(self, batches: Batches) -> None:
        import qdrant_edge as q

        for batch in batches:
            rows, vectors = drop_vectors(batch), vectors_of(batch)
            points = [
                q.Point(row.pop("id"), vector.tolist(), row)
                for row, vector in zip(rows, vectors, strict=True)
            ]
            self.shard.update(q.UpdateOperation.upsert_points(points))
        self.shard.flush()

    def index(self) -> None:
        self.shard.optimize()
        self.shard.flush()

    def count(self) -> int:
        import qdrant_edge as q

        return int(self.shard.count(q.CountRequest(exact=True)))

    def row(self, number: int) -> dict[str, Any]:
        point = self.shard.retrieve([number], with_payload=True, with_vector=True)[0]
        return {"id": point.id, "vector": point.vector, **(point.payload or {})}


class ChromaPeer:
    """Its HNSW accepts a new `ef_search` only when the collection is opened again."""

    package = "chromadb"
    settings = (
        "add; HNSW max_neighbors=16 ef_construction=100 sync_threshold=1000 (its "
        "defaults), built while adding"
    )
    durability = "each add is a transaction of SQLite; synced"
    reaches: Sequence[Any] = (10, 50, 100, 200, 400, 800)
    opened_reach: Any = None

    def create(self, folder: Path, dimension: int) -> None:
        self.folder = folder
        configuration = {"hnsw": {"space": "ip"}}
        self.rows = self._client().create_collection(
            "rows", configuration=configuration, embedding_function=None
        )

    def write(self, batches: Batches) -> None:
        for batch in batches:
            rows = drop_vectors(batch)
            ids = [str(row.pop("id")) for row in rows]
            self.rows.add(ids=ids, embeddings=vectors_of(batch), metadatas=rows)

    def index(self) -> None:
        """Search once, which finishes the indexing that the last rows left to the first search."""
        self.rows.query(query_embeddings=[[0.0] * DIMENSION], n_results=1, include=[])

    def open(self, folder: Path) -> None:
        self.folder = folder
        self.rows = self._client().get_collection("rows", embedding_function=None)

    def count(self) -> int:
        return int(self.rows.count())

    def row(self, number: int) -> dict[str, Any]:
        found = self.rows.get(ids=[str(number)], include=["metadatas", "embeddings"])
        return {
            "id": int(found["ids"][0]),
            "vector": found["embeddings"][0],
            **dict(found["metadatas"][0]),
        }

    def search(self, probe: Rows, k: int, reach: Any) -> Ids:
        if reach != self.opened_reach:
            self.rows.modify(configuration={"hnsw": {"ef_search": reach}})
            self._client().clear_system_cache()
            self.open(self.folder)
            self.opened_reach = reach
        found = self.rows.query(query_embeddings=[probe], n_results=k, include=[])
        return np.array([int(each) for each in found["ids"][0]], np.int64)

    def _client(self) -> Any:
        from chromadb import PersistentClient
        from chromadb.config import Settings

        return PersistentClient(self.folder, settings=Settings(anonymized_telemetry=False))


PEERS: dict[str, type[Peer]] = {
    "lancedb": LancePeer,
    "milvus-lite": MilvusPeer,
    "qdrant-edge": QdrantPeer,
    "chroma": ChromaPeer,
}


# The table


def write_table(path: Path, n: int, seed: int = 0) -> Path:
    """Write n `clustered` embeddings, their probes and exact neighbours, unless they exist."""
    from tests.benchmarks.search import (
        find_exact,  # late: a loading process must not hold these imports
    )

    if path.is_file():
        if pq.read_metadata(path).num_rows != n:
            raise ValueError(f"{path} has a different number of rows")
        return path
    vectors, temporary = clustered(n, seed=seed), path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(
        temporary, table_schema(), use_dictionary=["generator", "label"]
    ) as writer:
        done = 0
        for block in vectors.blocks():
            writer.write_batch(table_batch(block, done, seed))
            done += len(block)
    probes = vectors.probes(PROBES)
    np.save(path.with_suffix(".probes.npy"), probes)
    np.save(
        path.with_suffix(".truth.npy"),
        find_exact(map(vectors_of, iterate_batches(temporary, n)), probes),
    )
    temporary.rename(path)
    return path


def table_batch(block: Rows, start: int, seed: int) -> pa.RecordBatch:
    from tests.benchmarks.filling import sha256_of

    numbers = range(start, start + len(block))
    columns = [
        [sha256_of(number) for number in numbers],
        pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), DIMENSION),
        np.random.default_rng([seed, start]).normal(0, 4, len(block)),
        [f"generator-{number % GENERATORS}" for number in numbers],
        ["common" if number % RARE else "rare" for number in numbers],
        [f"corpus/{number // 1000:06}/{number:09}.jpg" for number in numbers],
        [json.dumps({"batch": "benchmark", "number": number}) for number in numbers],
    ]
    return pa.record_batch([pa.array(each) for each in columns], schema=table_schema())


def table_schema() -> pa.Schema:
    vector = pa.field("vector", pa.list_(pa.float32(), DIMENSION))
    sha256, *others = (pa.field(name, pa.string()) for name in TEXTS)
    return pa.schema([sha256, vector, pa.field("logit", pa.float64()), *others])


def batch_schema() -> pa.Schema:
    return table_schema().insert(0, pa.field("id", pa.int64()))


def iterate_batches(
    table: Path, rows: int, reached: Callable[[int], None] = lambda _: None
) -> Batches:
    """Yield the first rows with their numbers as `id`; report how many were read."""
    done = 0
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(BATCH):
            batch = batch.slice(0, rows - done)  # noqa: PLW2901
            if not len(batch):
                return
            numbers = pa.array(np.arange(done, done + len(batch)))
            done += len(batch)
            yield pa.record_batch([numbers, *batch.columns], schema=batch_schema())
            reached(done)


def vectors_of(batch: pa.RecordBatch) -> Rows:
    """Return the vectors (b, d) without copying them."""
    return np.asarray(batch.column("vector").flatten()).reshape(len(batch), -1)


def drop_vectors(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    return list(batch.drop_columns(["vector"]).to_pylist())


# What the processes do


def load(name: str, table: Path, work: Path, rows: int, until: str) -> NoReturn:
    """Load, print the results and die without closing anything."""
    peer = PEERS[name]()
    peer.create(work / name, DIMENSION)

    def reached(done: int) -> None:
        (work / f"{name}.progress").write_text(str(done))

    started = time.perf_counter()
    peer.write(iterate_batches(table, rows, reached))
    report(durable_seconds=time.perf_counter() - started)
    if until == "index":
        peer.index()
        report(searchable_seconds=time.perf_counter() - started)
    report(peak_bytes=read_peak_bytes(), done=True)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def look(name: str, table: Path, work: Path, rows: int, until: str) -> None:
    """Open what a killed process left; count, compare and search."""
    from tests.benchmarks.search import compute_recall

    peer = PEERS[name]()
    peer.open(work / name)
    report(kept=peer.count(), wrong=count_wrong(peer, table, rows))
    probes, truth = (
        np.load(table.with_suffix(".probes.npy")),
        np.load(table.with_suffix(".truth.npy")),
    )
    for reach in peer.reaches if until == "index" else ():
        peer.search(probes[0], K, reach)
        seconds, found = [], []
        for probe in probes:
            began = time.perf_counter()
            found.append(peer.search(probe, K, reach))
            seconds.append(time.perf_counter() - began)
        reached = compute_recall(found, truth)
        report(recall_at_10=reached, reach=reach, p50_ms=float(np.median(seconds)) * 1e3)
        if reached >= RECALL:
            break
    report(done=True)


def count_wrong(peer: Peer, table: Path, rows: int) -> int:
    """Count rows that differ from the table, among some of every batch and the last row."""
    stride, wrong = max(1, rows // CHECKED), 0
    for batch in iterate_batches(table, rows):
        start = batch.column("id")[0].as_py()
        those = [i for i in range(len(batch)) if (start + i) % stride == 0 or start + i == rows - 1]
        for expected in batch.take(pa.array(those, pa.int64())).to_pylist():
            stored = peer.row(expected["id"])
            same = np.array_equal(np.float32(stored["vector"]), np.float32(expected["vector"]))
            same &= all(stored[key] == expected[key] for key in (*TEXTS, "id"))
            # Qdrant and Chroma read numbers from JSON and lose the last digit of one in ten
            wrong += not (same and math.isclose(stored["logit"], expected["logit"], rel_tol=1e-14))
    return wrong


def report(**facts: Any) -> None:
    """Print one line for the watching process at once, because this process may be stopped."""
    print(json.dumps(facts), flush=True)


# Processes


@dataclass(frozen=True)
class ProcessResult:
    """How a process ended, what it reported, and the peaks of it and its children."""

    seconds: float
    reported: dict[str, Any]
    problem: str
    peak_bytes: int
    peak_anonymous_bytes: int


def watch(
    module: str, arguments: Sequence[str], limit: float, threads: int | None = THREADS
) -> ProcessResult:
    """Run a module's main() in a process group of its own for at most `limit` seconds.

    It ends by reporting `done`.
    """
    environment = os.environ | {"LANCEDB_LOG": "error"}  # it warns at every search
    if threads:
        environment |= dict.fromkeys(
            ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)
        )
    command = [sys.executable, "-m", module, *arguments]
    started, peak, anonymous = time.perf_counter(), 0, 0
    with TemporaryFile("w+", errors="replace") as out, TemporaryFile("w+", errors="replace") as err:
        process = subprocess.Popen(
            command, stdout=out, stderr=err, env=environment, start_new_session=True
        )
        try:
            while process.poll() is None and time.perf_counter() - started < limit:
                family = [read_status(pid) for pid in list_family(process.pid)]
                peak = max(peak, sum(each.get("VmHWM", 0) for each in family))
                anonymous = max(anonymous, sum(each.get("RssAnon", 0) for each in family))
                time.sleep(POLL_SECONDS)
            stopped, seconds = process.poll() is None, time.perf_counter() - started
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        err.seek(0)
        reported: dict[str, Any] = {}
        for line in out:
            reported |= json.loads(line) if line.startswith("{") else {}
        errors = [line.strip() for line in err if line.strip()] or [f"exit {process.returncode}"]
    problem = f"not finished after {seconds:.0f} s" if stopped else errors[-1][:160]
    peak = max(peak, reported.get("peak_bytes", 0))
    return ProcessResult(
        seconds, reported, "" if reported.get("done") else problem, peak, anonymous
    )


def read_status(pid: int | str) -> dict[str, int]:
    """Return the values that /proc gives in kB about a process, in bytes; empty without the
    process.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {
        key: int(value.split()[0]) * 1024
        for key, _, value in (line.partition(":") for line in lines if "kB" in line)
    }


def list_family(pid: int) -> list[int]:
    """List a process and all its children."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [
                each for child in path.read_text().split() for each in list_family(int(child))
            ]
    return found


def read_peak_bytes() -> int:
    """Return the peak memory of this process, mapped files included."""
    return (
        read_status("self").get("VmHWM")
        or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )


def count_bytes_on_disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


# Loading


def find_version(name: str) -> str | None:
    """Return the version of a peer's package; None where it is not installed."""
    try:
        return version(PEERS[name].package)
    except PackageNotFoundError:
        return None


def load_peers(
    table: Path,
    work: Path,
    names: Sequence[str] = tuple(PEERS),
    limit: float = LIMIT_SECONDS,
    *,
    keep: bool = False,
) -> Iterator[Loaded]:
    """Load a table of `write_table` into each peer, one after the other.

    `limit` applies to every process.
    """
    work.mkdir(parents=True, exist_ok=True)
    for name in names:
        yield load_peer(name, table, work, limit)
        if not keep:
            rmtree(work / name, ignore_errors=True)


def load_peer(name: str, table: Path, work: Path, limit: float = LIMIT_SECONDS) -> Loaded:
    """Load a part of the table, then all of it, each into an empty folder, and kill the process."""
    n = pq.read_metadata(table).num_rows
    if find_version(name) is None:
        return replace(describe_peer(name, n), failed=f"{PEERS[name].package} is not installed")
    part = load_and_kill(name, table, work, min(n, PROOF_ROWS), "rows", limit)
    return replace(
        load_and_kill(name, table, work, n, "index", limit), killed_unindexed=part.killed
    )


def describe_peer(name: str, n: int) -> Loaded:
    return Loaded(name, find_version(name) or "", PEERS[name].settings, PEERS[name].durability, n)


def load_and_kill(
    name: str, table: Path, work: Path, rows: int, until: str, limit: float
) -> Loaded:
    folder, progress = work / name, work / f"{name}.progress"
    rmtree(folder, ignore_errors=True)
    folder.mkdir()
    progress.write_text("0")
    arguments = (
        name,
        "--child-of",
        str(table),
        "--n",
        str(rows),
        "--until",
        until,
        "--work",
        str(work),
    )
    finished = watch("tests.benchmarks.ingest_peers", ("--child", "load", *arguments), limit)
    loaded = replace(
        describe_peer(name, rows),
        failed=finished.problem and f"loading: {finished.problem}",
        rows_reached=int(progress.read_text() or 0),
        durable_seconds=finished.reported.get("durable_seconds"),
        searchable_seconds=finished.reported.get("searchable_seconds"),
        process_seconds=finished.seconds,
        peak_bytes=finished.peak_bytes,
        peak_anonymous_bytes=finished.peak_anonymous_bytes,
        disk_bytes=count_bytes_on_disk(folder),
    )
    progress.unlink()
    if loaded.failed:
        return loaded
    looked = watch("tests.benchmarks.ingest_peers", ("--child", "look", *arguments), limit)
    return replace(
        loaded,
        failed=looked.problem and f"after the kill: {looked.problem}",
        killed=Killed(rows, looked.reported["kept"], looked.reported["wrong"])
        if "kept" in looked.reported
        else None,
        recall_at_10=looked.reported.get("recall_at_10"),
        reach=looked.reported.get("reach"),
        p50_ms=looked.reported.get("p50_ms"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--only", default=",".join(PEERS), help="peers, separated by commas")
    parser.add_argument(
        "--limit", type=float, default=LIMIT_SECONDS, help="seconds after which a peer is stopped"
    )
    parser.add_argument("--work", type=Path, help="folder for the table and what the peers write")
    parser.add_argument("--keep", action="store_true", help="keep what the peers have written")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--child-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--until", choices=["rows", "index"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, name = options.child
        {"load": load, "look": look}[what](
            name, options.child_of, options.work, options.n, options.until
        )
        return
    work = options.work or Path(f"benchmark-ingest-{options.n}")
    table = write_table(work / f"table-{options.n}.parquet", options.n)
    for loaded in load_peers(
        table, work, options.only.split(","), options.limit, keep=options.keep
    ):
        print(f"\n{loaded.peer} {loaded.version}")
        for name, value in asdict(loaded).items():
            if value not in (None, ""):
                print(
                    f"  {name:22} {value:,.4g}"
                    if isinstance(value, float)
                    else f"  {name:22} {value}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
