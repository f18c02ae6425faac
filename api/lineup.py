"""`Lineup`: the opened product. The embedder, the truth, its index and the thumbnails, put together
from the settings.

Both skins (HTTP and terminal) open one and hand it to the same functions:
`api.lookups.lookup.look_up_image`, `api.worker.running.work_on`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from api.batcher import Batcher
from api.errors import InvalidVerbalScale
from api.settings import Settings
from embedder.network.registry import ModelInfo, find_version
from embedder.pictures.decode import ImageLimits
from index.blobs import ORIGINAL_SUFFIX, BlobStore
from index.cache.config import IndexConfig
from index.cache.live import LiveIndex
from index.calibration.standing import Calibrations
from index.calibration.verbal import ENFSI_2015, VerbalScale
from index.errors import DatabaseUnavailable, SchemaOutdated
from index.truth.active import find_active_model
from index.truth.corpora import Keep
from index.truth.database import Database
from index.truth.spaces import Space, list_spaces
from index.verdict import ClassifierPolicy, Threshold

if TYPE_CHECKING:
    from embedder.network.embed import Embedder


def space_of(info: ModelInfo) -> Space:
    """The embedding space of a loaded model, in the words of `index`."""
    return Space(
        fingerprint=info.space_fingerprint,
        model=info.name,
        weights_sha256=info.weights_sha256,
        preprocessing_fingerprint=info.preprocessing.fingerprint,
        dimension=info.dimension,
    )


def image_limits(settings: Settings) -> ImageLimits:
    """The limits on images, in the words of `embedder`."""
    return ImageLimits(
        max_image_bytes=settings.max_image_bytes,
        max_image_pixels=settings.max_image_pixels,
        min_image_side=settings.min_image_side,
    )


def index_config(settings: Settings) -> IndexConfig:
    """The trade-offs of the index, in the words of `index`."""
    return IndexConfig(
        flat_limit=settings.index_flat_limit, recall_target=settings.index_recall_target
    )


def read_verbal_scale(path: Path | None) -> VerbalScale:
    """The verbal scale of likelihood ratios in a file; that of ENFSI without one.

    Raises `InvalidVerbalScale`.
    """
    if path is None:
        return ENFSI_2015
    try:
        return VerbalScale.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise InvalidVerbalScale(path, str(err)) from err


def load_embedder(settings: Settings) -> Embedder:
    """The model that the settings name. Raises `ModelError` and its like."""
    from embedder.network.embed import Embedder  # noqa: PLC0415 -- torch takes three seconds to load; most commands need no model

    return Embedder.load(
        settings.model,
        device=settings.device,
        precision=settings.precision,
        limits=image_limits(settings),
        batch_size=settings.batch_size,
        cache_dir=settings.model_cache_dir,
        offline=settings.offline,
    )


def with_active_model(settings: Settings, database: Database) -> tuple[Settings, Space | None]:
    """The settings with the model that is active in the database, and the space that it must make.

    A model that the operator names wins, and may make any space. Of a model that has had several
    weights under one name, the database goes on with those that it has used.
    """
    with database.read() as conn:
        active, spaces = find_active_model(conn), list_spaces(conn)
    if active is not None and "model" not in settings.model_fields_set:
        return of_space(
            settings.model_copy(update={"model": active.model}), active.space
        ), active.space
    used = [*([active.space] if active else []), *spaces]
    known = (find_version(settings.model, space.weights_sha256) for space in used)
    version = next((version for version in known if version is not None), settings.model)
    return (
        settings if version == settings.model else settings.model_copy(update={"model": version})
    ), None


def of_space(settings: Settings, space: Space) -> Settings:
    """The settings with the weights that made this space, should their model's name have gone to
    others since.
    """
    model = find_version(settings.model, space.weights_sha256) or settings.model
    return settings.model_copy(update={"model": model})


def settings_in_force(settings: Settings) -> Settings:
    """The settings with the active model, also where there is no database yet."""
    try:
        with opened_database(settings) as database:
            return with_active_model(settings, database)[0]
    except SchemaOutdated:
        return settings


def thumbnails_of(settings: Settings) -> BlobStore:
    """The thumbnails beside the database."""
    return BlobStore(settings.thumbnail_dir)


def originals_of(settings: Settings) -> BlobStore:
    """The originals beside the database, of corpora that keep them."""
    return BlobStore(settings.original_dir, ORIGINAL_SUFFIX)


BlobStores = tuple[tuple[BlobStore, tuple[Keep, ...]], ...]


def blob_stores(settings: Settings) -> BlobStores:
    """Each store, with the kinds of corpora that put something there."""
    return (
        (thumbnails_of(settings), tuple(keep for keep in Keep if keep.thumbnails)),
        (originals_of(settings), tuple(keep for keep in Keep if keep.originals)),
    )


@contextmanager
def opened_database(settings: Settings, *, migrate: bool = False) -> Iterator[Database]:
    """The truth alone, for what needs no model. Raises `DatabaseUnavailable`."""
    if migrate:
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise DatabaseUnavailable(
                f"{settings.data_dir} cannot be made: {err.strerror}"
            ) from err
    database = Database.open(settings.url, migrate=migrate)
    try:
        yield database
    finally:
        database.close()


class Lineup:
    """Everything that a lookup or an ingest needs, open.

    Thread-safe; close it, or use it as a context manager.
    """

    def __init__(
        self, settings: Settings, database: Database, embedder: Embedder, *, background: bool
    ) -> None:
        self.settings = settings
        self.database = database
        self.embedder = embedder
        self.space = space_of(embedder.info)
        self.thumbnails = thumbnails_of(settings)
        self.originals = originals_of(settings)
        self.index = LiveIndex.open(
            database,
            self.space,
            settings.index_dir,
            config=index_config(settings),
            background=background,
        )
        self.batcher = Batcher(embedder, settings.queue_size)
        self.calibrations = Calibrations(self.space)
        self.verbal_scale = read_verbal_scale(settings.verbal_scale)

    @classmethod
    @contextmanager
    def opened(
        cls,
        settings: Settings,
        *,
        migrate: bool = False,
        background: bool = False,
        as_named: bool = False,
    ) -> Iterator[Lineup]:
        """Open all parts; `migrate` creates or upgrades the database first.

        `as_named`: the model that the settings name, whatever the database has used; a re-embedding
        needs it. `background` is for a server: its index follows the change log and trains codes
        beside the lookups.
        """
        with opened_database(settings, migrate=migrate) as database:
            chosen, expected = (
                (settings, None) if as_named else with_active_model(settings, database)
            )
            embedder = load_embedder(chosen)
            if expected is not None:
                expected.require(space_of(embedder.info).fingerprint)
            lineup = cls(chosen, database, embedder, background=background)
            try:
                yield lineup
            finally:
                lineup.close()

    def close(self) -> None:
        """Stop the batcher and release the index; the database is closed by whoever opened it."""
        self.batcher.close()
        self.index.close()

    @property
    def blob_stores(self) -> BlobStores:
        """Each store, with the kinds of corpora that put something there."""
        return blob_stores(self.settings)

    @property
    def classifier_policy(self) -> ClassifierPolicy | None:
        """The limits of the logit and their source, where they were measured for this model."""
        info = self.embedder.info
        if (
            info.synthetic_logit is None
            or info.authentic_logit is None
            or info.logit_source is None
        ):
            return None
        return ClassifierPolicy(info.synthetic_logit, info.authentic_logit, info.logit_source)

    @property
    def threshold(self) -> Threshold | None:
        """The similarity threshold and its source: the operator's setting, else what was measured
        on the model.
        """
        if self.settings.similarity_threshold is not None:
            return Threshold(
                self.settings.similarity_threshold,
                "the operator's setting LINEUP_SIMILARITY_THRESHOLD",
            )
        info = self.embedder.info
        if info.similarity_threshold is None or info.threshold_source is None:
            return None
        return Threshold(info.similarity_threshold, info.threshold_source)
