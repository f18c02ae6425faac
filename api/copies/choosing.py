"""Which copy descriptor an installation uses: by its settings, and by what its data uses."""

from __future__ import annotations

from dataclasses import dataclass

from api.copies.stages import StageOutcome
from api.settings import Settings
from embedder.copies.descriptors import CopyDescriptor, list_descriptors
from embedder.errors import ModelError
from index.truth.active import find_active_copy_space
from index.truth.databases.database import Database

AUTO, NONE = "auto", "none"


@dataclass(frozen=True, slots=True)
class DescriptorInUse:
    """The descriptor that filled the active copy space: its name or path, and the fingerprint."""

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class DescriptorChoice:
    """The descriptor that is used, or why there is none: `detail` says it for people.

    `name` is what opens it: a known name, or a path.
    """

    outcome: StageOutcome
    name: str | None = None
    descriptor: CopyDescriptor | None = None
    detail: str | None = None


def choose_descriptor(settings: Settings, in_use: DescriptorInUse | None) -> DescriptorChoice:
    """Load the descriptor that the settings ask for.

    Where they leave it open, it is the one of the data. If that one cannot be loaded here, none is
    used: vectors of another one could not be compared with those of the data. `in_use` is None
    while no data has any; then it is the first one that is installed.

    Raises `ModelError` only where the settings name a descriptor that cannot be loaded.
    """
    from embedder.copies.opening import open_descriptor  # noqa: PLC0415 -- safetensors and numpy's linear algebra; few commands need it

    wanted = settings.copy_descriptor
    if wanted == NONE:
        return DescriptorChoice(StageOutcome.SWITCHED_OFF, detail="LINEUP_COPY_DESCRIPTOR is none")
    if wanted != AUTO:
        opened = open_descriptor(wanted, device=settings.device)
        return DescriptorChoice(StageOutcome.RAN, wanted, opened)
    name = find_first_installed() if in_use is None else in_use.name
    if name is None:
        return DescriptorChoice(StageOutcome.NOT_INSTALLED, detail=describe_missing())
    try:
        opened = open_descriptor(name, device=settings.device)
    except ModelError as err:
        return DescriptorChoice(StageOutcome.NOT_INSTALLED, detail=str(err))
    if in_use is not None and opened.fingerprint != in_use.fingerprint:
        return DescriptorChoice(
            StageOutcome.NOT_INSTALLED,
            detail=f"the data was described by {name} with the fingerprint "
            f"{in_use.fingerprint[:12]}; the one of this machine has {opened.fingerprint[:12]}",
        )
    return DescriptorChoice(StageOutcome.RAN, name, opened)


def find_in_use(database: Database) -> DescriptorInUse | None:
    """Return the descriptor of the active copy space; None while there is none."""
    with database.read() as conn:
        active = find_active_copy_space(conn)
    return None if active is None else DescriptorInUse(active.descriptor, active.space.fingerprint)


def find_first_installed() -> str | None:
    """Return the name of the first known descriptor that is installed; None without any."""
    return next((each.source.name for each in list_descriptors() if each.available), None)


def describe_missing() -> str:
    """Say what must be installed for the known descriptor that lacks least."""
    nearest = min(list_descriptors(), key=lambda each: len(each.missing))
    packages = " and ".join(nearest.missing)
    return f"no copy descriptor is installed: {nearest.source.name} needs {packages}"
