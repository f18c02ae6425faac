"""What is made of an image besides its embedding: facts, perceptual hash, and stored blobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from embedder.copies.features import MAX_KEYPOINTS
from embedder.decoding.picture import THUMBNAIL_PIXELS, DeliveredPicture, Picture, PictureOrder
from embedder.pictures import views
from embedder.pictures.limits import ImageLimits
from index.blobs import BlobStore
from index.copies import Box, Symmetry, View, ViewHash
from index.durable import StagedFile
from index.truth.corpora import Keep
from index.truth.databases.database import Database
from index.truth.entries import sha256s_not_kept, sha256s_without_features
from index.truth.images import ImageFacts
from index.truth.perceptual import PerceptualHash

KEEPING_THUMBNAILS = tuple(keep for keep in Keep if keep.thumbnails)
KEEPING_ORIGINALS = tuple(keep for keep in Keep if keep.originals)


def order_for_entry(order: PictureOrder, keep: Keep, *, features: bool = False) -> PictureOrder:
    """Return the order for an entry: what was ordered, and what the entry needs of its file.

    `features`: its corpus stores local features.
    """
    return replace(
        order,
        perceptual_hash=True,
        file_metadata=True,
        thumbnail_pixels=THUMBNAIL_PIXELS if keep.thumbnails else None,
        local_features=MAX_KEYPOINTS if features else None,
    )


def hash_of(picture: Picture | DeliveredPicture) -> PerceptualHash:
    """Return the perceptual hash of a picture, as `index` stores it. It must have been ordered."""
    hashed = picture.perceptual_hash
    assert hashed is not None
    return PerceptualHash(hashed.bits, hashed.quality)


def view_hashes_of(picture: Picture) -> tuple[ViewHash, ...]:
    """Return the hashes of a picture's views, as `index` compares them. Empty if not ordered."""
    return tuple(
        ViewHash(
            View(
                Symmetry(each.view.symmetry.value),
                _box_of(each.view.part),
                _box_of(each.view.kept),
            ),
            PerceptualHash(each.hash.bits, each.hash.quality),
        )
        for each in picture.view_hashes
    )


def _box_of(box: views.Box | None) -> Box | None:
    return None if box is None else Box(box.left, box.top, box.right, box.bottom)


def describe_image(sha256: str, data: bytes, picture: Picture) -> ImageFacts:
    """Return the facts of an image, with its perceptual hash."""
    return ImageFacts(
        sha256, len(data), picture.width, picture.height, picture.format, hash_of(picture)
    )


@dataclass(frozen=True, slots=True)
class BlobStores:
    """The thumbnails, the originals and the local features beside the database."""

    thumbnails: BlobStore
    originals: BlobStore
    features: BlobStore

    def stage(self, keep: Keep, sha256: str, data: bytes, picture: Picture) -> list[StagedFile]:
        """Write what a corpus keeps of an image to temporary files; its thumbnail must have been
        ordered.

        Give them to `publish_blobs` before the entry commits, so that no entry lacks its blobs.
        Local features are written where they were ordered, and OpenCV made them.
        """
        staged = self._stage_features(sha256, picture)
        if keep.thumbnails:
            assert picture.thumbnail is not None
            staged.append(self.thumbnails.stage(sha256, picture.thumbnail))
        if keep.originals:
            staged.append(self.originals.stage(sha256, data))
        return staged

    def order_missing(
        self, keep: Keep, sha256: str, limits: ImageLimits, *, features: bool = False
    ) -> PictureOrder:
        """Return the order for an entry of a known image: the file's metadata, and a thumbnail and
        local features where the corpus keeps them and there are none.
        """
        lacks_thumbnail = keep.thumbnails and not self.thumbnails.refresh(sha256)
        lacks_features = features and not self.features.refresh(sha256)
        return PictureOrder(
            limits,
            file_metadata=True,
            thumbnail_pixels=THUMBNAIL_PIXELS if lacks_thumbnail else None,
            local_features=MAX_KEYPOINTS if lacks_features else None,
        )

    def stage_missing(
        self, keep: Keep, sha256: str, data: bytes, picture: Picture
    ) -> list[StagedFile]:
        """Write what a corpus keeps of a known image and the stores lack to temporary files.
        `picture` is what `order_missing` ordered.
        """
        staged = self._stage_features(sha256, picture)
        if picture.thumbnail is not None:
            staged.append(self.thumbnails.stage(sha256, picture.thumbnail))
        if keep.originals and not self.originals.refresh(sha256):
            staged.append(self.originals.stage(sha256, data))
        return staged

    def _stage_features(self, sha256: str, picture: Picture) -> list[StagedFile]:
        features = picture.local_features
        return [] if features is None else [self.features.stage(sha256, features.to_bytes())]

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
        with database.read() as conn:
            unneeded = sha256s_without_features(conn, sha256s)
        for sha256 in unneeded:
            self.features.remove(sha256)
