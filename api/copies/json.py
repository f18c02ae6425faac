"""The JSON of copy descriptors."""

from __future__ import annotations

from pydantic import Field

from api.fields import Answer, Sha256


class CopyDescriptorAnswer(Answer):
    """A copy descriptor that Lineup knows, or the one that is used."""

    name: str = Field(description="Name, or the file of an own one.", examples=["sscd"])
    description: str = Field(description="What it is.")
    licence: str = Field(description="Its licence.")
    source: str = Field(description="Where it comes from.")
    package: str | None = Field(description="Python package that carries it. Null for a file.")
    byte_size: int = Field(ge=1, description="Size of its file, in bytes.")
    weights_sha256: Sha256 = Field(description="SHA-256 of its file.")
    fingerprint: Sha256 = Field(
        description="Fingerprint of its copy space: its file, and how pictures are prepared for it."
    )
    dimension: int = Field(ge=2, description="Length of its vectors.")
    installed: bool = Field(description="Whether this machine can run it.")
    missing: list[str] = Field(description="Packages that must be installed before it can run.")
    active: bool = Field(description="Whether look-ups search with it.")


class CopyDescriptorsAnswer(Answer):
    """The copy descriptors that Lineup knows, the active one first."""

    descriptors: list[CopyDescriptorAnswer]
    active: str | None = Field(description="Name of the active one. Null if none is used.")
    detail: str | None = Field(description="Why none is used. Null if one is.")
