"""Finds the files of a model on this machine, and fetches those of a named model from its pinned
revision.

Nothing is fetched unless a named hub model was asked for and `offline` is false. What was fetched,
and what lay in the cache already, is compared with the pinned size and sha256 before it is used.
huggingface_hub shows the progress bar and keeps the cache; no credential is sent, for the pinned
repositories are public.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)

from embedder.errors import (
    CorruptWeights,
    InvalidModelConfig,
    ModelUnavailable,
    UnknownModel,
    UnsafeWeights,
)
from embedder.network.architecture import Architecture, read_architecture
from embedder.network.registry import (
    BUILTIN,
    CONFIG_FILE,
    MEASURED_FILE,
    MODELS,
    PREPROCESSING_FILE,
    WEIGHTS_FILE,
    ListedModel,
    Measured,
    ModelSource,
    PinnedFile,
    get_builtin_directory,
    read_measured,
)
from embedder.network.weights import UNSAFE_SUFFIXES, check_is_safetensors, verify_file
from embedder.pictures.preprocess import Preprocessing, read_preprocessing

# huggingface_hub's own timeout for the same request.
HUB_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model that is on this machine, checked: the weights are what `weights_sha256` (hex)
    says.
    """

    name: str
    revision: str | None
    licence: str
    weights: Path
    weights_sha256: str
    architecture: Architecture
    preprocessing: Preprocessing
    measured: Measured


def locate_model(
    model: str | Path, cache_dir: Path | None = None, *, offline: bool = False
) -> ModelFiles:
    """The files of a named model (fetched when needed) or of a local directory.

    Raises UnknownModel, ModelUnavailable, UnsafeWeights, CorruptWeights, InvalidModelConfig.
    """
    source = MODELS.get(str(model))
    if source is None:
        return _local_model(Path(model))
    return fetch_model(source, cache_dir, offline=offline)


def fetch_model(
    source: ModelSource, cache_dir: Path | None = None, *, offline: bool = False
) -> ModelFiles:
    """Like `locate_model`, of a source that may be in no registry."""
    if source.hub_id is None:
        return _local_model(get_builtin_directory(source.name), source)
    paths = {pin.name: _pinned_path(source, pin, cache_dir, offline) for pin in source.pinned}
    sums = {pin.name: verify_pinned(paths[pin.name], pin) for pin in source.pinned}
    return _described(source, paths[WEIGHTS_FILE], sums[WEIGHTS_FILE], source.name)


def list_models(cache_dir: Path | None = None) -> tuple[ListedModel, ...]:
    """The named models and whether they are on this machine; nothing is loaded, hashed or
    fetched.
    """
    return tuple(_listed(source, cache_dir) for source in MODELS.values())


def verify_pinned(path: Path, pin: PinnedFile) -> str:
    """The file's sha256 (hex), equal to the pin.

    Raises CorruptWeights, saying how to fetch it anew.
    """
    try:
        return verify_file(path, pin.sha256, pin.byte_size)
    except CorruptWeights as err:
        raise CorruptWeights(
            err.path, f"{err.detail}; it is not used: delete {path} and try again"
        ) from err


def _pinned_path(
    source: ModelSource, pin: PinnedFile, cache_dir: Path | None, offline: bool
) -> Path:
    cached = _cached(source, pin, cache_dir)
    if cached is not None:
        return cached
    instead = f"give a local directory that holds {WEIGHTS_FILE}, or use the model {BUILTIN!r}"
    if offline:
        raise ModelUnavailable(
            f"{source.name} is not on this machine and downloads are off: {instead}"
        )
    repository = str(source.hub_id)
    try:
        # Asked once and without the hub client's half minute of retries, so that no network is told
        # at once.
        address = hf_hub_url(repository, pin.name, revision=source.revision)
        get_hf_file_metadata(address, token=False, timeout=HUB_TIMEOUT_SECONDS)
        path = hf_hub_download(
            repository, pin.name, revision=source.revision, cache_dir=cache_dir, token=False
        )
    except (
        Exception
    ) as err:  # the hub's HTTP client has its own errors, of another library in each release
        raise ModelUnavailable(
            f"{source.name} could not be fetched ({type(err).__name__}): {instead}"
        ) from err
    return Path(path)


def _cached(source: ModelSource, pin: PinnedFile, cache_dir: Path | None) -> Path | None:
    found = try_to_load_from_cache(
        str(source.hub_id), pin.name, cache_dir=cache_dir, revision=source.revision
    )
    return Path(found) if isinstance(found, str) else None


def _local_model(directory: Path, source: ModelSource | None = None) -> ModelFiles:
    """A directory as `save_pretrained` leaves it, or one that holds exactly the weights of a named
    model.
    """
    if not directory.is_dir():
        _refuse_file(directory)
    _require_safetensors(directory)
    weights = directory / WEIGHTS_FILE
    check_is_safetensors(weights)
    sha256 = (
        verify_pinned(weights, source.weights)
        if source and source.weights
        else verify_file(weights, None, None)
    )
    known = source or _recognised(directory, sha256)
    if known is not None and known.architecture is not None:
        return _described(known, weights, sha256, known.name)
    missing = [
        name for name in (CONFIG_FILE, PREPROCESSING_FILE) if not (directory / name).is_file()
    ]
    if missing:
        raise ModelUnavailable(
            f"{directory} lacks {' and '.join(missing)}; without it the pixels would be guessed"
        )
    return _described(known, weights, sha256, directory.name)


def _described(source: ModelSource | None, weights: Path, sha256: str, name: str) -> ModelFiles:
    """The files beside `weights`, read; what the repository has no file for, the registry holds."""
    architecture = source.architecture if source else None
    preprocessing = source.preprocessing if source else None
    files = ModelFiles(
        name=source.name if source else name,
        revision=source.revision if source else None,
        licence=source.licence if source else "not stated",
        weights=weights,
        weights_sha256=sha256,
        architecture=architecture or read_architecture(weights.parent / CONFIG_FILE),
        preprocessing=preprocessing or read_preprocessing(weights.parent / PREPROCESSING_FILE),
        measured=read_measured(weights.parent / MEASURED_FILE),
    )
    crop, side = files.preprocessing.crop_size, files.architecture.image_size
    if crop != side:
        raise InvalidModelConfig(
            PREPROCESSING_FILE, f"crops to {crop} pixels, and the model reads {side}"
        )
    return files


def _recognised(directory: Path, sha256: str) -> ModelSource | None:
    """The named model whose pinned files, all of them, are in this directory."""
    for source in MODELS.values():
        if source.weights is None or source.weights.sha256 != sha256:
            continue
        others = [pin for pin in source.pinned if pin.name != WEIGHTS_FILE]
        if all(_is_pinned(directory / pin.name, pin) for pin in others):
            return source
    return None


def _is_pinned(path: Path, pin: PinnedFile) -> bool:
    try:
        return path.is_file() and verify_file(path, pin.sha256, pin.byte_size) == pin.sha256
    except CorruptWeights:
        return False


def _refuse_file(path: Path) -> None:
    """Raises what fits a model that is neither a name nor a directory."""
    if path.suffix.lower() in UNSAFE_SUFFIXES:
        raise UnsafeWeights(path.name, f"{path.suffix} files are refused")
    if path.is_file():
        raise ModelUnavailable(f"{path} is a file: give the directory that holds {WEIGHTS_FILE}")
    raise UnknownModel(str(path), tuple(MODELS))


def _require_safetensors(directory: Path) -> None:
    if (directory / WEIGHTS_FILE).is_file():
        return
    unsafe = sorted(
        path.name for path in directory.iterdir() if path.suffix.lower() in UNSAFE_SUFFIXES
    )
    if unsafe:
        raise UnsafeWeights(unsafe[0], f"{directory} holds no {WEIGHTS_FILE}")
    raise ModelUnavailable(f"{directory} holds no {WEIGHTS_FILE}")


def _listed(source: ModelSource, cache_dir: Path | None) -> ListedModel:
    if source.hub_id is None:
        directory: Path | None = get_builtin_directory(source.name)
        present = directory is not None and (directory / WEIGHTS_FILE).is_file()
        size = (
            (get_builtin_directory(source.name) / WEIGHTS_FILE).stat().st_size if present else None
        )
    else:
        found = [_cached(source, pin, cache_dir) for pin in source.pinned]
        present = all(path is not None for path in found)
        directory = found[0].parent if present and found[0] is not None else None
        size = source.weights.byte_size if source.weights else None
    return ListedModel(
        source.name,
        source.description,
        source.licence,
        source.revision,
        size,
        present,
        directory if present else None,
    )
