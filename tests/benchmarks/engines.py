"""Search engines: Lineup and its peers behind one interface, each with its makers' recommended
settings.

An engine builds into a folder from rows (n, d) float32 of L2 norm 1, is opened again from that
folder, and answers with row numbers. `reaches` are the rising values of the parameter that trades
recall for time; the first that has the recall is measured. `sweep` are all values that are points
of its curve.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

THREADS = 2
Rows = NDArray[np.float32]
Ids = NDArray[np.int64]


class Engine(Protocol):
    settings: str
    reaches: Sequence[Any]

    @property
    def sweep(self) -> Sequence[Any]: ...
    def build(self, rows: Rows, folder: Path) -> None: ...
    def open(self, folder: Path) -> None: ...
    def search(self, probe: Rows, k: int, reach: Any) -> Ids: ...
    def batch(self, probes: Rows, k: int, reach: Any) -> Ids: ...


def blocks(rows: Rows, size: int = 65_536) -> Any:
    return (np.ascontiguousarray(rows[start : start + size]) for start in range(0, len(rows), size))


class Peer:
    """An engine whose reach a person chooses."""

    reaches: Sequence[Any]

    @property
    def sweep(self) -> Sequence[Any]:
        return self.reaches


class FaissFlat(Peer):
    settings = "IndexFlatIP"
    reaches: Sequence[Any] = (None,)

    def _new(self, dimension: int) -> Any:
        import faiss

        return faiss.IndexFlatIP(dimension)

    def build(self, rows: Rows, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(THREADS)
        index = self._new(rows.shape[1])
        for block in blocks(rows):
            index.add(block)
        faiss.write_index(index, str(folder / "index.faiss"))

    def open(self, folder: Path) -> None:
        import faiss

        self.index = faiss.read_index(str(folder / "index.faiss"))

    def search(self, probe: Rows, k: int, reach: Any) -> Ids:
        import faiss

        faiss.omp_set_num_threads(1)
        return self._found(probe[np.newaxis], k, reach)[0]

    def batch(self, probes: Rows, k: int, reach: Any) -> Ids:
        import faiss

        faiss.omp_set_num_threads(THREADS)
        return self._found(probes, k, reach)

    def _found(self, probes: Rows, k: int, reach: Any) -> Ids:
        return self.index.search(probes, k)[1]


class FaissHnsw(FaissFlat):
    settings = "IndexHNSWFlat M=32 efConstruction=40 (its defaults)"
    reaches = (16, 24, 32, 48, 64, 96, 128, 256, 512)
    ef_construction = 40

    def _new(self, dimension: int) -> Any:
        import faiss

        index = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = self.ef_construction
        return index

    def _found(self, probes: Rows, k: int, reach: Any) -> Ids:
        self.index.hnsw.efSearch = reach
        return self.index.search(probes, k)[1]


class FaissHnswFiner(FaissHnsw):
    settings = "IndexHNSWFlat M=32 efConstruction=200"
    ef_construction = 200


class Hnswlib(Peer):
    settings = "M=16 ef_construction=200 (its README)"
    reaches = (10, 16, 24, 32, 48, 64, 96, 128, 256, 512)

    def build(self, rows: Rows, folder: Path) -> None:
        import hnswlib

        index = hnswlib.Index(space="ip", dim=rows.shape[1])
        index.init_index(max_elements=len(rows), M=16, ef_construction=200)
        index.set_num_threads(THREADS)
        done = 0
        for block in blocks(rows):
            index.add_items(block, np.arange(done, done + len(block)))
            done += len(block)
        index.save_index(str(folder / "index.bin"))
        (folder / "dimension").write_text(str(rows.shape[1]))

    def open(self, folder: Path) -> None:
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=int((folder / "dimension").read_text()))
        self.index.load_index(str(folder / "index.bin"))

    def search(self, probe: Rows, k: int, reach: Any) -> Ids:
        self.index.set_ef(reach)
        return self.index.knn_query(probe, k, num_threads=1)[0][0].astype(np.int64)

    def batch(self, probes: Rows, k: int, reach: Any) -> Ids:
        self.index.set_ef(reach)
        return self.index.knn_query(probes, k, num_threads=THREADS)[0].astype(np.int64)


class Usearch(Peer):
    settings = "connectivity 16, expansion_add 128, f16 (its defaults but for the type)"
    reaches = (10, 16, 24, 32, 48, 64, 96, 128, 256, 512)

    def build(self, rows: Rows, folder: Path) -> None:
        from usearch.index import Index

        index = Index(ndim=rows.shape[1], metric="ip", dtype="f16")
        done = 0
        for block in blocks(rows):
            index.add(np.arange(done, done + len(block)), block, threads=THREADS)
            done += len(block)
        index.save(str(folder / "index.usearch"))

    def open(self, folder: Path) -> None:
        from usearch.index import Index

        self.index = Index.restore(str(folder / "index.usearch"), view=False)

    def search(self, probe: Rows, k: int, reach: Any) -> Ids:
        self.index.expansion_search = reach
        return self.index.search(probe, k, threads=1).keys.astype(np.int64)

    def batch(self, probes: Rows, k: int, reach: Any) -> Ids:
        self.index.expansion_search = reach
        return self.index.search(probes, k, threads=THREADS).keys.astype(np.int64)


class Svs(Peer):
    """LVQ runs only on Intel processors (its documentation); other processors use float16."""

    settings = "Vamana degree 64, window 128, LVQ4x8 or else float16"
    reaches = (10, 16, 24, 32, 48, 64, 96, 128, 256, 512)

    def build(self, rows: Rows, folder: Path) -> None:
        import svs

        parameters = svs.VamanaBuildParameters(graph_max_degree=64, window_size=128, alpha=0.95)
        whole = np.array(rows)
        svs.write_vecs(whole, str(folder / "rows.fvecs"))
        loader = svs.VectorDataLoader(
            str(folder / "rows.fvecs"), svs.DataType.float32, dims=rows.shape[1]
        )
        if _intel():
            data: Any = svs.LVQLoader(loader, primary=4, residual=8)
            kind = "LVQ4x8"
        else:  # on other processors LVQ ends the process
            data = whole.astype(np.float16)
            kind = "float16"
        index = svs.Vamana.build(parameters, data, svs.DistanceType.MIP, num_threads=THREADS)
        index.save(*(str(folder / part) for part in ("config", "graph", "data")))
        (folder / "rows.fvecs").unlink()
        (folder / "kind").write_text(f"{kind} {rows.shape[1]}")

    def open(self, folder: Path) -> None:
        import svs

        kind, dimension = (folder / "kind").read_text().split()
        data: Any
        if kind == "float16":
            data = svs.VectorDataLoader(
                str(folder / "data"), svs.DataType.float16, dims=int(dimension)
            )
        else:
            data = svs.LVQLoader(str(folder / "data"))
        self.settings = f"Vamana degree 64, window 128, {kind}"
        self.index = svs.Vamana(
            str(folder / "config"),
            svs.GraphLoader(str(folder / "graph")),
            data,
            svs.DistanceType.MIP,
            num_threads=1,
        )
        self.half = kind == "float16"

    def search(self, probe: Rows, k: int, reach: Any) -> Ids:
        self.index.num_threads = 1
        self.index.search_window_size = reach
        return self.index.search(probe[np.newaxis], k)[0][0].astype(np.int64)

    def batch(self, probes: Rows, k: int, reach: Any) -> Ids:
        self.index.num_threads = THREADS
        self.index.search_window_size = reach
        return self.index.search(probes, k)[0].astype(np.int64)


def _intel() -> bool:
    return "GenuineIntel" in Path("/proc/cpuinfo").read_text()


class _OneByOne:
    """A batch as single searches, in as many threads as the other engines use."""

    def search(self, probe: Rows, k: int, reach: Any) -> Ids:
        raise NotImplementedError

    def batch(self, probes: Rows, k: int, reach: Any) -> Ids:
        found = np.full((len(probes), k), -1, np.int64)

        def some(first: int) -> None:
            for i in range(first, len(probes), THREADS):
                ids = self.search(probes[i], k, reach)
                found[i, : len(ids)] = ids

        threads = [threading.Thread(target=some, args=(first,)) for first in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found


class Lance(_OneByOne, Peer):
    settings = "IVF_PQ, sqrt(n) partitions, 96 sub-vectors; nprobes and refine_factor"
    reaches = ((10, 10), (20, 10), (20, 30), (40, 30), (80, 30), (160, 50), (320, 100))

    def build(self, rows: Rows, folder: Path) -> None:
        import lancedb
        import pyarrow as pa

        dimension = rows.shape[1]
        schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), dimension))])

        def batches() -> Any:
            done = 0
            for block in blocks(rows):
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), dimension)
                yield pa.record_batch(
                    [pa.array(np.arange(done, done + len(block))), vectors], schema=schema
                )
                done += len(block)

        table = lancedb.connect(folder).create_table("rows", data=batches(), schema=schema)
        table.create_index(
            metric="dot",
            index_type="IVF_PQ",
            num_partitions=max(1, int(len(rows) ** 0.5)),
            num_sub_vectors=dimension // 4,
        )

    def open(self, folder: Path) -> None:
        import lancedb

        self.table = lancedb.connect(folder).open_table("rows")

    def search(self, probe: Rows, k: int, reach: Any) -> Ids:
        query = (
            self.table.search(probe)
            .distance_type("dot")
            .limit(k)
            .nprobes(reach[0])
            .refine_factor(reach[1])
        )
        return query.select(["id"]).to_arrow()["id"].to_numpy()


class Milvus(_OneByOne, Peer):
    settings = "Milvus Lite, IVF_FLAT nlist=1024"
    reaches = (8, 16, 32, 64, 128, 256, 512, 1024)

    def build(self, rows: Rows, folder: Path) -> None:
        from pymilvus import MilvusClient

        client = MilvusClient(str(folder / "rows.db"))
        client.create_collection("rows", dimension=rows.shape[1], metric_type="IP", auto_id=False)
        done = 0
        for block in blocks(rows, 4096):
            client.insert("rows", [{"id": done + i, "vector": row} for i, row in enumerate(block)])
            done += len(block)
        client.release_collection("rows")
        client.drop_index("rows", "vector")
        parameters = client.prepare_index_params()
        parameters.add_index(
            "vector", index_type="IVF_FLAT", metric_type="IP", params={"nlist": 1024}
        )
        client.create_index("rows", parameters)
        client.close()

    def open(self, folder: Path) -> None:
        from pymilvus import MilvusClient

        self.client = MilvusClient(str(folder / "rows.db"))
        self.client.load_collection("rows")

    def search(self, probe: Rows, k: int, reach: Any) -> Ids:
        found = self.client.search(
            "rows", [probe.tolist()], limit=k, search_params={"params": {"nprobe": reach}}
        )
        return np.array([hit["id"] for hit in found[0]], np.int64)


class Qdrant(_OneByOne, Peer):
    settings = "Qdrant Edge, HNSW m=16 ef_construct=100 (its defaults), optimised"
    reaches = (16, 32, 64, 128, 256, 512)

    def build(self, rows: Rows, folder: Path) -> None:
        import qdrant_edge as q

        config = q.EdgeConfig(
            vectors=q.EdgeVectorParams(size=rows.shape[1], distance=q.Distance.Dot)
        )
        shard = q.EdgeShard.create(str(folder), config)
        done = 0
        for block in blocks(rows, 4096):
            points = [q.Point(done + i, row.tolist(), {}) for i, row in enumerate(block)]
            shard.update(q.UpdateOperation.upsert_points(points))
            done += len(block)
        shard.optimize()
        shard.flush()
        shard.close()

    def open(self, folder: Path) -> None:
        import qdrant_edge as q

        self.shard = q.EdgeShard.load(str(folder))

    def search(self, probe: Rows, k: int, reach: Any) -> Ids:
        import qdrant_edge as q

        request = q.SearchRequest(
            query=q.Query.Nearest(probe.tolist()), limit=k, params=q.SearchParams(hnsw_ef=reach)
        )
        return np.array([point.id for point in self.shard.search(request)], np.int64)


class LineupIndex:
    """The index alone: candidates and exact re-ranking, no SQL.

    It is built from vectors in SQL, to a saved snapshot. Its own reach is None; others are numbers
    of lists and candidates.
    """

    settings = "its own choice of plan and reach"
    reaches: Sequence[Any] = (None,)

    @property
    def sweep(self) -> Sequence[Any]:
        tuned = self.live.current.view.sealed.tuned
        if tuned is None:
            return self.reaches
        lists = [2**i for i in range(12) if 2**i <= tuned.codes.nlist]
        return list(itertools.product(lists, (32, 64, 128, 256, 512, 1024)))

    def build(self, rows: Rows, folder: Path) -> None:
        self.open(folder)
        if self.live.current.manifest is None:  # an index of few vectors is only in memory
            self.live.snapshot()
        self.live.settle()
        self.live.close()

    def open(self, folder: Path) -> None:
        from index.cache.live import LiveIndex
        from index.truth.databases.database import Database
        from tests.benchmarks.filling import make_space

        dimension = int((folder.parent / "dimension").read_text())
        database = Database.open(f"sqlite:///{folder.parent / 'lineup.db'}", migrate=True)
        self.live = LiveIndex.open(database, make_space(dimension), folder.parent / "lineup-index")
        self._own = self.live.current.view.sealed.tuned

    def search(self, probe: Rows, k: int, reach: Any) -> Ids:
        self._set(reach)
        return self.live.nearest(probe, k)[0] - 1

    def batch(self, probes: Rows, k: int, reach: Any) -> Ids:
        self._set(reach)
        return self.live.nearest_many(probes, k)[0] - 1

    def _set(self, reach: Any) -> None:
        """Use another reach than the index's own."""
        if self._own is None:
            return
        tuning = self._own.tuning
        if reach is not None:
            tuning = replace(tuning, nprobe=reach[0], candidates=reach[1])
        sealed = self.live.current.view.sealed
        if sealed.tuned is None or sealed.tuned.tuning is not tuning:
            sealed.tuned = replace(self._own, tuning=tuning)


class LineupSearch(LineupIndex):
    """The whole path: changes from SQL, candidates, re-ranking, the neighbours' rows from SQL."""

    settings = "with the catch-up check and 10 rows of SQL"

    @property
    def sweep(self) -> Sequence[Any]:
        return self.reaches

    def build(self, rows: Rows, folder: Path) -> None:
        pass  # the same index as above

    def search(self, probe: Rows, k: int, reach: Any) -> Ids:
        return _entry_ids(self.live.search(probe, k)) - 1

    def batch(self, probes: Rows, k: int, reach: Any) -> Ids:
        from index.cache.searching.questions import Question
        from index.truth.filters import EVERYTHING

        questions = [Question(probe, k, EVERYTHING) for probe in probes]
        return np.array([_entry_ids(each) for each in self.live.search_all(questions)]) - 1


def _entry_ids(result: Any) -> Ids:
    return np.array([neighbour.entry.id for neighbour in result.neighbours], np.int64)


ENGINES: dict[str, type[Engine]] = {
    "lineup-index": LineupIndex,
    "lineup-search": LineupSearch,
    "faiss-flat": FaissFlat,
    "faiss-hnsw32": FaissHnsw,
    "faiss-hnsw32-200": FaissHnswFiner,
    "hnswlib": Hnswlib,
    "usearch": Usearch,
    "svs-vamana": Svs,
    "lancedb": Lance,
    "milvus-lite": Milvus,
    "qdrant-edge": Qdrant,
}
