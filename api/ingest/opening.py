"""Opens the sources of a request: images or ready embeddings, within what the request may read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from api.ingest.request import IngestRequest
from api.jobs.spool import is_spooled
from api.settings import Settings
from api.sources.item import Source
from api.sources.locations import require_within
from api.sources.opening import open_source
from api.sources.paths import PathsSource
from api.sources.ready import ReadySource, open_ready


@contextmanager
def opened_source(
    location: str, request: IngestRequest, settings: Settings
) -> Iterator[Source | ReadySource]:
    """A source while the block runs. Raises `UnusableSource`, `SourceNotAllowed`."""
    with closing(open_any(location, request, settings)) as source:
        yield source


def open_any(location: str, request: IngestRequest, settings: Settings) -> Source | ReadySource:
    """A source to be closed. Raises like `opened_source`."""
    require_within(location, request.roots)
    if is_spooled(location, settings.upload_dir):
        return PathsSource(Path(location).open("rb"), request.folder)
    return open_ready(location) or open_source(
        location, path_column=request.path_column, image_column=request.image_column
    )
