"""Bytes -> pixels -> embedding and logit. Knows torch and Pillow; no SQL, no FAISS, no HTTP, no environment."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from embedder.decode import DecodedImage, ImageLimits, decode, thumbnail
from embedder.delivery import RE_ENCODINGS, Condition, Delivery, condition_of, delivered, delivery_of
from embedder.errors import (
    CorruptImage,
    CorruptWeights,
    DeviceUnavailable,
    EmbedderError,
    ImageError,
    ImageTooLarge,
    ImageTooSmall,
    InvalidModelConfig,
    ModelError,
    ModelUnavailable,
    NotAnImage,
    PrecisionRefused,
    TensorMismatch,
    TruncatedImage,
    UnknownModel,
    UnsafeWeights,
    UnsupportedFormat,
)
from embedder.file_metadata import Stated, Statement, stated, stated_generator
from embedder.jpeg_quality import estimated_jpeg_quality
from embedder.legibility import PictureQuality, is_flat, luminance_std, picture_quality
from embedder.perceptual import PerceptualHash, perceptual_hash
from embedder.preprocess import Preprocessing, Resample, preprocess, read_preprocessing
from embedder.registry import MODELS, ListedModel, ModelInfo, ModelSource, find_version
from embedder.results import Embedded, Embeddings, Failed
from embedder.stability import VIEW_NAMES, LeftOut, View, Views, views

if TYPE_CHECKING:
    from embedder.device import use_threads
    from embedder.download import list_models
    from embedder.embed import Embedder

# What needs torch and transformers, which take three seconds to load: only who asks for it waits. A list of jobs, or
# an error in one line, does not.
_WITH_TORCH = {"Embedder": "embedder.embed", "list_models": "embedder.download", "use_threads": "embedder.device"}

__all__ = [
    "MODELS",
    "RE_ENCODINGS",
    "VIEW_NAMES",
    "Condition",
    "CorruptImage",
    "CorruptWeights",
    "DecodedImage",
    "Delivery",
    "DeviceUnavailable",
    "Embedded",
    "Embedder",
    "EmbedderError",
    "Embeddings",
    "Failed",
    "ImageError",
    "ImageLimits",
    "ImageTooLarge",
    "ImageTooSmall",
    "InvalidModelConfig",
    "LeftOut",
    "ListedModel",
    "ModelError",
    "ModelInfo",
    "ModelSource",
    "ModelUnavailable",
    "NotAnImage",
    "PerceptualHash",
    "PictureQuality",
    "PrecisionRefused",
    "Preprocessing",
    "Resample",
    "Stated",
    "Statement",
    "TensorMismatch",
    "TruncatedImage",
    "UnknownModel",
    "UnsafeWeights",
    "UnsupportedFormat",
    "View",
    "Views",
    "condition_of",
    "decode",
    "delivered",
    "delivery_of",
    "estimated_jpeg_quality",
    "find_version",
    "is_flat",
    "list_models",
    "luminance_std",
    "perceptual_hash",
    "picture_quality",
    "preprocess",
    "read_preprocessing",
    "stated",
    "stated_generator",
    "thumbnail",
    "use_threads",
    "views",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- PEP 562
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WITH_TORCH[name]), name)
