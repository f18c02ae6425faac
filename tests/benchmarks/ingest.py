"""Bulk ingest: images beside the bare forward and a plain script, ready embeddings beside four
peers.

    python -m tests.benchmarks.ingest images [--images 400] [--size 256x256]
        [--models builtin vit-s-384]
    python -m tests.benchmarks.ingest ready [--n 1000000] [--only lineup,lancedb,...] [--limit 1200]
    python -m tests.benchmarks.ingest flat [--images 2000]

- `images` goes from files on disk to committed, searchable entries with thumbnails, hashes and
  provenance. It is compared with the forward alone on pixels that are ready in memory (same
  batches, threads and precision), and with `ingest_script`.
- `ready` goes from one Parquet table to SQL and a searchable index. It is compared with LanceDB,
  Milvus Lite, Qdrant Edge and Chroma (`ingest_peers`).
- `flat` compares the peak memory of a tar with that of one ten times as large.

Everything runs in processes of its own. Quality is printed with speed: the distance of vectors from
the bare forward's, recall@10 compared with the exact answer, and the rows that remain after a kill.
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
    count_bytes_on_disk,
    load_peer,
    read_peak_bytes,
    report,
    watch,
    write_table,
)
from tests.benchmarks.ingest_script import (
    MODELS,
    SIZES,
    Embedding,
    get_model_folder,
    make_sample,
    measure_largest_difference,
    print_embedding,
    run_bare_forward,
    run_script,
)

MODULE = "tests.benchmarks.ingest"
CORPUS = "benchmark"
READY_MODEL = "vit-s-384"  # its embeddings have 384 dimensions, like the table's


def ingest_child(data: Path, source: str, model: Path, precision: str, batch: int) -> None:
    """Ingest a source as the command does.

    Seconds run from the start of the job until its entries are searchable.
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
        report(
            seconds=searchable,
            committed_seconds=committed,
            added=job.counts.added,
            failed=job.counts.failed,
            near=job.counts.near_duplicates,
            precision=lineup.embedder.precision,
            peak_bytes=read_peak_bytes(),
            done=True,
        )
        os.kill(os.getpid(), signal.SIGKILL)  # only what was committed may remain


def look_child(data: Path, table: Path, model: Path) -> None:
    """Open what a killed process left; count, and search the probes of the table."""
    from api.lineup import Lineup
    from api.settings import Settings
    from tests.benchmarks.search import compute_recall

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
        report(
            kept=lineup.index.count,
            recall_at_10=compute_recall(found, truth),
            p50_ms=float(np.median(seconds)) * 1e3,
            opened_seconds=opened,
            done=True,
        )


def row_of(provenance: Any) -> int:
    """Return the number of an entry's row in the table; its path ends with it."""
    path = provenance.get("source", {}).get("path") or provenance["path"]
    return int("".join(filter(str.isdigit, Path(str(path)).stem)))


def vectors_child(data: Path, listed: Path, out: Path, model: Path) -> None:
    """Save the stored vectors of files, in the order of a list, to compare them with the bare
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
    report(done=True)


def run_ingest(
    data: Path, source: Path, model: Path, precision: str, batch: int, limit: float
) -> Any:
    rmtree(data, ignore_errors=True)
    arguments = ("--child", "ingest", str(data), str(source), str(model), precision, str(batch))
    return watch(MODULE, arguments, limit, threads=None)


def measure_images(options: argparse.Namespace) -> None:
    files = make_sample(options.work / options.size, options.images, SIZES[options.size])
    mean = sum(path.stat().st_size for path in files) / len(files)
    print(f"{len(files)} JPEG files of {options.size}, {mean / 1e3:.0f} kB on average")
    for model in options.models:
        folder = get_model_folder(model, options.work)
        bare = run_bare_forward(
            model, options.work, files[: min(len(files), 128)], batch_size=8, precision="auto"
        )
        finished = run_ingest(
            options.work / "data", options.work / options.size, folder, "auto", 8, options.limit
        )
        listed, out = options.work / "looked.txt", options.work / f"lineup-{model}.npy"
        listed.write_text("\n".join(map(str, files[: bare.images])))
        watch(
            MODULE,
            ("--child", "vectors", str(options.work / "data"), str(listed), str(out), str(folder)),
            options.limit,
        )
        lineup = Embedding(
            "lineup",
            model,
            finished.reported.get("added", 0),
            finished.reported.get("precision", ""),
            8,
            out,
            finished.reported.get("seconds"),
            finished.seconds,
            finished.peak_bytes,
            finished.peak_anonymous_bytes,
            finished.problem,
        )
        script = run_script(
            model, options.work, files[: options.script_images], precision=bare.precision
        )
        for each in (bare, lineup, script):
            print_embedding(each)
        if bare.images_per_second and lineup.images_per_second:
            share = lineup.images_per_second / bare.images_per_second
            print(f"{'':10} Lineup end to end is {share:.3f} of the bare forward", end="")
            difference = measure_largest_difference(bare, lineup)
            print(f"; largest difference of their vectors {difference:.1e}", flush=True)


def measure_ready(options: argparse.Namespace) -> None:
    table = write_table(options.work / f"table-{options.n}.parquet", options.n)
    names = options.only.split(",")
    if "lineup" in names:
        print_loaded(load_lineup(table, options.work, options.n, options.limit))
    for name in [each for each in names if each != "lineup"]:
        print_loaded(load_peer(name, table, options.work, options.limit))
        rmtree(options.work / name, ignore_errors=True)


def load_lineup(table: Path, work: Path, n: int, limit: float) -> Loaded:
    model, data = get_model_folder(READY_MODEL, work), work / "lineup"
    declared = declare_space(table, model)
    finished = run_ingest(data, declared, model, "float32", 8, limit)
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
        failed=finished.problem or looked.problem,
        rows_reached=finished.reported.get("added", 0),
        durable_seconds=finished.reported.get("committed_seconds"),
        searchable_seconds=finished.reported.get("seconds"),
        process_seconds=finished.seconds,
        peak_bytes=finished.peak_bytes,
        peak_anonymous_bytes=finished.peak_anonymous_bytes,
        disk_bytes=count_bytes_on_disk(data),
        killed=Killed(n, looked.reported.get("kept", 0), 0),
        recall_at_10=looked.reported.get("recall_at_10"),
        p50_ms=looked.reported.get("p50_ms"),
    )


def declare_space(table: Path, model: Path) -> Path:
    """Copy the table with a declaration of the embedding space of its vectors."""
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
        f"rows/s), "
        f"searchable {each.searchable_seconds:7.1f} s, peak {each.peak_bytes / 1e6:6,.0f} MB, "
        f"disk {each.disk_bytes / 1e6:6,.0f} MB, recall@10 {each.recall_at_10 or 0:.4f}{short}, "
        f"p50 {each.p50_ms or 0:.2f} ms; {kept}; {each.durability}",
        flush=True,
    )


def measure_flat(options: argparse.Namespace) -> None:
    """Ingest a tar with the built-in model, and one ten times as large with files of the same
    kind.
    """
    folder = get_model_folder("builtin", options.work)
    for count in (options.images, 10 * options.images):
        files = make_sample(options.work / "256x256", count, SIZES["256x256"])
        path = options.work / f"{count}.tar"
        with tarfile.open(path, "w|") as tar:
            for file in files:
                tar.add(file, f"{file.parent.name}/{file.name}")
        finished = run_ingest(options.work / "data", path, folder, "auto", 8, options.limit)
        reported = finished.reported
        print(
            f"tar of {count:,} images, {path.stat().st_size / 1e6:,.0f} MB: "
            f"{reported.get('added', 0):,} added in {reported.get('seconds', 0):.1f} s, "
            f"peak {finished.peak_bytes / 1e6:,.0f} MB, "
            f"anonymous {finished.peak_anonymous_bytes / 1e6:,.0f} MB {finished.problem}",
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
        "--script-images", type=int, default=100, help="files that the plain script embeds"
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="256x256")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument(
        "--only", default=",".join(["lineup", *PEERS]), help="peers, separated by commas"
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=LIMIT_SECONDS,
        help="seconds after which a process is stopped",
    )
    parser.add_argument("--work", type=Path, default=Path("benchmark-ingest"))
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    match options.child:
        case None:
            options.work.mkdir(parents=True, exist_ok=True)
            print(
                f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
            )
            {"images": measure_images, "ready": measure_ready, "flat": measure_flat}[options.what](
                options
            )
        case ["ingest", data, source, model, precision, batch]:
            ingest_child(Path(data), source, Path(model), precision, int(batch))
        case ["look", data, table, model]:
            look_child(Path(data), Path(table), Path(model))
        case ["vectors", data, listed, out, model]:
            vectors_child(Path(data), Path(listed), Path(out), Path(model))


if __name__ == "__main__":
    main()
