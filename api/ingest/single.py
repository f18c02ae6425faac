"""One image into a corpus, and what is kept of it beside the database."""

from __future__ import annotations

import hashlib

from api.corpora.json import AddedEntry, EntryAnswer
from api.ingest.provenance import joined
from api.lineup import Lineup
from api.sources.item import Item
from embedder.file_metadata import stated, stated_generator
from embedder.pictures.decode import DecodedImage, decode, thumbnail
from embedder.pictures.perceptual import perceptual_hash
from index.errors import EntryQuarantined
from index.truth.corpora import Keep, get_corpus
from index.truth.entries import NewEntry, add_entries, get_entry
from index.truth.images import ImageFacts, find_embedding
from index.truth.perceptual import PerceptualHash
from index.truth.provenance import Provenance
from index.truth.quarantine import find_quarantined_images


def add_image(lineup: Lineup, data: bytes, corpus: str, told: Provenance) -> AddedEntry:
    """Add one image to an existing corpus, sharing forwards with other requests.

    Raises `ImageError`, `UnknownCorpus`, `EntryQuarantined`, `Overloaded`.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    with lineup.database.read() as connection:
        keep = get_corpus(connection, corpus).keep
        if sha256 in (quarantined := find_quarantined_images(connection, corpus, [sha256])):
            raise EntryQuarantined(quarantined[sha256], corpus)
        stored = find_embedding(connection, lineup.space, sha256)
    provenance = with_file_statements(told, data)
    if stored:
        keep_missing_blobs(lineup, keep, sha256, data)
        new = NewEntry(stored.image, None, None, provenance)
    else:
        decoded = decode(data, lineup.embedder.limits)
        vector, logit = lineup.batcher.embed(lineup.embedder.preprocess(decoded))
        keep_blobs(lineup, keep, sha256, data, decoded)
        new = NewEntry(facts_of(sha256, data, decoded), vector, logit, provenance)
    with lineup.database.write() as connection:
        (result,) = add_entries(connection, corpus, lineup.space, [new])
        if result.quarantined:  # since it was asked above
            raise EntryQuarantined(result.entry_id, corpus)
        entry = get_entry(connection, result.entry_id)
    return AddedEntry(status=result.status, entry=EntryAnswer.of(entry))


def with_file_statements(told: Provenance, data: bytes) -> Provenance:
    """What was told of an image, joined with what its file says."""
    says = stated(data)
    extra = dict(told.extra)
    item = Item(str(extra.pop("path", "")), lambda _: data)
    read = joined(item, told, None, says, stated_generator(says))
    return Provenance(
        read.generator,
        read.label,
        read.licence,
        read.source,
        read.acquired_at,
        {key: value for key, value in read.extra.items() if key != "path" or value},
    )


def facts_of(sha256: str, data: bytes, decoded: DecodedImage) -> ImageFacts:
    """The facts of an image, its perceptual hash included."""
    return ImageFacts(
        sha256, len(data), decoded.width, decoded.height, decoded.format, hash_of(decoded)
    )


def hash_of(decoded: DecodedImage) -> PerceptualHash:
    """The perceptual hash of an image, in the words of `index`."""
    hashed = perceptual_hash(decoded.image)
    return PerceptualHash(hashed.bits, hashed.quality)


def keep_blobs(lineup: Lineup, keep: Keep, sha256: str, data: bytes, decoded: DecodedImage) -> None:
    """What a corpus keeps of an image.

    Call it before the entry commits, so that an entry never lacks it.
    """
    if keep.thumbnails:
        lineup.thumbnails.put(sha256, thumbnail(decoded.image))
    if keep.originals:
        lineup.originals.put(sha256, data)


def keep_missing_blobs(lineup: Lineup, keep: Keep, sha256: str, data: bytes) -> None:
    """What a corpus keeps of a known image, where it is not there. Raises `ImageError`."""
    if keep.thumbnails and sha256 not in lineup.thumbnails:
        lineup.thumbnails.put(sha256, thumbnail(decode(data, lineup.embedder.limits).image))
    if keep.originals and sha256 not in lineup.originals:
        lineup.originals.put(sha256, data)
