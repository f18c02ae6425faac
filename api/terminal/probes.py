"""The questioned images that a command line names: single files, and the files of folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from api.sources.access import Access

# Without one of these names, a file of a folder that is no image is not worth a complaint.
IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in "avif bmp gif heic heif jfif jpe jpeg jpg png tif tiff webp".split()  # noqa: SIM905 -- shorter
)
NOT_AN_IMAGE = "not_an_image"


@dataclass(frozen=True, slots=True)
class ProbeFile:
    """A file to look up; `named` if the command line names the file itself, not its folder."""

    path: Path
    named: bool

    def may_be_ignored(self, reason: str) -> bool:
        """Whether a failure for this reason is only a file that is not meant, such as a text."""
        is_image_name = self.path.suffix.lower() in IMAGE_SUFFIXES
        return reason == NOT_AN_IMAGE and not self.named and not is_image_name


def find_probes(paths: Iterable[Path]) -> Iterator[ProbeFile]:
    """Find the files to look up, in the order of the paths; within a folder as an ingest finds
    them: sorted, with subfolders, without hidden files and without links to folders.

    Raises `UnusableSource` for a folder that cannot be listed.
    """
    for path in paths:
        if path.is_dir():
            for _, location in Access().walk(str(path)):
                yield ProbeFile(Path(location), named=False)
        else:
            yield ProbeFile(path, named=True)
