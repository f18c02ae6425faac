"""Filling a copy space, and choosing the one that look-ups search."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pydantic import Field

from api.copies.choosing import choose_descriptor
from api.copies.spaces import Copies, make_copy_space
from api.fields import Answer, Sha256
from api.jobs.json import JobAnswer
from api.settings import Settings
from api.worker.starting import start_backfill
from embedder.copies.descriptors import DESCRIPTORS
from embedder.errors import ModelUnavailable
from index.truth.active import activate_copy_space, deactivate_copy_space
from index.truth.coverage import coverage
from index.truth.databases.database import Database
from index.truth.jobs.job import Job


class OpenedProduct(Protocol):
    """What a back-fill needs of `api.lineup.Lineup`."""

    @property
    def database(self) -> Database: ...

    @property
    def copies(self) -> Copies: ...


class ActivatedDescriptor(Answer):
    """The copy descriptor that look-ups search by and ingests fill, from now on."""

    descriptor: str = Field(description="Its name, or the path of its file.")
    copy_space: Sha256 = Field(description="Fingerprint of its weights and its input.")
    entries: int = Field(ge=0, description="Live entries.")
    described: int = Field(
        ge=0,
        description="Those of them that have a vector of this descriptor. Others are not "
        "found by it until a back-fill has computed theirs.",
    )


def resolve_descriptor(name: str) -> str:
    """Return a descriptor's name, or the absolute path of a file, as other processes open it."""
    return str(Path(name).resolve()) if name not in DESCRIPTORS and Path(name).is_file() else name


def begin_backfill(product: OpenedProduct, descriptor: str | None = None) -> Job:
    """Queue a job that describes every image without a vector, or return the one that is not
    finished.

    Without a name it is the active descriptor; where there is none, the first one that is installed
    becomes it. Raises `ModelError`, `CorpusError`.
    """
    if descriptor is not None:
        name = resolve_descriptor(descriptor)
        space = product.copies.open_describer(name).space
        return start_backfill(product.database, space, name)
    opened = product.copies.start()
    if opened is None:
        raise ModelUnavailable(product.copies.detail or "no copy descriptor is installed")
    return start_backfill(product.database, opened.describer.space, opened.name)


def queue_backfill(product: OpenedProduct) -> JobAnswer:
    """Queue a back-fill of the active descriptor for any worker. Raises like `begin_backfill`."""
    return JobAnswer.of(begin_backfill(product))


def activate_descriptor(
    settings: Settings, database: Database, descriptor: str
) -> ActivatedDescriptor:
    """Make a descriptor the active one, for every process that uses the database.

    Raises `ModelError`, `CorpusError`.
    """
    name = resolve_descriptor(descriptor)
    chosen = choose_descriptor(settings.model_copy(update={"copy_descriptor": name}), None)
    if chosen.descriptor is None:
        raise ModelUnavailable(chosen.detail or f"the copy descriptor {name} is not installed")
    space = make_copy_space(chosen.descriptor)
    with database.write() as conn:
        activate_copy_space(conn, name, space)
    with database.read(unlimited=True) as conn:  # counting a million entries takes seconds
        covered = coverage(conn, space)
    return ActivatedDescriptor(
        descriptor=name,
        copy_space=space.fingerprint,
        entries=covered.entries,
        described=covered.embedded,
    )


def deactivate_descriptor(database: Database) -> None:
    """Search and fill no copy space from now on. Vectors that are stored stay."""
    with database.write() as conn:
        deactivate_copy_space(conn)
