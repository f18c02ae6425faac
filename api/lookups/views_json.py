"""Views of a probe as JSON: parts of a picture, and their perceptual hashes; sent and answered."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from api.fields import Answer, Sha256
from index.copies import Box, Symmetry, View, ViewHash
from index.truth.perceptual import PerceptualHash

Share = Annotated[float, Field(ge=0, le=1)]


class BoxAnswer(Answer):
    """A part of a picture: its edges as fractions of the width and the height."""

    left: Share = Field(description="Left edge, as a fraction of the width.")
    top: Share = Field(description="Top edge, as a fraction of the height.")
    right: Share = Field(description="Right edge, as a fraction of the width.")
    bottom: Share = Field(description="Bottom edge, as a fraction of the height.")

    @model_validator(mode="after")
    def _check(self) -> BoxAnswer:
        self.to_box()
        return self

    @classmethod
    def of(cls, box: Box | None) -> BoxAnswer | None:
        """From a part of a picture; None for the whole of it."""
        if box is None:
            return None
        return cls(left=box.left, top=box.top, right=box.right, bottom=box.bottom)

    def to_box(self) -> Box:
        """As `index` has it. Raises ValueError where the part has no area."""
        return Box(self.left, self.top, self.right, self.bottom)


class ViewHashAnswer(Answer):
    """The perceptual hash of the probe, or of a part of it, after a symmetry."""

    symmetry: Symmetry = Field(
        Symmetry.UPRIGHT,
        description="What was done to a stored picture, so that it looks like the probe.",
    )
    part: BoxAnswer | None = Field(
        None, description="The part of the probe. Null for the whole picture."
    )
    kept: BoxAnswer | None = Field(
        None,
        description="The part of a stored picture that the probe is taken for, as if the rest had "
        "been cropped. Null for all of it.",
    )
    pdq_hash: Sha256 = Field(description="Perceptual hash (PDQ) as 64 hex digits.")
    pdq_quality: int = Field(
        ge=0,
        le=100,
        description="Quality of the hash, from 0 to 100. Below 50 it is not compared.",
    )

    @classmethod
    def of(cls, hashed: ViewHash) -> ViewHashAnswer:
        """From the hash of a view."""
        return cls(
            symmetry=hashed.view.symmetry,
            part=BoxAnswer.of(hashed.view.part),
            kept=BoxAnswer.of(hashed.view.kept),
            pdq_hash=hashed.hash.bits.hex(),
            pdq_quality=hashed.hash.quality,
        )

    def to_view_hash(self) -> ViewHash:
        """As `index` has it. Raises ValueError where the part has no area."""
        part = None if self.part is None else self.part.to_box()
        kept = None if self.kept is None else self.kept.to_box()
        hashed = PerceptualHash(bytes.fromhex(self.pdq_hash), self.pdq_quality)
        return ViewHash(View(self.symmetry, part, kept), hashed)
