"""The copy space of an installation: the descriptor that fills it, its index, or why it has none.

Which copy space is used is a row of the database (`index.truth.active`), unless the settings name a
descriptor. The first descriptor becomes the active one when the first picture of an empty database
is ingested, or when a back-fill begins. What cannot be opened here is a reason, never an error: the
forensic look-up goes on without it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from api.copies.choosing import (
    AUTO,
    NONE,
    DescriptorChoice,
    DescriptorInUse,
    choose_descriptor,
    describe_missing,
    find_first_installed,
)
from api.copies.stages import StageOutcome
from api.server_paths import hide_paths
from api.settings import Settings
from embedder.copies.descriptors import CopyDescriptor
from embedder.copies.inputs import DescriptorInput
from embedder.errors import EmbedderError, ModelUnavailable
from index.cache.live import LiveIndex
from index.cache.plans.config import IndexConfig
from index.errors import CorpusError, DatabaseReadOnly
from index.truth.active import (
    activate_first_copy_space,
    find_active_copy_space,
    read_active_copy_names,
)
from index.truth.computations import Computation
from index.truth.databases.database import Database
from index.truth.schema import entries
from index.truth.spaces import Space, SpaceKind

OK = "ok"
NOTHING_DESCRIBED = (
    "no copy descriptor is active: `lineup copies backfill` activates the first that is installed, "
    "and computes the vectors that are missing"
)
LOOK_SECONDS = 1.0  # between two looks at which copy space is active
LOADING_SECONDS = 30.0  # for which an ingest waits: loading a descriptor takes about one
RETRY_SECONDS = 60.0  # after one that could not be opened, and where none is to be opened
log = logging.getLogger(__name__)


class Describer(Protocol):
    """What an ingest needs of an open copy space."""

    @property
    def space(self) -> Space: ...

    @property
    def computation(self) -> Computation: ...

    @property
    def input(self) -> DescriptorInput:
        """What is ordered of each picture."""
        ...

    def describe(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the vectors `(n, c)` of the pixels `(n, h, w, 3)`. Raises `EmbedderError`."""
        ...


def no_describer() -> Describer | None:
    """Describe nothing."""
    return None


def make_copy_space(descriptor: CopyDescriptor) -> Space:
    """Describe the copy space of a loaded descriptor as a row of `index`."""
    info = descriptor.info
    return Space(
        fingerprint=info.fingerprint,
        model=info.name,
        weights_sha256=info.weights_sha256,
        preprocessing_fingerprint=info.input.fingerprint,
        dimension=info.dimension,
        kind=SpaceKind.COPY,
    )


@dataclass(frozen=True, slots=True, eq=False)
class DescriberOf:
    """A loaded descriptor as a `Describer`."""

    descriptor: CopyDescriptor
    space: Space
    computation: Computation

    @classmethod
    def of(cls, descriptor: CopyDescriptor) -> DescriberOf:
        # The networks are quantised, and computed alike on every CPU (`embedder.copies.onnx`).
        provider = str(getattr(descriptor, "provider", ""))
        device = "cuda" if "CUDA" in provider else "cpu"
        computed_by = "opencv" if provider == "OpenCV" else "onnx"
        return cls(descriptor, make_copy_space(descriptor), Computation(device, computed_by))

    @property
    def input(self) -> DescriptorInput:
        """What the descriptor reads."""
        return self.descriptor.input

    def describe(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the vectors `(n, c)` of the pixels `(n, h, w, 3)`. Raises `EmbedderError`."""
        return self.descriptor.describe(pixels)


@dataclass(frozen=True, slots=True, eq=False)
class OpenCopySpace:
    """A copy space that look-ups search: its descriptor and its index. `name` opens the descriptor
    elsewhere: a known name, or a path.
    """

    name: str
    describer: DescriberOf
    index: LiveIndex


class Copies:
    """The copy space that a process uses now, and why there is none. Thread-safe.

    In the background a thread opens it and looks once a second whether another one is active, so no
    look-up waits for that. Otherwise the first look-up or ingest opens it.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        config: IndexConfig,
        *,
        background: bool,
        choose: Callable[[Settings, DescriptorInUse | None], DescriptorChoice] = choose_descriptor,
    ) -> None:
        self._settings = settings
        self._database = database
        self._config = config
        self._background = background
        self._choose = choose
        self._opening = threading.Lock()
        self._open: OpenCopySpace | None = None
        # An ingest needs the descriptor alone, and an index of millions opens much later.
        self._loaded: tuple[str, DescriberOf] | None = None
        self._has_looked = threading.Event()  # the descriptor is loaded, or refused
        # What was last opened, or tried; the first look differs from it.
        self._wanted: DescriptorInUse | None = DescriptorInUse("", "")
        self._not_before = 0.0
        self._is_named = settings.copy_descriptor not in (AUTO, NONE)
        self._outcome, self._detail = StageOutcome.FAILED, "the copy space is still being opened"
        self._stopped = threading.Event()
        self._watcher: threading.Thread | None = None
        if settings.copy_descriptor == NONE:
            self._outcome = StageOutcome.SWITCHED_OFF
            self._detail = "LINEUP_COPY_DESCRIPTOR is none"
        elif background:
            self._watcher = threading.Thread(target=self._watch, name="copy-space", daemon=True)
            self._watcher.start()

    @property
    def outcome(self) -> StageOutcome:
        """Whether look-ups search a copy space, or why not. Where none was filled yet, they search
        nothing, and that is RAN.
        """
        return StageOutcome.RAN if self._open is not None else self._outcome

    @property
    def detail(self) -> str | None:
        """Why look-ups search none, for people; None if they do."""
        return None if self._open is not None else self._detail

    def describe(self) -> str:
        """Return for an operator whether copies are searched by descriptor: `ok`, or why not."""
        return self.detail or OK

    def find(self) -> OpenCopySpace | None:
        """Return the open copy space; None without one, and then `outcome` and `detail` say why.

        Never raises for a descriptor or an index that cannot be opened.
        """
        if not self._background:
            self.look()
        return self._open

    def find_input(self) -> DescriptorInput | None:
        """Return what the copy descriptor reads of a probe; None where none is open."""
        opened = self.find()
        return None if opened is None else opened.describer.input

    def find_describer(self) -> Describer | None:
        """Return what describes the pictures that an ingest adds; None if nothing does.

        An empty database takes the first descriptor that is installed. One that has entries and no
        copy space stays as it is, until `start` is called for a back-fill.

        Raises `CorpusError` where the database fails.
        """
        if self._settings.copy_descriptor == NONE or self._settings.read_only:
            return None
        if self._background:
            self._has_looked.wait(LOADING_SECONDS)
        else:
            self.look()
        loaded = self._loaded  # once: another thread may close it meanwhile
        if loaded is not None:
            name, describer = loaded
            if self._is_named:
                self._activate(name, describer.space)
            return describer
        with self._database.read() as conn:
            is_used = find_active_copy_space(conn) is not None
            has_entries = conn.execute(select(entries.c.id).limit(1)).first() is not None
        if is_used or has_entries or self._is_named:
            return None
        started = self.start()
        return None if started is None else started.describer

    def start(self) -> OpenCopySpace | None:
        """Make the first descriptor that is installed the active one unless there is one.

        Returns the copy space that is open then; None where no descriptor can be loaded, and then
        `detail` says why. Raises `CorpusError`.
        """
        self.look()
        if self._open is None and self._settings.copy_descriptor != NONE:
            with self._database.read() as conn:
                active = find_active_copy_space(conn)
            if active is None:
                choice = self._choose(self._settings, None)
                if choice.descriptor is None or choice.name is None:
                    self._refuse(choice.outcome, choice.detail)
                    return None
                self._activate(choice.name, make_copy_space(choice.descriptor))
                self.look()
        elif self._open is not None:
            self._activate(self._open.name, self._open.describer.space)
        return self._open

    def open_describer(self, name: str) -> Describer:
        """Return the descriptor of this name or path, for a job that names it.

        Raises `ModelError`.
        """
        opened = self._open
        if opened is not None and opened.name == name:
            return opened.describer
        settings = self._settings.model_copy(update={"copy_descriptor": name})
        choice = self._choose(settings, None)
        if choice.descriptor is None:
            raise ModelUnavailable(choice.detail or f"the copy descriptor {name} is not installed")
        return DescriberOf.of(choice.descriptor)

    def look(self) -> None:
        """Open the copy space that is to be used now, if it is another one.

        Raises nothing for a descriptor or an index that cannot be opened.
        """
        if self._settings.copy_descriptor == NONE:
            return
        with self._opening:
            try:
                self._look()
            except (CorpusError, EmbedderError, OSError) as err:
                log.warning("the copy space is not searched: %s", err)
                self._refuse_for_now(str(err))
            except Exception:  # a boundary: forensic look-ups go on without copies
                log.exception("the copy space is not searched: a defect of Lineup")
                self._refuse_for_now("a defect of Lineup, which is in the log")
            finally:
                self._has_looked.set()

    def absorb(self) -> None:
        """Bring the index to the newest state after many additions; see `LiveIndex.absorb`."""
        opened = self._open
        if opened is not None:
            try:
                opened.index.absorb()
            except CorpusError as err:
                log.warning("the index of copies is not up to date: %s", err)

    def close(self) -> None:
        """Stop looking, and release the index."""
        self._stopped.set()
        if self._watcher is not None:
            self._watcher.join(self._settings.shutdown_grace_seconds)
        opened, self._open = self._open, None
        if opened is not None:
            opened.index.close()

    def _look(self) -> None:
        wanted = self._find_wanted()
        if wanted == self._wanted and (
            self._open is not None or time.monotonic() < self._not_before
        ):
            return
        self._wanted = wanted
        self._close_open()
        if wanted is None:
            self._explain_none()
            self._not_before = time.monotonic() + RETRY_SECONDS
            return
        choice = self._choose(self._settings, wanted)
        if choice.descriptor is None or choice.name is None:
            self._refuse(choice.outcome, choice.detail)
            self._not_before = time.monotonic() + RETRY_SECONDS
            return
        describer = DescriberOf.of(choice.descriptor)
        self._loaded = choice.name, describer
        self._has_looked.set()
        index = LiveIndex.open(
            self._database,
            describer.space,
            self._settings.index_dir,
            config=self._config,
            background=self._background,
        )
        self._open = OpenCopySpace(choice.name, describer, index)
        log.info("copies are searched by the descriptor %s", choice.name)

    def _find_wanted(self) -> DescriptorInUse | None:
        """Return what is to be open: what the settings name, else what the data uses."""
        if self._is_named:
            return DescriptorInUse(self._settings.copy_descriptor, "")
        names = read_active_copy_names(self._database)
        return None if names is None else DescriptorInUse(*names)

    def _explain_none(self) -> None:
        """Say why there is no copy space: nothing can be installed, or nothing was described."""
        if find_first_installed() is None:
            self._refuse(StageOutcome.NOT_INSTALLED, describe_missing())
        else:
            self._refuse(StageOutcome.RAN, NOTHING_DESCRIBED)

    def _refuse(self, outcome: StageOutcome, detail: str | None) -> None:
        # It stands in answers to clients, which read no path of this machine.
        self._outcome = outcome
        self._detail = hide_paths(detail or "no copy descriptor is used")

    def _refuse_for_now(self, detail: str) -> None:
        self._refuse(StageOutcome.FAILED, detail)
        self._not_before = time.monotonic() + RETRY_SECONDS

    def _activate(self, name: str, space: Space) -> None:
        with self._database.read() as conn:
            if find_active_copy_space(conn) is not None:
                return
        try:
            with self._database.write() as conn:
                activate_first_copy_space(conn, name, space)
        except DatabaseReadOnly as err:
            log.warning("the copy descriptor is not made the active one: %s", err)

    def _close_open(self) -> None:
        opened, self._open, self._loaded = self._open, None, None
        if opened is not None:
            opened.index.close()

    def _watch(self) -> None:
        self.look()
        while not self._stopped.wait(LOOK_SECONDS):
            self.look()
