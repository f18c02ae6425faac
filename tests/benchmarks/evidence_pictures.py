"""The pictures of `tests.benchmarks.evidence`: embedded once for each model, as they are,
delivered, and re-encoded.

The results are kept as npz files in a folder, named by embedding space and pictures, and are
written every few images. A run that was stopped continues; a run with another model starts again.
"""

from __future__ import annotations

import csv
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.errors import ImageError
from embedder.file_metadata.reading import read_file_metadata
from embedder.network.embed import Embedder
from embedder.pictures.decode import DecodedImage, decode
from embedder.pictures.delivery import (
    RE_ENCODINGS,
    Condition,
    Delivery,
    condition_of,
    deliver,
    delivery_of,
)
from embedder.pictures.perceptual import compute_perceptual_hash
from embedder.pictures.reencodings import reencode
from embedder.pictures.screenshots import is_resampled
from index.calibration.others import SamePictures
from index.calibration.population import CollectionName, Population
from index.truth.perceptual import PerceptualHash

# Larger pictures are not delivered or re-encoded: that makes dozens of copies of each, and 16
# megapixels take a minute.
MOST_PIXELS = 2_200_000
AT_ONCE = 16  # pictures between two writes
# Format and quality of the file in which each delivery arrives (`embedder.pictures.delivery`).
FILES = {
    Condition.JPEG90: ("jpeg", 90),
    Condition.JPEG75: ("jpeg", 75),
    Condition.JPEG50: ("jpeg", 50),
    Condition.WEBP80: ("webp", None),
    Condition.HALF: ("jpeg", 85),
    Condition.SCREENSHOT: ("png", None),
}
# Edits and inversions of one face are named after it: 1271_familiar_2, CFD-WM-010-001-N_age_2.
EDIT = re.compile(r"(.+?)(?:-[A-Z]{1,2})?_(?:[a-z]+)_\d+$")
EDITED = {"stylegan2-ffhq-edited", "stylegan2-inversion-of-real"}
# Grids of one artist's manner, by several models: the file is named after the artist.
GRIDS = "SupaGruen/StableDiffusion-CheatSheet"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """n pictures as they are.

    `population.sources` names pictures of the same face, `population.collections` the folder of a
    photograph and the repository of a fake, as declared sources would. `units` (n,) stay together
    in a split, near duplicates included. `collections` (n,) are folders. `conditions` (n,) are
    those that a look-up recognises. `unseen` (n,) marks pictures that the model was not trained on,
    as far as that is known.
    """

    population: Population
    synthetic: NDArray[np.bool_]
    units: NDArray[np.int64]
    collections: NDArray[np.str_]
    conditions: NDArray[np.str_]
    pixels: NDArray[np.int64]
    unseen: NDArray[np.bool_]
    paths: tuple[str, ...]
    unreadable: Counter[str]


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """Copies of pictures: rows of `Pictures` (m,), deliveries (m,), re-encodings (m,; "" as they
    arrived), conditions that a look-up recognises (m,), vectors (m, d) and logits (m,).
    """

    rows: NDArray[np.int64]
    deliveries: NDArray[np.str_]
    reencodings: NDArray[np.str_]
    conditions: NDArray[np.str_]
    vectors: NDArray[np.float32]
    logits: NDArray[np.float64]

    def of(self, delivery: str) -> Copies:
        """Return those that were delivered in one way."""
        return self.taking(np.flatnonzero(self.deliveries == delivery))

    def taking(self, places: NDArray[np.int64]) -> Copies:
        """Return some of the copies, in the order of `places`."""
        return Copies(*(getattr(self, each.name)[places] for each in fields(self)))


def read_manifest(corpus: Path, only: Path | None, unseen: Path | None) -> list[Row]:
    """Read the rows of `manifest.csv` and add the key `unseen`.

    `only` and `unseen` are files with one relpath a line.
    """
    with (corpus / "manifest.csv").open() as file:
        rows: list[Row] = list(csv.DictReader(file))
    listed = {
        path: set(path.read_text().splitlines()) for path in (only, unseen) if path is not None
    }
    rows = [row for row in rows if only is None or row["relpath"] in listed[only]]
    return [
        row | {"unseen": unseen is not None and row["relpath"] in listed[unseen]} for row in rows
    ]


def embed_pictures(
    embedder: Embedder, corpus: Path, manifest: Sequence[Row], work: Path
) -> Pictures:
    """Embed all pictures of a corpus that the model accepts."""
    kept = _StoredColumns(
        work / f"{_key(embedder, [row['relpath'] for row in manifest])}-pictures.npz"
    )

    def of(row: int) -> list[Row]:
        data = (corpus / manifest[row]["relpath"]).read_bytes()
        decoded = decode(data, embedder.limits)
        hashed = compute_perceptual_hash(decoded.image)
        pixels = embedder.preprocess(decoded)
        facts = {
            "row": row,
            "bits": np.frombuffer(hashed.bits, np.uint8),
            "quality": hashed.quality,
        }
        condition = condition_of(delivery_of(data, decoded, read_file_metadata(data))).value
        return [
            facts
            | {"condition": condition, "pixels": pixels, "size": decoded.width * decoded.height}
        ]

    found = kept.complete(range(len(manifest)), of, embedder, "pictures")
    return _describe_pictures([manifest[row] for row in found["row"]], found, kept.unreadable)


def embed_copies(
    embedder: Embedder,
    corpus: Path,
    pictures: Pictures,
    work: Path,
    rows: NDArray[np.int64],
    *,
    with_reencodings: bool,
) -> Copies:
    """Embed each picture after every delivery.

    With re-encodings, embed those of the picture and of each delivered copy.
    """
    name = "reencodings" if with_reencodings else "deliveries"
    kept = _StoredColumns(work / f"{_key(embedder, pictures.paths)}-{name}.npz")

    def of(row: int) -> list[Row]:
        decoded = decode((corpus / pictures.paths[row]).read_bytes(), embedder.limits)
        copies = list[Row]()
        for condition in Condition if with_reencodings else RE_ENCODINGS:
            try:
                copies += _make_copies(
                    embedder,
                    decoded,
                    condition,
                    pictures.conditions[row],
                    with_reencodings=with_reencodings,
                )
            except ImageError:
                continue
        return [each | {"row": row} for each in copies]

    found = kept.complete(rows, of, embedder, name)
    wanted = np.flatnonzero(np.isin(found["row"], rows))
    return Copies(
        *(
            found[each][wanted]
            for each in ("row", "delivery", "reencoding", "condition", "vector", "logit")
        )
    )


def _make_copies(
    embedder: Embedder,
    decoded: DecodedImage,
    condition: Condition,
    as_is: str,
    *,
    with_reencodings: bool,
) -> Iterator[Row]:
    image = deliver(decoded.image, condition)
    recognised = as_is if condition is Condition.AS_IS else _recognise(condition, image)
    words = {"delivery": condition.value, "condition": recognised}
    if with_reencodings:
        for reencoding in reencode(image, embedder.info.preprocessing, embedder.limits).usable:
            yield words | {"reencoding": reencoding.name, "pixels": reencoding.pixels}
    else:
        yield words | {
            "reencoding": "",
            "pixels": embedder.preprocess(replace(decoded, image=image)),
        }


def _recognise(condition: Condition, image: Image.Image) -> str:
    """Return the condition that a look-up recognises for the file of a delivered copy."""
    container, quality = FILES[condition]
    resampled = container == "png" and is_resampled(image)
    return condition_of(Delivery(container, *image.size, quality, is_resampled=resampled)).value


def choose_for_copies(pictures: Pictures, count: int, seed: int) -> NDArray[np.int64]:
    """Choose at most `count` pictures of each kind.

    The random order begins the same for every count.
    """
    found = []
    for kind in (False, True):
        rows = np.flatnonzero((pictures.synthetic == kind) & (pictures.pixels <= MOST_PIXELS))
        found.append(np.random.default_rng(seed).permutation(rows)[:count])
    return np.concatenate(found)


class _StoredColumns:
    """A npz file of columns that grows a few pictures at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._columns: dict[str, list[Any]] = {}
        self._done: set[int] = set()
        self.unreadable: Counter[str] = Counter()
        if path.is_file():
            with np.load(path) as stored:
                self._done = set(stored["done"].tolist())
                self.unreadable.update(stored["unreadable"].tolist())
                self._columns = {
                    name: list(stored[name])
                    for name in stored.files
                    if name not in ("done", "unreadable")
                }

    def complete(
        self, rows: Iterable[int], of: Callable[[int], list[Row]], embedder: Embedder, name: str
    ) -> dict[str, NDArray[Any]]:
        """Compute what is missing, and return everything."""
        missing = [int(row) for row in rows if int(row) not in self._done]
        for start in range(0, len(missing), AT_ONCE):
            some = missing[start : start + AT_ONCE]
            self._add([each for row in some for each in self._compute(row, of)], embedder)
            self._done.update(some)
            self._write()
            print(f"{name}: {start + len(some)} of {len(missing)}", file=sys.stderr, flush=True)
        return {column: np.array(values) for column, values in self._columns.items()}

    def _compute(self, row: int, of: Callable[[int], list[Row]]) -> list[Row]:
        try:
            return of(row)
        except ImageError as err:
            self.unreadable[err.reason] += 1
            return []

    def _add(self, computed: list[Row], embedder: Embedder) -> None:
        if not computed:
            return
        pixels = np.stack([each.pop("pixels") for each in computed])  # (b, h, w, 3)
        embedded = embedder.embed_pixels(pixels)
        for each, vector, logit in zip(computed, embedded.vectors, embedded.logits, strict=True):
            for column, value in (each | {"vector": vector, "logit": float(logit)}).items():
                self._columns.setdefault(column, []).append(value)

    def _write(self) -> None:
        partial = self._path.with_suffix(".partial.npz")
        columns = {name: np.array(values) for name, values in self._columns.items()}
        np.savez(
            partial,
            done=sorted(self._done),
            unreadable=np.array(list(self.unreadable.elements()), str),
            **columns,
        )
        partial.replace(self._path)


def _key(embedder: Embedder, names: Sequence[str]) -> str:
    pictures = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return f"{embedder.info.space_fingerprint[:12]}-{embedder.precision}-{pictures[:8]}"


def _describe_pictures(
    manifest: Sequence[Row], found: dict[str, NDArray[Any]], unreadable: Counter[str]
) -> Pictures:
    synthetic = np.array([row["label"] == "synthetic" for row in manifest], np.bool_)
    sources = _number([_source(row) for row in manifest])
    population = Population(
        image_ids=_number([row["sha256"] for row in manifest]),
        sources=sources,
        vectors=found["vector"].astype(np.float32),
        logits=found["logit"].astype(np.float64),
        generators=tuple(row["generator"] or None for row in manifest),
        hashes=tuple(
            PerceptualHash(bits.tobytes(), int(quality))
            for bits, quality in zip(found["bits"], found["quality"], strict=True)
        ),
        collections=tuple(
            CollectionName("fakes", row["source"])
            if row["label"] == "synthetic"
            else CollectionName("photographs", _folder(row))
            for row in manifest
        ),
    )
    return Pictures(
        population=population,
        synthetic=synthetic,
        units=_find_units(population, _number([_together(row) for row in manifest])),
        collections=np.array([_folder(row) for row in manifest], np.str_),
        conditions=found["condition"],
        pixels=found["size"],
        unseen=np.array([row["unseen"] for row in manifest], np.bool_),
        paths=tuple(row["relpath"] for row in manifest),
        unreadable=unreadable,
    )


def _folder(row: Row) -> str:
    return str(row["relpath"].split("/")[1])


def _source(row: Row) -> str:
    """Name what was made of the same face, or one picture alone."""
    stem = Path(row["source_path"]).stem
    edited = EDIT.match(stem) if row["generator"] in EDITED else None
    return f"{row['source']} {edited.group(1)}" if edited else row["relpath"]


def _together(row: Row) -> str:
    artist = Path(row["source_path"]).stem.lower()
    return f"{GRIDS} {artist}" if row["source"] == GRIDS else str(row["relpath"])


def _find_units(population: Population, together: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for each picture (n,).

    It is the same for one source, for near duplicates, and for what belongs together.
    """
    unit = np.arange(len(population))
    same = SamePictures(population)
    for row in range(len(population)):
        places = same.excluded(population, slice(row, row + 1)).columns
        joined = np.unique(
            unit[np.concatenate([places, np.flatnonzero(together == together[row])])]
        )
        unit[np.isin(unit, joined)] = joined[0]
    return _number(unit.tolist())


def _number(names: Sequence[Any]) -> NDArray[np.int64]:
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64).reshape(-1)
