"""Blobs: thumbnails (WebP), original image files or local features, kept beside the database.

The sha256 of the image names the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from index.durable import (
    TEMPORARY_SUFFIX,
    StagedFile,
    publish_all,
    stage,
    sync_directory,
    temporary_beside,
    write_bytes_durably,
)
from index.errors import BlobCorrupt, UnknownBlob
from index.failures import name_full_disk
from index.truth.images import SHA256_PATTERN

THUMBNAIL_SUFFIX = ".webp"
ORIGINAL_SUFFIX = ".original"  # of any format; no program should open the file by its name
FEATURES_SUFFIX = ".features"


def publish_blobs(files: Sequence[StagedFile]) -> None:
    """Store staged blobs, each replacing an older one; after this they survive a power loss.

    Raises:
        StorageFull: there is no room; some may have been stored.

    """
    with name_full_disk("an image file"):
        publish_all(files)


class BlobStore:
    """A folder of blobs, named like `ab/abcdef....webp`.

    Threads and processes can share it: a file is complete or absent.
    """

    def __init__(self, directory: Path, suffix: str = THUMBNAIL_SUFFIX) -> None:
        self.directory = directory
        self.suffix = suffix

    def is_empty(self) -> bool:
        """Whether no blob was ever stored here."""
        try:
            with os.scandir(self.directory) as folders:
                return next(folders, None) is None
        except FileNotFoundError:
            return True

    def put(self, sha256: str, content: bytes) -> None:
        """Store a blob, replacing an older one.

        Store it before the entry commits, so that a committed entry never lacks its blob.

        Raises:
            StorageFull: there is no room; no part of the blob remains.

        """
        with name_full_disk("an image file"):
            write_bytes_durably(self._make_room(sha256), content)

    def stage(self, sha256: str, content: bytes) -> StagedFile:
        """Write a blob to a temporary file. `publish_blobs` stores many of them at once, before
        their entries commit.

        Raises:
            StorageFull: there is no room; no part of the blob remains.

        """
        with name_full_disk("an image file"):
            return stage(self._make_room(sha256), content)

    def put_unsynced(self, sha256: str, content: bytes) -> None:
        """Store a blob without syncing the disk; the caller syncs once after many blobs."""
        path = self.path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(path) as temporary:
            temporary.write_bytes(content)
            temporary.replace(path)

    def refresh(self, sha256: str) -> bool:
        """Return whether there is a blob, and mark it as needed from now on.

        `fsck` removes blobs that no entry needs, but none that was stored or refreshed lately: its
        entry may commit in a moment.
        """
        try:
            os.utime(self.path(sha256))
        except FileNotFoundError:
            return False
        except PermissionError:  # it belongs to another user, who alone could remove it
            return True
        return True

    def find(self, sha256: str) -> bytes | None:
        """Return a blob, or None if there is none.

        Raises:
            BlobCorrupt: the file cannot be read.

        """
        try:
            return self.get(sha256)
        except UnknownBlob:
            return None

    def get(self, sha256: str) -> bytes:
        """Return a blob.

        Raises:
            UnknownBlob: there is no blob of this image.
            BlobCorrupt: the file cannot be read.

        """
        path = self.path(sha256)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise UnknownBlob(sha256) from None
        except OSError as err:
            raise BlobCorrupt(path, str(err.strerror)) from err

    def remove(self, sha256: str) -> bool:
        """Remove a blob; return whether there was one."""
        try:
            self.path(sha256).unlink()
        except FileNotFoundError:
            return False
        return True

    def size(self, sha256: str) -> int | None:
        """Return the size of a blob in bytes; None if there is none that can be reached."""
        try:
            return self.path(sha256).stat().st_size
        except OSError:
            return None

    def __contains__(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def __iter__(self) -> Iterator[str]:
        """Yield the sha256 of every blob in ascending order."""
        for path in sorted(self.directory.glob(f"??/*{self.suffix}")):
            if SHA256_PATTERN.fullmatch(path.stem):
                yield path.stem

    def leftovers(self) -> tuple[Path, ...]:
        """Return the temporary files that interrupted writes left behind."""
        return tuple(sorted(self.directory.glob(f"??/.*{TEMPORARY_SUFFIX}")))

    def _make_room(self, sha256: str) -> Path:
        """Return the path of a blob whose folder is there and durable."""
        path = self.path(sha256)
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_directory(self.directory)
        return path

    def path(self, sha256: str) -> Path:
        """Return the path of a blob.

        Raises:
            UnknownBlob: the name is not a sha256; it could otherwise name any file.

        """
        if not SHA256_PATTERN.fullmatch(sha256):
            raise UnknownBlob(sha256)
        return self.directory / sha256[:2] / f"{sha256}{self.suffix}"
