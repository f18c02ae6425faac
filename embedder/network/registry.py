"""The named models with their pins, and the known facts about a loaded model; no tensors, no
network.

Every file is pinned by revision, byte size and sha256 of the publisher's file: earlier revisions of
the default repository have a different, wrong configuration. A pinned file is compared before any
of it is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from embedder.errors import InvalidModelConfig
from embedder.jsonfile import read_json_object
from embedder.network.architecture import VIT_SMALL_384, Architecture
from embedder.pictures.preprocess import Preprocessing, Resample

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
PREPROCESSING_FILE = "preprocessor_config.json"
MEASURED_FILE = "measured.json"

BUILTIN = "builtin"
# The sha256 of the two sets of weights that had this name before; figures call them `builtin-1` and
# `builtin-2`. They are not shipped: their vectors stay usable, but no further image can be embedded
# with them.
EARLIER_BUILTIN_WEIGHTS = frozenset(
    {
        "a005f8c1bdce3fd843d1a59675fa539daba069fb8dc33f4eaf0096eb1e4a789d",
        "ab292f5c3d106530b6852557280b8542ea1eff9220b0d9cf9d8708acc879fc4c",
    }
)

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of a repository, at the pinned revision; `sha256` is hex."""

    name: str
    byte_size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a named model comes from.

    `architecture` and `preprocessing` are set where the repository has no file for them; otherwise
    its pinned `config.json` and `preprocessor_config.json` are read. A source without `hub_id` is
    part of the package. `references_sha256` is that of the reference vectors in the package; None
    where it has none. `caution` is what every answer of this model must say first; None where
    nothing has to be said.
    """

    name: str
    description: str
    licence: str
    hub_id: str | None = None
    revision: str | None = None
    pinned: tuple[PinnedFile, ...] = ()
    architecture: Architecture | None = None
    preprocessing: Preprocessing | None = None
    caution: str | None = None
    references_sha256: str | None = None

    @property
    def weights(self) -> PinnedFile | None:
        """The pin of the weights; None where nothing is pinned."""
        return next((file for file in self.pinned if file.name == WEIGHTS_FILE), None)


MODELS: Mapping[str, ModelSource] = MappingProxyType(
    {
        "community-forensics": ModelSource(
            name="community-forensics",
            description="Community Forensics ViT-S/16 at 384 pixels, the default of casework",
            licence="MIT",
            hub_id="buildborderless/CommunityForensics-DeepfakeDet-ViT",
            revision="ac6ee457bea904a373065754107451793b56db00",
            pinned=(
                PinnedFile(
                    WEIGHTS_FILE,
                    87_270_764,
                    "275ba982236ddd6afddf7131f8133e89f537574b964cf8fa5825b4956d741692",
                ),
                PinnedFile(
                    CONFIG_FILE,
                    524,
                    "4b425d089842fecf8f25fc52aa44d09f49607ef89a0e2ff685ced6ec1c70e9b1",
                ),
                PinnedFile(
                    PREPROCESSING_FILE,
                    306,
                    "d5e70eaba99880a52978157cf4e6ee71502fed9479dd7b659854107e131ee8f6",
                ),
            ),
        ),
        "community-forensics-384-original": ModelSource(
            name="community-forensics-384-original",
            description="the authors' own 384-pixel checkpoint: bilinear resize, ImageNet "
            "normalisation",
            licence="MIT",
            hub_id="OwensLab/commfor-model-384",
            revision="6076002bf0d9dd37537f965ee2f06f826c333b61",
            pinned=(
                PinnedFile(
                    WEIGHTS_FILE,
                    87_262_324,
                    "b89f36275f3bf5e2b040eee36597a8f19db051bff9a473a9cf7b2466284fb387",
                ),
            ),
            architecture=VIT_SMALL_384,
            preprocessing=Preprocessing(
                shortest_edge=440,
                resample=Resample.BILINEAR,
                crop_size=384,
                crop_rounding="half_even",
                mean=_IMAGENET_MEAN,
                std=_IMAGENET_STD,
            ),
        ),
        BUILTIN: ModelSource(
            name=BUILTIN,
            description="small model inside this package, for trying Lineup; not for casework",
            licence="MIT",
            pinned=(
                PinnedFile(
                    WEIGHTS_FILE,
                    11_359_604,
                    "e14c0175f7a747897cf60733599deacade261ddddc95d75064595834b46d534f",
                ),
            ),
            references_sha256="7eadd25ee1d0c255fe8efbb3c79fa8f26465152bbb924b83a75da188f72361a7",
            caution="The built-in model is for trying Lineup. It is not for casework: it misses "
            "most fakes of real generators.",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on a model, from `measured.json` beside its weights. Each value may be
    unknown.

    `similarity_threshold` is a cosine similarity. The logits are the bounds above and below which
    the classifier's verdict is `synthetic` and `no_traces`. Each figure has its source: data set,
    date, false-match rate.
    """

    generators: tuple[str, ...] = ()
    similarity_threshold: float | None = None
    threshold_source: str | None = None
    synthetic_logit: float | None = None
    no_traces_logit: float | None = None
    logit_source: str | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What identifies a loaded model and its embedding space.

    `image_size` is a side in pixels. `caution` is what every answer of this model must say first.
    `reading` is what the weights alone do not tell: which logit means synthetic, and the like. It
    is None for a model that is read in the plain way.
    """

    name: str
    revision: str | None
    licence: str
    weights_sha256: str
    preprocessing: Preprocessing
    dimension: int
    parameter_count: int
    image_size: int
    generators: tuple[str, ...] = ()
    similarity_threshold: float | None = None
    threshold_source: str | None = None
    synthetic_logit: float | None = None
    no_traces_logit: float | None = None
    logit_source: str | None = None
    caution: str | None = None
    reading: str | None = None

    @property
    def is_measured(self) -> bool:
        """True if figures came with the model. Otherwise only a calibration can say what its
        numbers mean.
        """
        return self.similarity_threshold is not None or self.synthetic_logit is not None

    @property
    def space_fingerprint(self) -> str:
        """The sha256 (hex) over weights and preprocessing, and over `reading` where there is one.

        Vectors of two different fingerprints are never compared.
        """
        parts = [self.weights_sha256, self.preprocessing.fingerprint]
        if self.reading is not None:
            parts.append(self.reading)
        return hashlib.sha256(":".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One line of `lineup models`; nothing is loaded or hashed for it."""

    name: str
    description: str
    licence: str
    revision: str | None
    byte_size: int | None
    available: bool
    directory: Path | None = field(default=None)
    weights_sha256: str | None = None
    caution: str | None = None


def get_builtin_directory(name: str = BUILTIN) -> Path:
    """Return the folder in the package of a model that is part of it."""
    return Path(str(files("embedder"))) / "models" / name


def read_measured(path: Path) -> Measured:
    """Read the figures in `measured.json`; without the file there are none.

    Other keys of the file are for people and are not read.

    Raises InvalidModelConfig.
    """
    if not path.is_file():
        return Measured()
    values = read_json_object(path)
    generators = values.get("generators") or []
    if not isinstance(generators, list) or not all(isinstance(each, str) for each in generators):
        raise InvalidModelConfig(path.name, "generators is not a list of names")
    return Measured(
        generators=tuple(generators),
        similarity_threshold=_number(values, "similarity_threshold", path.name),
        threshold_source=_text(values, "threshold_source", path.name),
        synthetic_logit=_number(values, "synthetic_logit", path.name),
        no_traces_logit=_number(values, _choose_no_traces_key(values), path.name),
        logit_source=_text(values, "logit_source", path.name),
    )


def _choose_no_traces_key(values: Mapping[str, Any]) -> str:
    """Return the key of the limit of `no_traces`. Older files name the limit `authentic_logit`."""
    return "no_traces_logit" if "no_traces_logit" in values else "authentic_logit"


def _number(values: Mapping[str, Any], key: str, source: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidModelConfig(source, f"{key} {value!r} is not a number")
    return float(value)


def _text(values: Mapping[str, Any], key: str, source: str) -> str | None:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidModelConfig(source, f"{key} {value!r} is not text")
    return value
