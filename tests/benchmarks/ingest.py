"""Bulk ingest measured: images beside the bare forward and the obvious script, ready embeddings
beside four peers.

    python -m tests.benchmarks.ingest images [--images 400] [--size 256x256]
        [--models builtin vit-s-384]
    python -m tests.benchmarks.ingest ready [--n 1000000] [--only lineup,lancedb,...] [--limit 1200]
    python -m tests.benchmarks.ingest flat [--images 2000]

`images`: files on disk to committed, searchable entries with thumbnails, hashes and provenance,
against the forward alone on pixels that are ready in memory (same batches, threads and precision)
and against `ingest_script`. `ready`: one Parquet table into SQL and a searchable index, against
LanceDB, Milvus Lite, Qdrant Edge and Chroma (`ingest_peers`). `flat`: peak memory of a tar and of
one ten times as large. Everything runs in processes of its own; quality stands beside speed: how
far vectors are from the bare forward's, recall@10 against the exact answer, rows kept after a kill.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from tests.benchmarks.ingest_peers import (
    LIMIT_SECONDS,
    PEERS,
    RECALL,
    K,
    Killed,
    Loaded,
    bytes_on_disk,
    load_peer,
    peak_bytes,
    tell,
    watch,
    write_table,
)
from tests.benchmarks.ingest_script import (
    MODELS,
    SIZES,
    Embedding,
    bare_forward,
    largest_difference,
    make_sample,
    model_folder,
    print_embedding,
    run_script,
)

MODULE = "tests.benchmarks.ingest"
CORPUS = "benchmark"
READY_MODEL = "vit-s-384"  # its embeddings have 384 dimensions, as the table's


def ingest_child(data: Path, source: str, model: Path, precision: str, batch: int) -> None:
    """Ingest a source as the command does; seconds are from the start of the job until its entries
    are searchable.
    """
    from api.terminal.progress import let_waiting_threads_sleep

    let_waiting_threads_sleep()
    from api.ingest.request import IngestRequest
    from api.lineup import Lineup
    from api.settings import Settings
    from api.worker.running import work_on
    from api.worker.starting import start_ingest

    settings = Settings(
        data_dir=data, model=str(model), offline=True, precision=precision, batch_size=batch
    )
    with Lineup.open(settings, migrate=True) as lineup:
        request = IngestRequest(sources=[source], corpus=CORPUS, embedding_space=None)
        began = time.perf_counter()
        job = work_on(lineup, start_ingest(lineup.database, lineup.space, request))
        searchable = time.perf_counter() - began
        committed = (job.finished_at - job.created_at).total_seconds() if job.finished_at else None
        tell(
            seconds=searchable,
            committed_seconds=committed,
            added=job.counts.added,
            failed=job.counts.failed,
            near=job.counts.near_duplicates,
            precision=lineup.embedder.precision,
            peak_bytes=peak_bytes(),
            done=True,
        )
        os.kill(os.getpid(), signal.SIGKILL)  # what is left must be what was committed


def look_child(data: Path, table: Path, model: Path) -> None:
    """Open what a killed process left; count, and search the probes of the table."""
    from api.lineup import Lineup
    from api.settings import Settings
    from tests.benchmarks.search import recall

    began = time.perf_counter()
    with Lineup.open(Settings(data_dir=data, model=str(model), offline=True)) as lineup:
        opened = time.perf_counter() - began
        probes, truth = (
            np.load(table.with_suffix(".probes.npy")),
            np.load(table.with_suffix(".truth.npy")),
        )
        lineup.index.search(probes[0], K)
        seconds, found = [], []
        for probe in probes:
            began = time.perf_counter()
            neighbours = lineup.index.search(probe, K).neighbours
            seconds.append(time.perf_counter() - began)
            found.append(np.array([row_of(each.entry.provenance) for each in neighbours]))
        tell(
            kept=lineup.index.count,
            recall_at_10=recall(found, truth),
            p50_ms=float(np.median(seconds)) * 1e3,
            opened_seconds=opened,
            done=True,
        )


def row_of(provenance: Any) -> int:
    """The number of an entry's row in the table, which its path ends with."""
    told = provenance.get("source", {}).get("path") or provenance["path"]
    return int("".join(filter(str.isdigit, Path(str(told)).stem)))


def vectors_child(data: Path, listed: Path, out: Path, model: Path) -> None:
    """The stored vectors of files, in the order of a list, to be compared with the bare
    forward's.
    """
    import hashlib

    from api.lineup import Lineup
    from api.settings import Settings
    from index.truth.images import find_embedding

    with (
        Lineup.open(Settings(data_dir=data, model=str(model), offline=True)) as lineup,
        lineup.database.read() as conn,
    ):
        rows = []
        for line in listed.read_text().splitlines():
            stored = find_embedding(
                conn, lineup.space, hashlib.sha256(Path(line).read_bytes()).hexdigest()
            )
            assert stored is not None
            rows.append(stored.vector)
    np.save(out, np.stack(rows))
    tell(done=True)


def run_ingest(
    data: Path, source: Path, model: Path, precision: str, batch: int, limit: float
) -> Any:
    rmtree(data, ignore_errors=True)
    arguments = ("--child", "ingest", str(data), str(source), str(model), precision, str(batch))
    return watch(MODULE, arguments, limit, threads=None)


def images(told: argparse.Namespace) -> None:
    files = make_sample(told.work / told.size, told.images, SIZES[told.size])
    mean = sum(path.stat().st_size for path in files) / len(files)
    print(f"{len(files)} JPEG files of {told.size}, {mean / 1e3:.0f} kB in the mean")
    for model in told.models:
        folder = model_folder(model, told.work)
        bare = bare_forward(
            model, told.work, files[: min(len(files), 128)], batch_size=8, precision="auto"
        )
        ended = run_ingest(told.work / "data", told.work / told.size, folder, "auto", 8, told.limit)
        listed, out = told.work / "looked.txt", told.work / f"lineup-{model}.npy"
        listed.write_text("\n".join(map(str, files[: bare.images])))
        watch(
            MODULE,
            ("--child", "vectors", str(told.work / "data"), str(listed), str(out), str(folder)),
            told.limit,
        )
        lineup = Embedding(
            "lineup",
            model,
            ended.told.get("added", 0),
            ended.told.get("precision", ""),
            8,
            out,
            ended.told.get("seconds"),
            ended.seconds,
            ended.peak_bytes,
            ended.peak_anonymous_bytes,
            ended.problem,
        )
        script = run_script(model, told.work, files[: told.script_images], precision=bare.precision)
        for each in (bare, lineup, script):
            print_embedding(each)
        if bare.images_per_second and lineup.images_per_second:
            share = lineup.images_per_second / bare.images_per_second
            print(f"{'':10} Lineup end to end is {share:.3f} of the bare forward", end="")
            print(
                f"; largest difference of their vectors {largest_difference(bare, lineup):.1e}",
                flush=True,
            )


def ready(told: argparse.Namespace) -> None:
    table = write_table(told.work / f"table-{told.n}.parquet", told.n)
    names = told.only.split(",")
    if "lineup" in names:
        print_loaded(load_lineup(table, told.work, told.n, told.limit))
    for name in [each for each in names if each != "lineup"]:
        print_loaded(load_peer(name, table, told.work, told.limit))
        rmtree(told.work / name, ignore_errors=True)


def load_lineup(table: Path, work: Path, n: int, limit: float) -> Loaded:
    model, data = model_folder(READY_MODEL, work), work / "lineup"
    declared = with_space(table, model)
    ended = run_ingest(data, declared, model, "float32", 8, limit)
    looked = watch(
        MODULE, ("--child", "look", str(data), str(table), str(model)), limit, threads=None
    )
    loaded = Loaded(
        "lineup",
        "",
        "codes in inverted lists, exact re-ranking",
        "SQLite, synchronous=FULL, a commit a chunk",
        n,
    )
    return replace(
        loaded,
        failed=ended.problem or looked.problem,
        rows_reached=ended.told.get("added", 0),
        durable_seconds=ended.told.get("committed_seconds"),
        searchable_seconds=ended.told.get("seconds"),
        process_seconds=ended.seconds,
        peak_bytes=ended.peak_bytes,
        peak_anonymous_bytes=ended.peak_anonymous_bytes,
        disk_bytes=bytes_on_disk(data),
        killed=Killed(n, looked.told.get("kept", 0), 0),
        recall_at_10=looked.told.get("recall_at_10"),
        p50_ms=looked.told.get("p50_ms"),
    )


def with_space(table: Path, model: Path) -> Path:
    """The same table, which says of which embedding space its vectors are."""
    import pyarrow.parquet as pq

    from embedder.network.embed import Embedder

    declared = table.with_name(f"{table.stem}-declared.parquet")
    if not declared.exists():
        fingerprint = Embedder.load(model, device="cpu", precision="float32").info.space_fingerprint
        source = pq.ParquetFile(table)
        schema = source.schema_arrow.with_metadata({"lineup.embedding_space": fingerprint})
        with pq.ParquetWriter(declared, schema) as writer:
            for batch in source.iter_batches(10_000):
                writer.write_batch(batch.cast(schema))
    return declared


def print_loaded(each: Loaded) -> None:
    if each.failed or not (
        each.durable_seconds and each.searchable_seconds and each.peak_bytes and each.disk_bytes
    ):
        print(f"{each.peer:12} {each.failed} (at row {each.rows_reached:,})", flush=True)
        return
    kept = (
        f"{each.killed.kept:,} kept after SIGKILL, {each.killed.wrong} wrong" if each.killed else ""
    )
    short = "" if (each.recall_at_10 or 0) >= RECALL else " (below 0.99)"
    print(
        f"{each.peer:12} durable {each.durable_seconds:7.1f} s "
        f"({each.rows / each.durable_seconds:8,.0f} "
        f""
        f""
        f"rows/s), "
        f"searchable {each.searchable_seconds:7.1f} s, peak {each.peak_bytes / 1e6:6,.0f} MB, "
        f"disk {each.disk_bytes / 1e6:6,.0f} MB, recall@10 {each.recall_at_10 or 0:.4f}{short}, "
        f"p50 {each.p50_ms or 0:.2f} ms; {kept}; {each.durability}",
        flush=True,
    )


def flat(told: argparse.Namespace) -> None:
    """The built-in model over a tar, and over one ten times as large of the same kind of files."""
    folder = model_folder("builtin", told.work)
    for count in (told.images, 10 * told.images):
        files = make_sample(told.work / "256x256", count, SIZES["256x256"])
        path = told.work / f"{count}.tar"
        with tarfile.open(path, "w|") as tar:
            for file in files:
                tar.add(file, f"{file.parent.name}/{file.name}")
        ended = run_ingest(told.work / "data", path, folder, "auto", 8, told.limit)
        print(
            f"tar of {count:,} images, {path.stat().st_size / 1e6:,.0f} MB: "
            f"{ended.told.get('added', 0):,} added in "
            f"{ended.told.get('seconds', 0):.1f} s, peak {ended.peak_bytes / 1e6:,.0f} MB, "
            f"anonymous "
            f"{ended.peak_anonymous_bytes / 1e6:,.0f} MB {ended.problem}",
            flush=True,
        )
        path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["images", "ready", "flat"], default="images")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument(
        "--script-images", type=int, default=100, help="files that the obvious script is timed on"
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="256x256")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument(
        "--only", default=",".join(["lineup", *PEERS]), help="peers, with commas between them"
    )
    parser.add_argument(
        "--limit", type=float, default=LIMIT_SECONDS, help="seconds after which one is stopped"
    )
    parser.add_argument("--work", type=Path, default=Path("benchmark-ingest"))
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    told = parser.parse_args()
    match told.child:
        case None:
            told.work.mkdir(parents=True, exist_ok=True)
            print(
                f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
            )
            {"images": images, "ready": ready, "flat": flat}[told.what](told)
        case ["ingest", data, source, model, precision, batch]:
            ingest_child(Path(data), source, Path(model), precision, int(batch))
        case ["look", data, table, model]:
            look_child(Path(data), Path(table), Path(model))
        case ["vectors", data, listed, out, model]:
            vectors_child(Path(data), Path(listed), Path(out), Path(model))


if __name__ == "__main__":
    main()
