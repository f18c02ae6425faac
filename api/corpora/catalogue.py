"""List, create, change and remove corpora and entries: what the commands and routes call."""

from __future__ import annotations

from api.corpora.json import CorpusAnswer, CorpusPage, EntryAnswer, EntryPage, NewCorpus
from api.images import BlobStores
from api.paging import page, read_cursor, read_number
from index.blobs import BlobStore
from index.errors import UnknownBlob
from index.truth.corpora import (
    Keep,
    create_corpus,
    get_corpus,
    list_corpora,
    set_features,
    set_keep,
)
from index.truth.databases.database import Database
from index.truth.entries import (
    corpus_sha256s,
    get_entry,
    list_entries,
    remove_entry,
)


def add_corpus(database: Database, new: NewCorpus) -> CorpusAnswer:
    """Create a corpus. Raises `CorpusExists`."""
    with database.write() as connection:
        return CorpusAnswer.of(
            create_corpus(
                connection, new.name, new.kind, new.description, new.keep, features=new.features
            )
        )


def page_corpora(database: Database, cursor: str | None, limit: int) -> CorpusPage:
    """Return a page of corpora, by name. Raises `InvalidRequest` for a foreign cursor."""
    after = read_cursor(cursor)
    found = [
        corpus for corpus in describe_corpora(database) if after is None or corpus.name > after
    ]
    corpora, next_cursor = page(found, limit, lambda corpus: corpus.name)
    return CorpusPage(corpora=list(corpora), next_cursor=next_cursor)


def describe_corpora(database: Database) -> list[CorpusAnswer]:
    """Describe every corpus, by name."""
    with database.read(unlimited=True) as connection:
        return [CorpusAnswer.of(corpus) for corpus in list_corpora(connection)]


def describe_corpus(database: Database, name: str) -> CorpusAnswer:
    """Describe one corpus. Raises `UnknownCorpus`."""
    with database.read() as connection:
        return CorpusAnswer.of(get_corpus(connection, name))


def page_entries(
    database: Database, corpus: str | None, cursor: str | None, limit: int
) -> EntryPage:
    """Return a page of live entries, by id.

    Raises `UnknownCorpus`, `InvalidRequest` for a foreign cursor.
    """
    after = read_number(cursor)
    with database.read() as connection:
        found = list_entries(connection, corpus, after, limit + 1)
    entries, next_cursor = page(found, limit, lambda entry: entry.id)
    return EntryPage(entries=[EntryAnswer.of(entry) for entry in entries], next_cursor=next_cursor)


def describe_entry(database: Database, entry_id: int, *, local: bool = False) -> EntryAnswer:
    """Describe one entry. Raises `UnknownEntry`, also for a removed entry.

    `local`: for somebody on this machine, with the path of its image.
    """
    with database.read() as connection:
        return EntryAnswer.of(get_entry(connection, entry_id), local=local)


def drop_entry(database: Database, stores: BlobStores, entry_id: int) -> EntryAnswer:
    """Remove one entry; no later answer contains it. Raises `UnknownEntry`."""
    with database.write() as connection:
        entry = EntryAnswer.of(remove_entry(connection, entry_id))
    stores.remove_unneeded(database, [entry.sha256])
    return entry


def change_keep(
    database: Database,
    stores: BlobStores,
    name: str,
    keep: Keep,
    *,
    features: bool | None = None,
) -> CorpusAnswer:
    """Change what a corpus keeps of its images; remove the blobs that no corpus keeps now.

    `features` None leaves the local features as they are. Raises `UnknownCorpus`.
    """
    with database.write() as connection:
        if features is not None:
            set_features(connection, name, features=features)
        corpus = CorpusAnswer.of(set_keep(connection, name, keep))
    with database.read() as connection:
        held = corpus_sha256s(connection, name)
    stores.remove_unneeded(database, held)
    return corpus


def get_thumbnail(database: Database, thumbnails: BlobStore, entry_id: int) -> bytes:
    """Return a thumbnail as WebP. Raises `UnknownEntry`, and `UnknownBlob` where none is kept."""
    with database.read() as connection:
        entry = get_entry(connection, entry_id)
    if not entry.keep.thumbnails:
        raise UnknownBlob(entry.sha256)
    return thumbnails.get(entry.sha256)
