"""The errors of `api`, as one tree. `embedder.errors` and `index.errors` have the other two.

ServiceError
├── InvalidRequest      a request does not fit its schema
├── BodyTooLarge        a request's body is larger than the limit
├── UploadsFull         all uploads together would have too many bytes
├── UnsupportedBody     a request's body has a media type that the route does not accept
├── CrossSiteRequest    a page of another site sent the request
├── ForeignHost         the request is for a host that is not Lineup's
├── MalformedRequest    a request is not HTTP
├── HeaderTooLarge      a request's header is larger than the limit
├── RequestTooSlow      a header or body does not arrive in time
├── SourceNotAllowed    a source lies outside LINEUP_INGEST_ROOTS
├── UnlistedModel       a client names a model that the service does not list
├── ModelExists         a model of this name exists already
├── ModelInUse          an added model cannot be removed while it is the active one
├── ModelsUnwritable    the copy of a checkpoint cannot be written
├── Overloaded          the queue is full; try again after `retry_after_seconds`
├── TooManyConnections  the connections of an address or of the server are used up
├── UnreadableItem      one image of a source cannot be read (in `api.sources.item`)
├── UnusableSource      a whole source cannot be ingested (in `api.sources.item`)
├── EarlierWeights      weights of `builtin` that are no longer shipped made the embeddings
├── SpaceIncomplete     a model cannot become active while entries lack its embeddings
├── NothingToCalibrate  no known fake or no known-real image has an embedding of the model
├── NothingToEvaluate   the usable labelled images are not of both kinds
├── NotReplayable       a look-up of an older release did not store its probe
├── InvalidVerbalScale  the file of LINEUP_VERBAL_SCALE cannot be used
├── FileAlreadyExists   a file of this name exists already
├── ExportUnwritable    an export cannot be written
├── ReportUnwritable    the files of an evaluation cannot be written
├── UnsafeListen        the server would accept other machines without authentication
├── AddressUnavailable  the server cannot listen on its address, for example because it is in use
└── MissingExtra        an optional dependency is not installed

Leaves carry facts. `api.problems` gives each one its HTTP status and exit code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


class ServiceError(Exception):
    """Root of the tree. `str()` is one line that a person can act on."""


class Overloaded(ServiceError):
    """Every place in the queue is taken."""

    def __init__(self, capacity: int, retry_after_seconds: int) -> None:
        super().__init__(f"all {capacity} places are taken; try again in {retry_after_seconds} s")
        self.capacity = capacity
        self.retry_after_seconds = retry_after_seconds


class TooManyConnections(ServiceError):
    """A connection more than an address, or all together, may have open."""

    retry_after_seconds = 1

    def __init__(self, capacity: int, owner: str) -> None:
        super().__init__(f"all {capacity} connections of {owner} are in use; close some")
        self.capacity = capacity


class BodyTooLarge(ServiceError):
    """The server refuses the body before it has read all of it."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the request's body is larger than {limit_bytes:,} bytes")
        self.limit_bytes = limit_bytes


class InvalidRequest(ServiceError):
    """The request does not fit its schema; `errors` names the fields that are wrong."""

    def __init__(self, message: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


class UploadsFull(ServiceError):
    """The uploads that wait for their jobs take all the bytes that they may."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"uploads may have {limit_bytes:,} bytes together, and this one does not fit beside "
            f"those that wait: try again when their jobs have ended, or cancel one"
        )
        self.limit_bytes = limit_bytes


class UnsupportedBody(ServiceError):
    """The route accepts other media types."""

    def __init__(self, media_type: str, accepted: Sequence[str]) -> None:
        super().__init__(
            f"{media_type or 'a body without a media type'} is not accepted here; "
            f"send {' or '.join(accepted)}"
        )


class CrossSiteRequest(ServiceError):
    """A page of another site asks for a change: the browser sends it from its user's network."""


class ForeignHost(ServiceError):
    """Only the hosts of LINEUP_ALLOWED_HOSTS are answered, against DNS rebinding."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"this server does not answer for the host {host!r}; LINEUP_ALLOWED_HOSTS lists those "
            "that it answers for"
        )
        self.host = host


class MalformedRequest(ServiceError):
    """What came over a connection is not HTTP."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"this is not an HTTP request: {reason}")


class HeaderTooLarge(ServiceError):
    """The server reads no more of a header."""

    def __init__(self) -> None:
        super().__init__("the request line and header are too large")


class RequestTooSlow(ServiceError):
    """The rest of a request does not come, so its connection is closed."""


class SourceNotAllowed(ServiceError):
    """Over HTTP only the folders and URLs of LINEUP_INGEST_ROOTS may be read, and nobody reads
    what a server must never connect to.
    """

    def __init__(
        self, location: str, reason: str | None = None, *, is_as_sent: bool = False
    ) -> None:
        outside = f"{location} is outside the folders and URLs of LINEUP_INGEST_ROOTS"
        super().__init__(outside if reason is None else f"{location} must not be read: {reason}")
        self.location = location
        self.reason = reason
        self.is_as_sent = is_as_sent  # the location is what a client sent, word for word


class UnlistedModel(ServiceError):
    """Over HTTP only listed models are loaded, never a folder of the server."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        listed = f"the listed models are {', '.join(known)}" if known else "none was added here"
        super().__init__(f"no model is called {name!r}; {listed}")
        self.name = name
        self.known = tuple(known)


class ModelExists(ServiceError):
    """Another model would be replaced."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a model called {name!r} exists already: choose another name")
        self.name = name


class ModelInUse(ServiceError):
    """Look-ups and ingests use the model."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is the active model: activate another one first, with `lineup models activate`"
        )
        self.name = name


class ModelsUnwritable(ServiceError):
    """The copy of a checkpoint cannot be written to the data folder."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the model cannot be written to {path}: {reason}")
        self.path = path
        self.reason = reason


class EarlierWeights(ServiceError):
    """The embeddings were made by weights that `builtin` named in an earlier release."""

    def __init__(self, space: str) -> None:
        super().__init__(
            "these embeddings are of earlier weights of `builtin`, which are no longer shipped: "
            "run `lineup reembed --model builtin`, then `lineup models activate builtin`"
        )
        self.space = space


class SpaceIncomplete(ServiceError):
    """No look-up finds an entry that has no embedding of the active model."""

    def __init__(self, model: str, missing: int, entries: int) -> None:
        super().__init__(
            f"{missing:,} of {entries:,} entries have no embedding of {model}, so look-ups would "
            f"not find them: run `lineup reembed --model {model}` first, or add --incomplete"
        )
        self.model = model
        self.missing = missing
        self.entries = entries


class NothingToCalibrate(ServiceError):
    """A calibration needs known fakes and known-real images."""

    def __init__(self, corpora: Sequence[str]) -> None:
        where = (
            f"the corpora {', '.join(corpora)} have no image with an embedding of this model"
            if corpora
            else "one of the two kinds of corpus is missing"
        )
        super().__init__(f"a calibration needs known fakes and known-real images: {where}")
        self.corpora = tuple(corpora)


class NothingToEvaluate(ServiceError):
    """An evaluation needs real and synthetic images. The message counts them and gives the most
    frequent reason for unusable ones.
    """


class NotReplayable(ServiceError):
    """Releases before schema 0004 did not store the probe's embedding."""

    def __init__(self, lookup_id: str) -> None:
        super().__init__(
            f"look-up {lookup_id} did not store its probe's embedding, and no corpus has that image"
        )
        self.lookup_id = lookup_id


class InvalidVerbalScale(ServiceError):
    """The file with the words for likelihood ratios cannot be used."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not a verbal scale: {reason}")
        self.path = path
        self.reason = reason


class FileAlreadyExists(ServiceError):
    """A file would be replaced."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists already; --force replaces it")
        self.path = path


class ExportUnwritable(ServiceError):
    """The file of an export cannot be written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the export cannot be written to {path}: {reason}")
        self.path = path
        self.reason = reason


class ReportUnwritable(ServiceError):
    """The folder or the files of an evaluation cannot be written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the evaluation cannot be written to {path}: {reason}")
        self.path = path
        self.reason = reason


class UnsafeListen(ServiceError):
    """Anybody on the network could read and change the corpora."""


class AddressUnavailable(ServiceError):
    """The server cannot listen on its address."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"the server cannot listen on {host}:{port}: {reason}; "
            f"choose another port with `lineup serve --port`"
        )
        self.host = host
        self.port = port
        self.reason = reason


class MissingExtra(ServiceError):
    """An optional dependency is not installed."""

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs an optional dependency: pip install 'lineup-forensics[{extra}]'"
        )
        self.extra = extra
