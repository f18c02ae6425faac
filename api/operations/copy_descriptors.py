"""The copy descriptors that are known and the one that is used: under a command and its JSON."""

from __future__ import annotations

from sqlalchemy import select

from api.copies.choosing import AUTO, DescriptorChoice, choose_descriptor, find_in_use
from api.copies.json import CopyDescriptorAnswer, CopyDescriptorsAnswer
from api.copies.stages import StageOutcome
from api.lineup import open_database
from api.settings import Settings
from embedder.copies.descriptors import (
    DescriptorInfo,
    ListedDescriptor,
    list_descriptors,
)
from index.errors import NoData, SchemaOutdated
from index.truth.active import find_active_copy_space
from index.truth.schema import entries


def choose_for(settings: Settings) -> DescriptorChoice:
    """Choose the descriptor for the database of the settings, which need not be there yet.

    Raises like `choose_descriptor`.
    """
    try:
        with open_database(settings) as database:
            in_use = find_in_use(database)
    except (NoData, SchemaOutdated):
        in_use = None
    return choose_descriptor(settings, in_use)


def list_descriptors_for(settings: Settings) -> CopyDescriptorsAnswer:
    """List what is known, and which one look-ups and ingests of the settings' data use.

    A database with entries and no active descriptor uses none until a back-fill or an activation:
    an ingest does not begin with one by itself. Raises like `choose_descriptor`.
    """
    choice = choose_for(settings)
    if settings.copy_descriptor == AUTO and choice.name is not None and _uses_none(settings):
        detail = f"`lineup copies backfill` activates {choice.name}"
        choice = DescriptorChoice(StageOutcome.RAN, detail=detail)
    return describe_descriptors(choice)


def _uses_none(settings: Settings) -> bool:
    try:
        with open_database(settings) as database, database.read() as conn:
            if find_active_copy_space(conn) is not None:
                return False
            return conn.execute(select(entries.c.id).limit(1)).first() is not None
    except (NoData, SchemaOutdated):
        return False


def describe_descriptors(choice: DescriptorChoice) -> CopyDescriptorsAnswer:
    """List what is known, the one that `choice` uses first. Nothing else is loaded for that."""
    active = None if choice.descriptor is None else choice.descriptor.info
    fingerprint = None if active is None else active.fingerprint
    known = [_describe_known(each, fingerprint) for each in list_descriptors()]
    if active is not None and not any(each.active for each in known):
        known.append(_describe_file(active))
    return CopyDescriptorsAnswer(
        descriptors=sorted(known, key=lambda each: not each.active),
        active=None if active is None else active.name,
        detail=choice.detail,
    )


def _describe_known(listed: ListedDescriptor, active: str | None) -> CopyDescriptorAnswer:
    source = listed.source
    return CopyDescriptorAnswer(
        name=source.name,
        description=source.description,
        licence=source.licence,
        source=source.source,
        package=source.package,
        byte_size=source.byte_size,
        weights_sha256=source.sha256,
        fingerprint=source.fingerprint,
        dimension=source.dimension,
        installed=listed.available,
        missing=list(listed.missing),
        active=source.fingerprint == active,
    )


def _describe_file(info: DescriptorInfo) -> CopyDescriptorAnswer:
    """Describe a file of the operator's own."""
    return CopyDescriptorAnswer(
        name=info.name,
        description="own file",
        licence=info.licence,
        source=info.source,
        package=None,
        byte_size=info.byte_size,
        weights_sha256=info.weights_sha256,
        fingerprint=info.fingerprint,
        dimension=info.dimension,
        installed=True,
        missing=[],
        active=True,
    )
