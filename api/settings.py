"""Settings: the only place that reads them from the environment.

Every field can be set by an environment variable with the prefix `LINEUP_`, for example
`LINEUP_DATA_DIR=/srv/lineup`. A command's option for the same thing wins.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from index.truth.databases.options import DEFAULT_OPTIONS

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
PREFIX = "LINEUP_"


def parse_list(value: object) -> object:
    """Parse a list in an environment variable: JSON, or names separated by commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [name.strip() for name in value.split(",")]


def require_text(value: str) -> str:
    """Refuse an empty text: an unset variable in a script must not choose another database."""
    if not value.strip():
        raise ValueError("it is empty; unset it to use SQLite in the data folder")
    return value


def check_roots(roots: tuple[str, ...]) -> tuple[str, ...]:
    """Return roots without empty names, which would mean the current folder.

    Raises ValueError for one that can mean nothing.
    """
    roots = tuple(root for root in roots if root.strip())
    if roots:
        from api.sources.roots import Roots  # noqa: PLC0415 - takes 30 ms, which few commands need

        Roots(roots)
    return roots


class Settings(BaseSettings):
    """What an operator can choose. The defaults work on a laptop without a network or a server."""

    # An error without its input: a URL of the database holds a password.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    data_dir: Path = Field(
        Path("lineup-data"),
        description="Folder of the database, the index, thumbnails and stored originals.",
    )
    database_url: Annotated[str, AfterValidator(require_text)] | None = Field(
        None,
        description="URL of a PostgreSQL database (postgresql://...) that several machines can "
        "share. By default a SQLite file in the data folder.",
    )
    read_only: bool = Field(
        False,
        description="Write nothing into the database: look-ups are answered and not stored, and "
        "everything else that would write is refused. For a replica.",
    )
    database_pool_size: int = Field(
        DEFAULT_OPTIONS.pool_size,
        ge=1,
        description="PostgreSQL: number of connections that a process keeps open.",
    )
    database_pool_overflow: int = Field(
        DEFAULT_OPTIONS.pool_overflow,
        ge=0,
        description="PostgreSQL: number of further connections that a process opens when those are "
        "in use.",
    )
    database_pool_timeout_seconds: float = Field(
        DEFAULT_OPTIONS.pool_timeout_seconds,
        ge=0,
        description="PostgreSQL: wait for a free connection. Then the answer is 503. 0: for ever.",
    )
    database_connect_timeout_seconds: float = Field(
        DEFAULT_OPTIONS.connect_timeout_seconds,
        ge=0,
        description="PostgreSQL: wait for a new connection, at least 2 seconds. 0: for ever.",
    )
    database_lock_timeout_seconds: float = Field(
        DEFAULT_OPTIONS.lock_timeout_seconds,
        ge=0,
        description="PostgreSQL: wait for a lock. Then the answer is 503. 0: for ever.",
    )
    database_statement_timeout_seconds: float = Field(
        DEFAULT_OPTIONS.statement_timeout_seconds,
        ge=0,
        description="PostgreSQL: duration of a statement. Migrations, backups, exports and other "
        "work on whole corpora have no limit. 0: none at all.",
    )
    database_prepared_statements: bool | None = Field(
        None,
        description="PostgreSQL: whether statements are prepared on the server. By default they "
        "are, unless a pooler such as PgBouncer is between.",
    )
    database_application_name: str = Field(
        DEFAULT_OPTIONS.application,
        description="PostgreSQL: name of this process in pg_stat_activity. By default the command, "
        "for example `lineup serve`.",
    )
    model: str = Field(
        "builtin",
        description="Name of a model (`lineup models` lists them) or a folder with a checkpoint.",
    )
    model_cache_dir: Path | None = Field(
        None,
        description="Folder of downloaded models. By default the folder of the Hugging Face Hub.",
    )
    offline: bool = Field(
        False, description="Never use the network, not even for a model that is not here yet."
    )
    device: str = Field(
        "auto", description="Device that the model runs on: auto, cpu, cuda, mps or xla."
    )
    precision: str = Field(
        "auto",
        description="Precision of the model: auto, float32, float16 or bfloat16. A precision that "
        "moves the model's answers too far is refused. auto takes the fastest that does not.",
    )
    copy_descriptor: str = Field(
        "auto",
        min_length=1,
        description="Copy descriptor that finds edited versions of pictures: a name "
        "(`lineup copies list`), the path of an ONNX file, or none. auto takes what the data "
        "uses, and for new data the first one that is installed.",
    )
    batch_size: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="Number of images that the model processes at once. By default it depends on "
        "the device.",
    )

    max_image_bytes: int = Field(
        64 * 2**20, ge=1024, description="Larger image files are refused unread, in bytes."
    )
    max_image_pixels: int = Field(
        100_000_000, ge=1024, description="Larger images are refused before they are decoded."
    )
    min_image_side: int = Field(
        32,
        ge=1,
        description="Images with a shorter side are refused, in pixels. A model may need more.",
    )

    decoding: Literal["processes", "threads"] = Field(
        "processes",
        description="What decodes images: confined worker processes, or threads of this process "
        "without any confinement.",
    )
    decoders: Annotated[int, Field(ge=1, le=256)] | None = Field(
        None,
        description="Number of processes or threads that decode at once. By default one for each "
        "core.",
    )
    decoding_timeout_seconds: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="A process that decodes one image for longer is ended, and the image refused.",
    )
    memory_budget_bytes: Annotated[int, Field(ge=2**20)] | None = Field(
        None,
        description="Memory that all images may take while processes decode them, by the size that "
        "they declare. By default a quarter of the memory of the machine or of its control group.",
    )

    similarity_threshold: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        None,
        description="Cosine similarity from which an entry is called similar. By default the one "
        "of the calibration. Without a calibration nothing is called similar by its embedding.",
    )
    false_match_rate: float = Field(
        0.01,
        gt=0,
        le=0.5,
        description="Rate of known-real images that may be called similar by mistake. It sets the "
        "similarity threshold where a calibration has enough images for it.",
    )
    no_traces_miss_rate: float = Field(
        0.02,
        gt=0,
        le=0.5,
        description="Share of known fakes in which the classifier may find no traces by mistake. "
        "It sets the limit of the verdict no_traces where a calibration has enough images for it.",
    )
    synthetic_false_alarm_rate: float = Field(
        0.01,
        gt=0,
        le=0.5,
        description="Share of known-real images that the classifier may call synthetic by mistake. "
        "It sets the limit of the verdict synthetic where a calibration has enough images for it.",
    )
    verbal_scale: Path | None = Field(
        None,
        description="JSON file with the words for likelihood ratios. By default the scale of ENFSI "
        "2015.",
    )

    index_flat_limit: int = Field(
        4096,
        ge=0,
        description="Up to this number of entries every search compares all vectors exactly. "
        "Beyond it, the quickest way is measured.",
    )
    index_recall_target: float = Field(
        0.99,
        gt=0,
        le=1,
        description="Recall@10 that a search by compressed codes must reach on the corpus. "
        "Otherwise all vectors are compared.",
    )

    host: str = Field("127.0.0.1", description="Address that the server listens on.")
    port: int = Field(8787, ge=0, le=65535, description="Port that the server listens on.")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_list)] = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        description="Host headers that the server answers, against DNS rebinding: JSON, or names "
        "separated by commas.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_list)] = Field(
        (),
        description="Origins of further pages that may change something here, such as "
        "https://desk.example.org: JSON, or origins separated by commas. The server's own page "
        "always may.",
    )
    queue_size: int = Field(
        64,
        ge=1,
        description="Number of requests with an image that may run or wait. Further requests get "
        "503.",
    )

    max_connections: int = Field(
        512,
        ge=1,
        description="Number of connections that may be open at once. Each needs a file descriptor.",
    )
    max_connections_per_address: int = Field(
        256,
        ge=1,
        description="Number of connections that one address may have open at once. Raise it where "
        "a proxy stands in front.",
    )
    header_timeout_seconds: float = Field(
        10.0, gt=0, description="Time in which the header of a request must arrive."
    )
    body_timeout_seconds: float = Field(
        12 * 3600.0,
        gt=0,
        description="Time in which the whole body of a request must arrive.",
    )
    stall_timeout_seconds: float = Field(
        20.0,
        gt=0,
        description="Time in which a body, or an answer, must make progress.",
    )
    min_bytes_per_second: float = Field(
        500.0,
        gt=0,
        description="Progress that a body, or an answer, must make in that time.",
    )
    idle_timeout_seconds: int = Field(
        15, ge=1, description="Time after which a connection without a request is closed."
    )

    ingest_roots: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(parse_list), AfterValidator(check_roots)
    ] = Field(
        (),
        description="Folders and URL prefixes that jobs asked for over HTTP may read. By default "
        "none: only uploads are accepted.",
    )
    max_upload_bytes: int = Field(
        4 * 2**30,
        ge=1024,
        description="Larger uploads of archives and tables are refused, in bytes.",
    )
    max_uploads_bytes: int = Field(
        16 * 2**30,
        ge=1024,
        description="Uploads are refused while all that wait for their jobs have more bytes.",
    )
    free_disk_bytes: int = Field(
        2**30,
        ge=0,
        description="Uploads are refused that would leave less room than this on the disk of the "
        "data folder, in bytes.",
    )
    failed_upload_days: float = Field(
        7.0,
        ge=0,
        le=3650,
        description="The upload of a job that failed or is paused is kept for so many days, for "
        "it can be resumed.",
    )
    server_works: bool = Field(
        True, description="Whether the server also works on jobs that no worker is working on."
    )
    shutdown_grace_seconds: float = Field(
        20.0,
        gt=0,
        le=3600,
        description="After SIGTERM, work has this long to end. Then it is given back, and the "
        "process ends whatever it does.",
    )

    @property
    def names_model(self) -> bool:
        """Whether the operator named a model, which then wins over the active one."""
        return "model" in self.model_fields_set

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{self.data_dir / 'lineup.db'}"

    @property
    def index_dir(self) -> Path:
        """Folder of the index snapshots."""
        return self.data_dir / "index"

    @property
    def added_model_dir(self) -> Path:
        """Folder of the models that `lineup models add` copied here."""
        return self.data_dir / "models"

    @property
    def precision_dir(self) -> Path:
        """Folder of the outcomes of the panel check, so that a model loads quickly again."""
        return self.data_dir / "precision"

    @property
    def thumbnail_dir(self) -> Path:
        """Folder of the thumbnails, content-addressed by the image's sha256."""
        return self.data_dir / "thumbnails"

    @property
    def features_dir(self) -> Path:
        """Folder of the local features of corpora that store them, content-addressed by sha256."""
        return self.data_dir / "features"

    @property
    def original_dir(self) -> Path:
        """Folder of the originals of corpora that keep them, content-addressed by sha256."""
        return self.data_dir / "originals"

    @property
    def upload_dir(self) -> Path:
        """Folder of uploads and of lists from standard input, until their job has ended."""
        return self.data_dir / "uploads"


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def describe_settings() -> dict[str, str]:
    """Return what each setting means, by environment variable, in the order of the class."""
    return {
        variable(name): field.description or "" for name, field in Settings.model_fields.items()
    }
