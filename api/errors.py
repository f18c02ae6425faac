"""Errors that belong to the service itself, not to pixels (`embedder.errors`) and not to rows
(`index.errors`).

ServiceError
├── Overloaded          the queue is full; try again after `retry_after_seconds`
├── BodyTooLarge        the request's body is larger than any image that would be taken
├── InvalidRequest      the request does not fit its schema
├── UnsupportedBody     a media type that the route does not take
├── CrossSiteRequest    a browser sent it from another site's page
├── SourceNotAllowed    a request over HTTP that would read outside of LINEUP_INGEST_ROOTS
├── NoNamedModel        a model that a client named and the service does not list
├── SpaceIncomplete     a model would become active by which entries are not embedded
├── NothingToCalibrate  no known fake, or no known-real image, is embedded by the model
├── NothingToEvaluate   the images that are labelled and usable are not of both kinds
├── NotReplayable       a lookup of an older release, whose probe is not known any more
├── InvalidVerbalScale  the file of LINEUP_VERBAL_SCALE cannot be used
├── FileThere           a file of this name is there already
├── ExportUnwritable    an export cannot be written: no space, no permission
├── ReportUnwritable    the files of an evaluation cannot be written
├── UnsafeListen        asked to listen beyond loopback without authentication
└── MissingExtra        an optional part is not installed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


class ServiceError(Exception):
    """Root of the tree above."""


class Overloaded(ServiceError):
    """Every place in the queue is taken."""

    def __init__(self, capacity: int, retry_after_seconds: int) -> None:
        super().__init__(f"all {capacity} places are taken; try again in {retry_after_seconds} s")
        self.capacity = capacity
        self.retry_after_seconds = retry_after_seconds


class BodyTooLarge(ServiceError):
    """The body is refused before it is read whole."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the request's body is larger than {limit_bytes:,} bytes")
        self.limit_bytes = limit_bytes


class InvalidRequest(ServiceError):
    """The request is well-formed HTTP and does not fit;

    `errors` names each field, where there are fields.
    """

    def __init__(self, message: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


class UnsupportedBody(ServiceError):
    """The body's media type is none of those that the route takes."""

    def __init__(self, media_type: str, taken: Sequence[str]) -> None:
        super().__init__(
            f"{media_type or 'a body without a media type'} is not taken here; "
            f"send {' or '.join(taken)}"
        )


class CrossSiteRequest(ServiceError):
    """A change asked for by a page of another site; a browser would send it with the reader's
    network position.
    """


class SourceNotAllowed(ServiceError):
    """Whoever can ask this server for an ingest or an evaluation may not read any file of its
    machine by that.
    """

    def __init__(self, location: str) -> None:
        super().__init__(f"{location} is in none of the folders that LINEUP_INGEST_ROOTS names")
        self.location = location


class NoNamedModel(ServiceError):
    """Over HTTP only listed models are opened, no folders of the server."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no model is listed as {name!r}: {', '.join(known)}")
        self.name = name
        self.known = tuple(known)


class SpaceIncomplete(ServiceError):
    """Entries without an embedding of the active model are found by no lookup."""

    def __init__(self, model: str, missing: int, entries: int) -> None:
        super().__init__(
            f"{missing:,} of {entries:,} entries have no embedding by {model}, and no lookup "
            f"would find them: run "
            f"`lineup reembed --model {model}` first, or say --incomplete"
        )
        self.model = model
        self.missing = missing
        self.entries = entries


class NothingToCalibrate(ServiceError):
    """A rate needs images of both kinds."""

    def __init__(self, corpora: Sequence[str]) -> None:
        where = (
            f"none of the corpora {', '.join(corpora)} has an image"
            if corpora
            else "there is no corpus of a kind"
        )
        super().__init__(
            f"{where} that this model has embedded: known fakes and known-real images are needed"
        )
        self.corpora = tuple(corpora)


class NothingToEvaluate(ServiceError):
    """Real and synthetic images are needed; the message says what is there, and the most frequent
    reason.
    """


class NotReplayable(ServiceError):
    """Before schema 0004 the vector of a probe was not kept."""

    def __init__(self, lookup_id: str) -> None:
        super().__init__(
            f"the lookup {lookup_id} kept no embedding of its probe, and no corpus has that image"
        )
        self.lookup_id = lookup_id


class InvalidVerbalScale(ServiceError):
    """Words for likelihood ratios that cannot be used."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is no verbal scale: {reason}")
        self.path = path
        self.reason = reason


class FileThere(ServiceError):
    """A file that would be replaced."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists already; --force replaces it")
        self.path = path


class ExportUnwritable(ServiceError):
    """The target of an export cannot be written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"no export can be written to {path}: {reason}")
        self.path = path
        self.reason = reason


class ReportUnwritable(ServiceError):
    """The folder or the files of an evaluation cannot be written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"no evaluation can be written to {path}: {reason}")
        self.path = path
        self.reason = reason


class UnsafeListen(ServiceError):
    """Listening beyond loopback hands every reader of the network the corpora."""


class MissingExtra(ServiceError):
    """An optional dependency is needed and not installed."""

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs an optional part: pip install 'lineup-forensics[{extra}]'"
        )
        self.extra = extra
