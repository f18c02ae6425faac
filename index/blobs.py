"""Blobs: what is kept of images beside the database, thumbnails (WebP) or originals, by the sha256
of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from index.durable import TEMPORARY_SUFFIX, sync_directory, temporary_beside, write_bytes_durably
from index.errors import BlobCorrupt, UnknownBlob
from index.truth.images import SHA256_PATTERN

THUMBNAIL_SUFFIX = ".webp"
ORIGINAL_SUFFIX = ".original"  # of whatever format; nothing is to open it by its name


class BlobStore:
    """A folder of blobs, `ab/abcdef....webp`.

    Safe between threads and processes: files are whole or not there.
    """

    def __init__(self, directory: Path, suffix: str = THUMBNAIL_SUFFIX) -> None:
        self.directory = directory
        self.suffix = suffix

    def put(self, sha256: str, content: bytes) -> None:
        """Store a blob, in place of an older one.

        Put it before the entry commits: then an entry never lacks it.
        """
        path = self.path(sha256)
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_directory(self.directory)
        write_bytes_durably(path, content)

    def put_unsynced(self, sha256: str, content: bytes) -> None:
        """Store a blob like `put`, for whoever puts very many and syncs the disk once at the
        end.
        """
        path = self.path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(path) as temporary:
            temporary.write_bytes(content)
            temporary.replace(path)

    def find(self, sha256: str) -> bytes | None:
        """Return a blob, None where there is none. Raises BlobCorrupt where it cannot be read."""
        try:
            return self.get(sha256)
        except UnknownBlob:
            return None

    def get(self, sha256: str) -> bytes:
        """Return a blob; raises UnknownBlob, BlobCorrupt."""
        path = self.path(sha256)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise UnknownBlob(sha256) from None
        except OSError as err:
            raise BlobCorrupt(path, str(err.strerror)) from err

    def remove(self, sha256: str) -> bool:
        """Remove a blob and say whether it was there."""
        try:
            self.path(sha256).unlink()
        except FileNotFoundError:
            return False
        return True

    def __contains__(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def __iter__(self) -> Iterator[str]:
        """Yield the sha256 of every blob, rising."""
        for path in sorted(self.directory.glob(f"??/*{self.suffix}")):
            if SHA256_PATTERN.fullmatch(path.stem):
                yield path.stem

    def leftovers(self) -> tuple[Path, ...]:
        """Return the temporary files of writes that were interrupted."""
        return tuple(sorted(self.directory.glob(f"??/.*{TEMPORARY_SUFFIX}")))

    def path(self, sha256: str) -> Path:
        """Return where a blob is; raises UnknownBlob on what is no sha256, and so could name any
        file.
        """
        if not SHA256_PATTERN.fullmatch(sha256):
            raise UnknownBlob(sha256)
        return self.directory / sha256[:2] / f"{sha256}{self.suffix}"
