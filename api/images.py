"""What is made of an image besides its embedding: facts, perceptual hash, and stored blobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedder.pictures.decode import DecodedImage, ImageLimits, decode, make_thumbnail
from embedder.pictures.perceptual import compute_perceptual_hash
from index.blobs import BlobStore
from index.truth.corpora import Keep
from index.truth.database import Database
from index.truth.entries import sha256s_not_kept
from index.truth.images import ImageFacts
from index.truth.perceptual import PerceptualHash

KEEPING_THUMBNAILS = tuple(keep for keep in Keep if keep.thumbnails)
KEEPING_ORIGINALS = tuple(keep for keep in Keep if keep.originals)


def hash_image(decoded: DecodedImage) -> PerceptualHash:
    """Return the perceptual hash of an image, as `index` stores it."""
    hashed = compute_perceptual_hash(decoded.image)
    return PerceptualHash(hashed.bits, hashed.quality)


def describe_image(sha256: str, data: bytes, decoded: DecodedImage) -> ImageFacts:
    """Return the facts of an image, with its perceptual hash."""
    return ImageFacts(
        sha256, len(data), decoded.width, decoded.height, decoded.format, hash_image(decoded)
    )


@dataclass(frozen=True, slots=True)
class BlobStores:
    """The thumbnails and the originals beside the database."""

    thumbnails: BlobStore
    originals: BlobStore

    def put(self, keep: Keep, sha256: str, data: bytes, decoded: DecodedImage) -> None:
        """Store what a corpus keeps of an image.

        Call it before the entry is committed, so that no entry lacks its blobs.
        """
        if keep.thumbnails:
            self.thumbnails.put(sha256, make_thumbnail(decoded.image))
        if keep.originals:
            self.originals.put(sha256, data)

    def put_missing(self, keep: Keep, sha256: str, data: bytes, limits: ImageLimits) -> None:
        """Store what a corpus keeps of a known image and the stores lack. Raises `ImageError`."""
        if keep.thumbnails and not self.thumbnails.refresh(sha256):
            self.thumbnails.put(sha256, make_thumbnail(decode(data, limits).image))
        if keep.originals and not self.originals.refresh(sha256):
            self.originals.put(sha256, data)

    def remove_unneeded(self, database: Database, sha256s: Sequence[str]) -> None:
        """Remove the blobs of those images that no entry needs, live or in quarantine.

        Call it after the commit: a crash in between leaves a blob too many, never one too few.
        """
        for store, keeps in (
            (self.thumbnails, KEEPING_THUMBNAILS),
            (self.originals, KEEPING_ORIGINALS),
        ):
            with database.read() as conn:
                unneeded = sha256s_not_kept(conn, sha256s, keeps)
            for sha256 in unneeded:
                store.remove(sha256)
