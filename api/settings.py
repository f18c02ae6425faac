"""Settings: the only place that reads the environment.

Every field can be set by an environment variable with the prefix ``LINEUP_``
(``LINEUP_DATA_DIR=/srv/lineup``) and, where a command has an option for it, by that option, which
wins.
"""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def listed(value: object) -> object:
    """A list in an environment variable: JSON, or names with commas between them."""
    if not isinstance(value, str):
        return value
    return (
        json.loads(value)
        if value.lstrip().startswith("[")
        else [name.strip() for name in value.split(",")]
    )


class Settings(BaseSettings):
    """What an operator may choose; the defaults run on a laptop with no network and no server."""

    model_config = SettingsConfigDict(env_prefix="LINEUP_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        Path("lineup-data"), description="Folder of the database, index snapshots and thumbnails."
    )
    database_url: str | None = Field(
        None,
        description="SQLAlchemy URL of the truth; without one, SQLite in `data_dir`. PostgreSQL: postgresql://...",
    )
    model: str = Field(
        "builtin",
        description="A named model (see `lineup models`) or a local checkpoint directory.",
    )
    model_cache_dir: Path | None = Field(
        None, description="Where downloaded checkpoints are kept; default: the hub's own."
    )
    offline: bool = Field(
        False, description="Never touch the network, not even for a named model that is missing."
    )
    device: str = Field("auto", description="auto, cpu, cuda, mps or xla.")
    precision: str = Field("auto", description="auto, float32, float16 or bfloat16.")
    batch_size: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="Images a forward; default by device."
    )

    max_image_bytes: int = Field(
        64 * 2**20, ge=1024, description="Largest encoded image that is read, in bytes."
    )
    max_image_pixels: int = Field(
        100_000_000, ge=1024, description="Largest image that is decoded, in pixels."
    )
    min_image_side: int = Field(32, ge=1, description="Smallest side of an image, in pixels.")

    similarity_threshold: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        None,
        description="Cosine similarity from which a neighbour is similar; default: calibrated, "
        "or the model's.",
    )

    false_match_rate: float = Field(
        0.01,
        gt=0,
        le=0.5,
        description="Rate whose similarity is the threshold of similar, where a calibration has "
        "enough images for it.",
    )

    verbal_scale: Path | None = Field(
        None,
        description="JSON file with the verbal scale of likelihood ratios; default: that of "
        "ENFSI 2015.",
    )

    index_flat_limit: int = Field(
        20_000,
        ge=0,
        description="Up to so many entries every search compares all vectors, exactly.",
    )
    index_recall_target: float = Field(
        0.99,
        gt=0,
        le=1,
        description="Recall@10 that approximate candidates must reach on the corpus; else no "
        "codes.",
    )

    host: str = Field("127.0.0.1", description="Address that the server listens on.")
    port: int = Field(8787, ge=0, le=65535, description="Port that the server listens on.")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)] = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        description="Host headers that are answered (against DNS rebinding).",
    )
    queue_size: int = Field(
        64, ge=1, description="Requests with an image in work or waiting; one more is answered 503."
    )

    ingest_roots: Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)] = Field(
        (),
        description="Folders and URL prefixes that ingests asked for over HTTP may read; none: "
        "only uploads.",
    )
    max_upload_bytes: int = Field(
        4 * 2**30,
        ge=1024,
        description="Largest archive or table that is taken as an upload, in bytes.",
    )
    server_works: bool = Field(True, description="The server works on jobs that nobody is at.")

    @property
    def names_model(self) -> bool:
        """Whether the operator named a model, which then wins over the active one."""
        return "model" in self.model_fields_set

    @property
    def url(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data_dir / 'lineup.db'}"

    @property
    def index_dir(self) -> Path:
        """Folder of the index snapshots."""
        return self.data_dir / "index"

    @property
    def thumbnail_dir(self) -> Path:
        """Folder of the thumbnails, content-addressed by the image's sha256."""
        return self.data_dir / "thumbnails"

    @property
    def original_dir(self) -> Path:
        """Folder of the originals of corpora that keep them, content-addressed by sha256."""
        return self.data_dir / "originals"

    @property
    def upload_dir(self) -> Path:
        """Folder of sources that came by upload or from standard input, until their job has
        ended.
        """
        return self.data_dir / "uploads"
