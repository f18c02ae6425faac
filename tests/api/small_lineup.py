"""An opened Lineup with a real database and a real index, and a model of a few lines.

The model averages the twelve tiles of a picture. So its embeddings are near where pictures look
alike, and no weights are loaded.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from api.images import describe_image
from api.lineup import Lineup, make_database_options
from api.model import Model
from api.settings import Settings
from embedder.decoding.picture import PictureOrder
from embedder.decoding.threads import ThreadDecoders
from embedder.network.panel import PanelCheck
from embedder.network.references import ReferenceVectors
from embedder.network.registry import ModelInfo
from embedder.network.results import Embeddings
from embedder.pictures.limits import ImageLimits
from embedder.pictures.preprocess import Preprocessing, normalise, preprocess
from index.calibration.calibration import AS_IS, Calibration
from index.calibration.copies import CopyRates
from index.truth.adding import NewEntry, add_entries
from index.truth.calibrations import CalibrationScope, save_calibration
from index.truth.changes import last_number
from index.truth.corpora import CorpusKind, ensure_corpus, find_corpus_ids
from index.truth.databases.database import Database
from index.truth.provenance import Provenance
from tests.index.assessing import stratum

FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL
SIDE = 32
INFO = ModelInfo(
    name="tiles",
    revision=None,
    licence="MIT",
    weights_sha256="a" * 64,
    preprocessing=Preprocessing(None, None, crop_size=SIDE),
    dimension=12,
    parameter_count=0,
    image_size=SIDE,
    similarity_threshold=0.9,
    threshold_source="the model's",
    synthetic_logit=1.0,
    no_traces_logit=-1.0,
    logit_source="the model's limits",
)


class TilesModel:
    """Stands in for `embedder.network.embed.Embedder`."""

    def __init__(self, info: ModelInfo = INFO) -> None:
        self.info = info
        self.limits = ImageLimits()
        self.batch_size = 16
        self.device = "cpu"
        self.precision = "float32"
        self.precision_check: PanelCheck | None = None
        self.lookup_batch_size = 1
        self.decoders = ThreadDecoders(1)
        self.embedded = 0
        self.references: ReferenceVectors | None = None

    @property
    def picture_order(self) -> PictureOrder:
        return PictureOrder(self.limits, self.info.preprocessing)

    def preprocess(self, decoded: Any) -> np.ndarray:
        return preprocess(decoded.image, self.info.preprocessing)

    def spare_cores(self) -> None:
        """It is computed without torch."""

    def embed_each(self, pixels: np.ndarray) -> Embeddings:
        return self.embed_pixels(pixels)

    def embed_pixels(self, pixels: np.ndarray) -> Embeddings:
        self.embedded += len(pixels)
        values = normalise(pixels, self.info.preprocessing)  # (n, 3, h, w)
        half = SIDE // 2
        tiles = values.reshape(-1, 3, 2, half, 2, half).mean(axis=(3, 5)).reshape(-1, 12)  # (n, 12)
        centred = tiles - 0.5 + 1e-3
        vectors = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        logits = 10 * (values.mean(axis=(1, 2, 3)) - 0.5)
        return Embeddings(vectors.astype(np.float32), logits.astype(np.float32))


def picture(seed: int, side: int = 96) -> Image.Image:
    """Smooth blots, rich enough for a perceptual hash; no two seeds look alike."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@contextmanager
def open_small(folder: Path, model: TilesModel | None = None, **settings: Any) -> Iterator[Lineup]:
    """Open a Lineup in a folder. Without background work: changes are searched at once."""
    chosen = Settings(data_dir=folder, offline=True, server_works=False, **settings)
    folder.mkdir(parents=True, exist_ok=True)
    options = make_database_options(chosen)
    database = Database.open(chosen.url, migrate=not chosen.read_only, options=options)
    lineup = Lineup(chosen, database, Model.of(model or TilesModel()), background=False)  # type: ignore[arg-type]
    try:
        yield lineup
    finally:
        lineup.close()
        database.close()


def add(
    lineup: Lineup, corpus: str, kind: CorpusKind, data: bytes, generator: str | None = None
) -> int:
    """Add an image to a corpus; its entry's id."""
    made = lineup.make_picture(data, replace(lineup.picture_order, perceptual_hash=True))
    vector, logit = lineup.embed_picture(made)
    facts = describe_image(hashlib.sha256(data).hexdigest(), data, made)
    with lineup.database.write() as conn:
        ensure_corpus(conn, corpus, kind)
        provenance = Provenance(generator=generator)
        new = NewEntry(facts, vector, logit, provenance, lineup.computation)
        (result,) = add_entries(conn, corpus, lineup.space, [new])
    return result.entry_id


def fill(lineup: Lineup) -> None:
    """Eight known fakes by two generators, and four known-real images."""
    for seed in range(8):
        generator = "flux" if seed % 2 else "sdxl"
        add(lineup, "fakes", FAKE, encoded(picture(seed)), generator)
    for seed in range(100, 104):
        add(lineup, "photographs", REAL, encoded(picture(seed)))


def calibrate(
    lineup: Lineup,
    *corpora: str,
    job_id: int | None = None,
    own_photographs: int | None = None,
    copies: CopyRates | None = None,
    **parts: Any,
) -> int:
    """Store a calibration of corpora (by default of `fakes`) whose figures can be worked out by
    hand.
    """
    against = corpora or ("fakes",)
    strata = {AS_IS: stratum(**parts)}
    calibration = Calibration(8, {}, strata, seed=0, own_photographs=own_photographs, copies=copies)
    with lineup.database.write() as conn:
        scope = CalibrationScope(
            asked={},
            against=against,
            against_ids=find_corpus_ids(conn, frozenset(against)),
            reference=("photographs",),
            job_id=job_id,
            is_provisional=calibration.is_provisional,
        )
        document = calibration.to_json()
        return save_calibration(conn, lineup.space, last_number(conn), scope, document)
