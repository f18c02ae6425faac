"""Open the sources of a request, images or ready embeddings, within its roots."""

from __future__ import annotations

from pathlib import Path

from api.errors import ServiceError
from api.ingest.request import IngestRequest
from api.ingest.spool import is_kept_list
from api.sources.access import Access
from api.sources.item import Source
from api.sources.opening import open_source
from api.sources.paths import PathsSource
from api.sources.ready import ReadySource, open_ready


def open_any(location: str, request: IngestRequest, upload_dir: Path) -> Source | ReadySource:
    """Open a source; the caller closes it. Raises `UnusableSource`, `SourceNotAllowed`."""
    access = Access(request.roots)
    access.require(location)
    if is_kept_list(location, upload_dir):
        return PathsSource(Path(location).open("rb"), request.folder, access)
    return open_ready(location, access) or open_source(
        location, access, path_column=request.path_column, image_column=request.image_column
    )


def holds_only_embeddings(request: IngestRequest) -> bool:
    """Whether every source holds ready embeddings, so that no image will be embedded.

    False where a source cannot be opened: the ingest says why.
    """
    access = Access(request.roots)
    try:
        for location in request.sources:
            access.require(location)
            source = open_ready(location, access)
            if source is None:
                return False
            source.close()
    except (ServiceError, OSError):
        return False
    return True
