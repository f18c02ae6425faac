"""The JSON of models, their precision, and the confinement of decoding."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from api.fields import Answer, Sha256
from embedder.decoding.confinement import Confinement, ConfinementLevel

if TYPE_CHECKING:
    from embedder.network.panel import PanelCheck


class PanelCheckAnswer(Answer):
    """How far a precision on a device moves the answers of a model, from float32 on a CPU.

    Measured on a panel of pictures of many kinds that comes with Lineup.
    """

    precision: str = Field(examples=["bfloat16"], description="Precision that was compared.")
    device: str = Field(examples=["cpu"], description="Device that was compared.")
    images: int = Field(ge=1, description="Number of pictures.")
    smallest_cosine: float | None = Field(
        description="Smallest cosine similarity of the two embeddings of one picture. Null if an "
        "embedding was not finite."
    )
    largest_logit_difference: float | None = Field(
        description="Largest difference of the two logits of one picture. Null if a logit was not "
        "finite."
    )
    accepted: bool = Field(description="True if both are within the limits.")

    @classmethod
    def of(cls, check: PanelCheck | None) -> PanelCheckAnswer | None:
        """From what `embedder` measured."""
        if check is None:
            return None
        return cls(
            precision=check.precision,
            device=check.device,
            images=check.images,
            smallest_cosine=_finite(check.smallest_cosine),
            largest_logit_difference=_finite(check.largest_logit_difference),
            accepted=check.accepted,
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class ModelAnswer(Answer):
    """A model that Lineup knows by name, or the model that is active."""

    name: str = Field(
        examples=["builtin"], description="Name of the model, as the option `--model` accepts it."
    )
    description: str = Field(description="Description in one line.")
    active: bool = Field(description="True for the model that this service uses.")
    available: bool = Field(description="True if the model's files are on this machine.")
    licence: str = Field(description="Licence of the weights.")
    revision: str | None = Field(
        description="Pinned revision on the Hugging Face Hub. Null for a model from elsewhere."
    )
    weights_bytes: int | None = Field(
        description="Size of the weights file in bytes. Null if not known."
    )
    weights_sha256: Sha256 | None = Field(
        description="SHA-256 of the weights file. Null if it is not pinned and the model is not "
        "loaded."
    )
    caution: str | None = Field(
        None,
        description="What every answer of this model must say first. Null if nothing has to be "
        "said.",
    )
    measured: bool | None = Field(
        None,
        description="True if figures came with the model. False if nothing was measured on it, so "
        "that only a calibration can say what its numbers mean. Only given for the active model.",
    )
    embedding_space: Sha256 | None = Field(
        None,
        description="Fingerprint of the weights and the preprocessing. Only given for the active "
        "model.",
    )
    dimension: int | None = Field(
        None, description="Number of components of an embedding. Only given for the active model."
    )
    image_size: int | None = Field(
        None,
        description="Side of the square that the model sees, in pixels. Only given for the active"
        " model.",
    )
    parameter_count: int | None = Field(
        None, description="Number of parameters. Only given for the active model."
    )
    device: str | None = Field(None, description="Device that the active model runs on.")
    precision: str | None = Field(
        None,
        description="Precision of the active model's computation. Stored embeddings are always "
        "float32.",
    )
    precision_check: PanelCheckAnswer | None = Field(
        None,
        description="How far this precision on this device moves the active model's answers. Null "
        "for float32 on a CPU, with which others are compared.",
    )
    refused_check: PanelCheckAnswer | None = Field(
        None,
        description="The precision that this device would use, where it moves the active model's "
        "answers too far. Null if none was refused.",
    )
    precision_reason: str | None = Field(
        None, description="Why the active model computes in this precision."
    )


class AddedModelAnswer(Answer):
    """A checkpoint that was copied here under a name."""

    model: str = Field(description="Name of the model, as the option `--model` accepts it.")
    weights_sha256: Sha256 = Field(
        description="SHA-256 of the weights file. Of several shards: of the lines that `sha256sum` "
        "prints for them, in the order of their names."
    )
    weights_files: list[str] = Field(description="Names of the weights files.")
    embedding_space: Sha256 = Field(
        description="Fingerprint of the weights, the preprocessing, and how the logit is made."
    )
    dimension: int = Field(description="Number of components of an embedding.")
    image_size: int = Field(description="Side of the square that the model sees, in pixels.")
    parameter_count: int = Field(description="Number of parameters.")
    logit: str = Field(description="How the logit is made from the checkpoint's labels.")
    pixels: str = Field(description="How an image becomes the pixels that the model sees.")
    unused_tensors: list[str] = Field(
        description="Names of tensors in the weights that classification does not use."
    )
    measured: bool = Field(
        description="True if figures came with the model. Otherwise nothing was measured on it, "
        "and only a calibration can say what its numbers mean."
    )


class RemovedModelAnswer(Answer):
    """An added model whose copy was deleted."""

    model: str = Field(description="Name that the model had.")


class ConfinementAnswer(Answer):
    """What a decoder that a hostile image takes over can do here."""

    level: ConfinementLevel = Field(
        description="full: no files, network, programs or other processes; bounded memory and "
        "time. partial: some of that. limits: bounded memory and time. process: bounded time. "
        "none: images are decoded by this process itself."
    )
    detail: str = Field(description="What it cannot do, and what it can, in one sentence.")

    @classmethod
    def of(cls, confinement: Confinement) -> ConfinementAnswer:
        """From what the decoders found out."""
        return cls(level=confinement.level, detail=confinement.detail)


class ModelsAnswer(Answer):
    """All models that can be named. The active model is first."""

    models: list[ModelAnswer] = Field(description="The models. The active model is first.")
    confinement: ConfinementAnswer | None = Field(
        None, description="How the decoding of images is confined. Null if nothing decodes here."
    )


class ActivatedModel(Answer):
    """The result of making a model the active one."""

    model: str = Field(description="Name of the model, or the path of its folder.")
    embedding_space: Sha256 = Field(
        description="Fingerprint of the model's weights and preprocessing."
    )
    entries: int = Field(ge=0, description="Number of entries in all corpora.")
    embedded: int = Field(
        ge=0,
        description="Number of entries that have an embedding of this model. Look-ups find only "
        "these.",
    )
    in_force: bool = Field(
        description="True if this process uses the active model from now on. False where "
        "LINEUP_MODEL or --model names a model."
    )
