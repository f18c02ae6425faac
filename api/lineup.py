"""`Lineup`: the embedder, the database, its index and the stored images, opened from the settings.

HTTP and the terminal open one `Lineup` and pass it to the same functions, such as
`api.lookups.lookup.look_up_image` and `api.worker.running.work_on`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from api.batcher import Batcher
from api.copies.spaces import Copies
from api.copies.stored_features import StoredFeatures
from api.decoding import make_picture_now, open_decoders
from api.errors import EarlierWeights, InvalidVerbalScale
from api.images import BlobStores
from api.model import Model, load_embedder, locate_files
from api.settings import Settings
from api.storing import LookupStore
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.network.download import describe_model
from embedder.network.registry import BUILTIN, EARLIER_BUILTIN_WEIGHTS, ModelInfo
from embedder.pictures.limits import ImageLimits
from index.blobs import FEATURES_SUFFIX, ORIGINAL_SUFFIX, BlobStore
from index.cache.live import LiveIndex
from index.cache.plans.config import IndexConfig
from index.calibration.standing import Calibrations
from index.calibration.verbal import ENFSI_2015, VerbalScale
from index.errors import DatabaseUnavailable, NoData, SchemaOutdated
from index.truth.active import ActiveModel, find_active_model
from index.truth.computations import Computation
from index.truth.databases.database import Database
from index.truth.databases.options import DatabaseOptions
from index.truth.remembered import Remembered
from index.truth.spaces import Space, SpaceKind, list_spaces
from index.verdict import ClassifierPolicy, Threshold

if TYPE_CHECKING:
    from embedder.network.embed import Embedder


def make_space(info: ModelInfo) -> Space:
    """Describe the embedding space of a loaded model as a row of `index`."""
    return Space(
        fingerprint=info.space_fingerprint,
        model=info.name,
        weights_sha256=info.weights_sha256,
        preprocessing_fingerprint=info.preprocessing.fingerprint,
        dimension=info.dimension,
    )


def make_index_config(settings: Settings) -> IndexConfig:
    """Return the trade-offs of the index, as `index` takes them."""
    return IndexConfig(
        flat_limit=settings.index_flat_limit, recall_target=settings.index_recall_target
    )


def make_database_options(settings: Settings) -> DatabaseOptions:
    """Return how the database is used, as `index` takes it."""
    return DatabaseOptions(
        read_only=settings.read_only,
        pool_size=settings.database_pool_size,
        pool_overflow=settings.database_pool_overflow,
        pool_timeout_seconds=settings.database_pool_timeout_seconds,
        connect_timeout_seconds=settings.database_connect_timeout_seconds,
        lock_timeout_seconds=settings.database_lock_timeout_seconds,
        statement_timeout_seconds=settings.database_statement_timeout_seconds,
        prepared_statements=settings.database_prepared_statements,
        application=settings.database_application_name,
    )


def read_verbal_scale(path: Path | None) -> VerbalScale:
    """Read the verbal scale of likelihood ratios from a file; without a file it is ENFSI's of 2015.

    Raises `InvalidVerbalScale`.
    """
    if path is None:
        return ENFSI_2015
    try:
        return VerbalScale.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise InvalidVerbalScale(path, str(err)) from err


def read_classifier_policy(info: ModelInfo) -> ClassifierPolicy | None:
    """Return a model's own limits of the logit and their source; None where it has none."""
    if info.synthetic_logit is None or info.no_traces_logit is None or info.logit_source is None:
        return None
    return ClassifierPolicy(info.synthetic_logit, info.no_traces_logit, info.logit_source)


def read_threshold(settings: Settings) -> Threshold | None:
    """Return the similarity threshold that the operator chose; None if there is none."""
    chosen = settings.similarity_threshold
    if chosen is None:
        return None
    return Threshold(chosen, "the operator's setting LINEUP_SIMILARITY_THRESHOLD")


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Settings that name the model to load, and the embedding space that it must have.

    `space` is None where the model may have any space.
    """

    settings: Settings
    space: Space | None


def choose_model(settings: Settings, database: Database) -> ModelChoice:
    """Choose the model to load: the one that the operator names, else the active one of the
    database.

    Raises `EarlierWeights` where the database was filled by `builtin` with other weights.
    """
    with database.read() as conn:
        active = find_active_model(conn)
        earlier = _find_earlier_space(settings, active, list_spaces(conn, SpaceKind.FORENSIC))
    if earlier is not None:
        raise EarlierWeights(earlier.fingerprint)
    if active is None or settings.names_model:
        return ModelChoice(settings, None)
    return ModelChoice(settings.model_copy(update={"model": active.model}), active.space)


def _find_earlier_space(
    settings: Settings, active: ActiveModel | None, spaces: Sequence[Space]
) -> Space | None:
    """Return the space of earlier built-in weights that look-ups would use; None for any other."""
    if settings.names_model and settings.model != BUILTIN:
        return None
    used = spaces if active is None else [active.space]
    return next((each for each in used if each.weights_sha256 in EARLIER_BUILTIN_WEIGHTS), None)


def find_space(settings: Settings, database: Database) -> Space:
    """Return the embedding space of look-ups. It also finds one of earlier built-in weights.

    Reads the model's files only where the database does not say its space. Raises `ModelError`.
    """
    with database.read() as conn:
        active = find_active_model(conn)
        earlier = _find_earlier_space(settings, active, list_spaces(conn, SpaceKind.FORENSIC))
    if earlier is not None:
        return earlier
    if active is None or settings.names_model:
        return make_space(describe_model(locate_files(settings)))
    return active.space


def choose_settings(settings: Settings) -> Settings:
    """Return the settings with the model to load; unchanged where there is no database yet.

    Raises `EarlierWeights`.
    """
    try:
        with open_database(settings) as database:
            return choose_model(settings, database).settings
    except (NoData, SchemaOutdated):
        return settings


def open_thumbnails(settings: Settings) -> BlobStore:
    """Open the folder of thumbnails beside the database."""
    return BlobStore(settings.thumbnail_dir)


def open_originals(settings: Settings) -> BlobStore:
    """Open the folder of original image files, for corpora that keep them."""
    return BlobStore(settings.original_dir, ORIGINAL_SUFFIX)


def open_features(settings: Settings) -> BlobStore:
    """Open the folder of local features, for corpora that store them."""
    return BlobStore(settings.features_dir, FEATURES_SUFFIX)


def open_blob_stores(settings: Settings) -> BlobStores:
    """Open the folders of thumbnails, originals and local features beside the database."""
    return BlobStores(open_thumbnails(settings), open_originals(settings), open_features(settings))


@contextmanager
def open_database(settings: Settings, *, migrate: bool = False) -> Iterator[Database]:
    """Open the database alone, for work that needs no model.

    `migrate` first creates the data folder and the database, or upgrades an older schema.

    Raises `DatabaseUnavailable`; without `migrate` also `NoData`, `SchemaOutdated`.
    """
    if migrate:
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise DatabaseUnavailable(
                f"{settings.data_dir} cannot be made: {err.strerror}"
            ) from err
    database = Database.open(settings.url, migrate=migrate, options=make_database_options(settings))
    try:
        yield database
    finally:
        database.close()


def explain_migration(settings: Settings) -> str | None:
    """Return what opening with `migrate` will do to the data; None where it changes nothing.

    Raises `DatabaseUnavailable`, `InvalidDatabaseUrl`.
    """
    if settings.read_only:
        return None
    try:
        with open_database(settings):
            return None
    except NoData:
        return f"a new, empty database was created; index and thumbnails in {settings.data_dir}"
    except SchemaOutdated as err:
        if err.newer:  # nothing upgrades that
            return None
        return f"the database was upgraded from schema {err.current} to {err.expected}"


class Lineup:
    """The embedder, the database, its index and the stored images: what a look-up or an ingest
    needs.

    Thread-safe. Open it with `Lineup.open`, which closes it again.
    """

    def __init__(
        self, settings: Settings, database: Database, model: Model, *, background: bool
    ) -> None:
        self.settings = settings
        self.database = database
        self.model = model
        self.space = make_space(model.info)
        self.blob_stores = open_blob_stores(settings)
        self.stored_features = StoredFeatures(self.blob_stores, model.decoders, model.limits)
        self.verbal_scale = read_verbal_scale(settings.verbal_scale)
        self.index = LiveIndex.open(
            database,
            self.space,
            settings.index_dir,
            config=make_index_config(settings),
            background=background,
        )
        self._starting = threading.Lock()
        self._batcher = Batcher(model.embedder, settings.queue_size) if model.is_loaded else None
        self.calibrations = Calibrations(self.space)
        self.lookup_store = LookupStore(database, self.space, lambda: self.index.space_id)
        self.remembered = Remembered()
        self.copies = Copies(settings, database, make_index_config(settings), background=background)

    @classmethod
    @contextmanager
    def open(
        cls,
        settings: Settings,
        *,
        migrate: bool = False,
        background: bool = False,
        as_named: bool = False,
        loads_network: bool = True,
        decoders: Decoders | None = None,
    ) -> Iterator[Lineup]:
        """Open all parts; close them at the end of the block.

        `migrate` creates or upgrades the database first. `background` is for a server: the index
        follows the change log and trains codes in a thread of its own. `as_named` loads the model
        that the settings name, even if the database was filled by other weights of that name; a
        re-embedding needs it. Without `loads_network` only the files of the model are checked, and
        its network is loaded with the first image. `decoders` are another product's, which closes
        them.

        Raises `EmbedderError`, `EarlierWeights`, `ForeignSpace` and what `open_database` raises.
        """
        with ExitStack() as stack:
            database = stack.enter_context(open_database(settings, migrate=migrate))
            choice = ModelChoice(settings, None) if as_named else choose_model(settings, database)
            shared = decoders or stack.enter_context(open_decoders(choice.settings))
            if loads_network:
                model = Model.of(load_embedder(choice.settings, shared))
            else:
                model = Model.locate(choice.settings, shared)
            if choice.space is not None:
                choice.space.require(make_space(model.info).fingerprint)
            lineup = cls(choice.settings, database, model, background=background)
            try:
                yield lineup
            finally:
                lineup.close()

    def close(self) -> None:
        """Stop the batcher and release the indexes. The caller closes the database."""
        if self._batcher is not None:
            self._batcher.close()
        self.copies.close()
        self.index.close()

    @property
    def embedder(self) -> Embedder:
        """The network on its device. Raises `EmbedderError` where it is first loaded now."""
        return self.model.embedder

    @property
    def batcher(self) -> Batcher:
        """What runs the forwards of look-ups."""
        with self._starting:
            if self._batcher is None or self._batcher.has_failed:
                self._batcher = Batcher(self.embedder, self.settings.queue_size)
            return self._batcher

    @property
    def computation(self) -> Computation:
        """What computes the embeddings of this process: rows record it."""
        return self.model.computation

    @property
    def limits(self) -> ImageLimits:
        """The limits on images."""
        return self.model.limits

    @property
    def decoders(self) -> Decoders:
        """What makes pictures of bytes from outside."""
        return self.model.decoders

    @property
    def picture_order(self) -> PictureOrder:
        """The order for the pixels that the model reads."""
        return self.model.picture_order

    def make_picture(self, data: bytes, order: PictureOrder) -> Picture:
        """Make a picture that somebody waits for. Raises `ImageError`."""
        return make_picture_now(self.decoders, data, order)

    def embed_picture(self, picture: Picture) -> tuple[NDArray[np.float32], float]:
        """Embed the pixels of a picture: vector ``(d,)`` and logit. Raises `Overloaded`.

        Equal pictures have equal results to the last bit, whatever else is embedded beside them.
        """
        assert picture.pixels is not None
        return self.batcher.embed(picture.pixels)

    @property
    def classifier_policy(self) -> ClassifierPolicy | None:
        """The limits of the logit and their source; None where this model has none."""
        return read_classifier_policy(self.model.info)

    @property
    def threshold(self) -> Threshold | None:
        """The similarity threshold that the operator chose; None if there is none.

        One that was measured on the model elsewhere says nothing about these corpora.
        """
        return read_threshold(self.settings)
