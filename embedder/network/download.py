"""Finding the files of a model on this machine, and fetching those of a named model from its pinned
revision.

Nothing is fetched unless a named hub model was requested and `offline` is false. Files that were
fetched now or lay in the cache are compared with the pinned size and sha256 before they are used;
so are those of a model that the user added (`added`).
huggingface_hub shows the progress bar and keeps the cache. No credential is sent, because the
pinned repositories are public.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from embedder.errors import (
    CorruptWeights,
    InvalidModelConfig,
    ModelUnavailable,
    UnknownModel,
    UnsafeWeights,
)
from embedder.jsonfile import read_json_object
from embedder.network.added import find_added, list_added_names, verify_added
from embedder.network.architecture import Architecture, read_architecture
from embedder.network.checkpoint import Checkpoint, count_logits, find_weights
from embedder.network.labels import ONE_LOGIT, Head, read_head
from embedder.network.references import ReferenceVectors, find_references
from embedder.network.registry import (
    BUILTIN,
    CONFIG_FILE,
    MEASURED_FILE,
    MODELS,
    PREPROCESSING_FILE,
    WEIGHTS_FILE,
    ListedModel,
    Measured,
    ModelInfo,
    ModelSource,
    PinnedFile,
    get_builtin_directory,
    read_measured,
)
from embedder.network.weight_files import check_is_safetensors, verify_file
from embedder.pictures.preprocess import Preprocessing
from embedder.pictures.processors import read_preprocessing
from embedder.unsafe_files import UNSAFE_SUFFIXES

# huggingface_hub's own timeout for the same request.
HUB_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A checked model on this machine: the digest (hex) of its weights is `weights_sha256`.

    `weights` are one file, or shards in the order of their names.
    """

    name: str
    revision: str | None
    licence: str
    weights: tuple[Path, ...]
    weights_sha256: str
    architecture: Architecture
    preprocessing: Preprocessing
    measured: Measured
    head: Head = ONE_LOGIT
    caution: str | None = None
    references_sha256: str | None = None


def locate_model(
    model: str | Path,
    cache_dir: Path | None = None,
    *,
    offline: bool = False,
    added_dir: Path | None = None,
) -> ModelFiles:
    """Return the files of a named model, fetched where needed, of one that was added under a name
    in `added_dir`, or of a local directory.

    Raises UnknownModel, ModelUnavailable, UnsafeWeights, CorruptWeights, InvalidModelConfig.
    """
    source = MODELS.get(str(model))
    if source is not None:
        return fetch_model(source, cache_dir, offline=offline)
    added = find_added(added_dir, str(model))
    if added is not None and added_dir is not None:
        verify_added(added_dir, added)
        files = read_folder(added_dir / added.name, added.synthetic_label)
        return replace(files, name=added.name)
    if not Path(model).exists():
        raise UnknownModel(str(model), (*MODELS, *list_added_names(added_dir)))
    return read_folder(Path(model))


def describe_model(files: ModelFiles) -> ModelInfo:
    """Return what identifies the model in these files."""
    measured = files.measured
    readings = (files.head.reading, files.architecture.reading)
    return ModelInfo(
        name=files.name,
        revision=files.revision,
        licence=files.licence,
        weights_sha256=files.weights_sha256,
        preprocessing=files.preprocessing,
        dimension=files.architecture.hidden_size,
        parameter_count=files.architecture.parameter_count,
        image_size=files.architecture.image_size,
        generators=measured.generators,
        similarity_threshold=measured.similarity_threshold,
        threshold_source=measured.threshold_source,
        synthetic_logit=measured.synthetic_logit,
        no_traces_logit=measured.no_traces_logit,
        logit_source=measured.logit_source,
        caution=files.caution,
        reading=";".join(each for each in readings if each is not None) or None,
    )


def read_shipped_references(files: ModelFiles, info: ModelInfo) -> ReferenceVectors | None:
    """Read the reference vectors that came with the model in these files; None without any.

    Raises InvalidReferences, UnsafeWeights, CorruptWeights.
    """
    return find_references(
        files.weights[0].parent, info.space_fingerprint, info.dimension, files.references_sha256
    )


def fetch_model(
    source: ModelSource, cache_dir: Path | None = None, *, offline: bool = False
) -> ModelFiles:
    """Like `locate_model`, for a source that need not be in the registry."""
    if source.hub_id is None:
        return _read_folder(get_builtin_directory(source.name), source)
    paths = {pin.name: _get_pinned_path(source, pin, cache_dir, offline) for pin in source.pinned}
    sums = {pin.name: verify_pinned(paths[pin.name], pin) for pin in source.pinned}
    return _describe(source, _of_one_file(paths[WEIGHTS_FILE], sums[WEIGHTS_FILE]), source.name)


def list_models(
    cache_dir: Path | None = None, added_dir: Path | None = None
) -> tuple[ListedModel, ...]:
    """List the named and the added models and whether they are on this machine; loads, hashes and
    fetches nothing.
    """
    return (
        *(_describe_listed(source, cache_dir) for source in MODELS.values()),
        *(_describe_added(added_dir, name) for name in list_added_names(added_dir)),
    )


def verify_pinned(path: Path, pin: PinnedFile) -> str:
    """Return the file's sha256 (hex) once it equals the pin.

    Raises CorruptWeights, which says how to fetch the file again.
    """
    try:
        return verify_file(path, pin.sha256, pin.byte_size)
    except CorruptWeights as err:
        raise CorruptWeights(
            err.path, f"{err.detail}; the file is not used: delete {path} and try again"
        ) from err


def _get_pinned_path(
    source: ModelSource, pin: PinnedFile, cache_dir: Path | None, offline: bool
) -> Path:
    cached = _find_cached(source, pin, cache_dir)
    if cached is not None:
        return cached
    instead = f"give a local directory with {WEIGHTS_FILE}, or use the model {BUILTIN!r}"
    if offline:
        raise ModelUnavailable(
            f"{source.name} is not on this machine, and downloads are off: {instead}"
        )
    from huggingface_hub import (  # noqa: PLC0415 -- loads an HTTP client; only models of the hub need it
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
    )

    repository = str(source.hub_id)
    try:
        # One request without the hub client's half minute of retries: it fails at once where there
        # is no network.
        address = hf_hub_url(repository, pin.name, revision=source.revision)
        get_hf_file_metadata(address, token=False, timeout=HUB_TIMEOUT_SECONDS)
        path = hf_hub_download(
            repository, pin.name, revision=source.revision, cache_dir=cache_dir, token=False
        )
    except Exception as err:  # the errors of the hub's HTTP client change with its releases
        raise ModelUnavailable(
            f"{source.name} could not be fetched ({type(err).__name__}): {instead}"
        ) from err
    return Path(path)


def _find_cached(source: ModelSource, pin: PinnedFile, cache_dir: Path | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 -- as above

    found = try_to_load_from_cache(
        str(source.hub_id), pin.name, cache_dir=cache_dir, revision=source.revision
    )
    return Path(found) if isinstance(found, str) else None


def read_folder(directory: Path, synthetic_label: str | None = None) -> ModelFiles:
    """Read a folder as `save_pretrained` leaves it, or with exactly the weights of a named model.

    `synthetic_label` is the label that the user named as the one that means synthetic.

    Raises UnknownModel, ModelUnavailable, UnsafeWeights, CorruptWeights, InvalidModelConfig.
    """
    return _read_folder(directory, None, synthetic_label)


def _read_folder(
    directory: Path, source: ModelSource | None, synthetic_label: str | None = None
) -> ModelFiles:
    if not directory.is_dir():
        _refuse_file(directory)
    if source is not None and source.weights is not None:
        single = directory / WEIGHTS_FILE
        check_is_safetensors(single)
        checkpoint = _of_one_file(single, verify_pinned(single, source.weights))
    else:
        checkpoint = find_weights(directory)
    known = source or _find_named(directory, checkpoint.sha256)
    if known is not None and known.architecture is not None:
        return _describe(known, checkpoint, known.name)
    missing = [
        name for name in (CONFIG_FILE, PREPROCESSING_FILE) if not (directory / name).is_file()
    ]
    if missing:
        raise ModelUnavailable(
            f"{directory} lacks {' and '.join(missing)}, so its preprocessing is not known"
        )
    return _describe(known, checkpoint, directory.name, synthetic_label)


def _of_one_file(path: Path, sha256: str) -> Checkpoint:
    return Checkpoint((path,), sha256, {path.name: sha256})


def _describe(
    source: ModelSource | None,
    checkpoint: Checkpoint,
    name: str,
    synthetic_label: str | None = None,
) -> ModelFiles:
    """Read the files beside the weights. The registry holds what a repository has no file for."""
    architecture = source.architecture if source else None
    preprocessing = source.preprocessing if source else None
    folder = checkpoint.paths[0].parent
    files = ModelFiles(
        name=source.name if source else name,
        revision=source.revision if source else None,
        licence=source.licence if source else "not stated",
        weights=checkpoint.paths,
        weights_sha256=checkpoint.sha256,
        architecture=architecture or read_architecture(folder / CONFIG_FILE),
        preprocessing=preprocessing or read_preprocessing(folder / PREPROCESSING_FILE),
        measured=read_measured(folder / MEASURED_FILE),
        # The one logit of a model in the registry means synthetic, whatever its file calls it.
        head=ONE_LOGIT if source else _read_head(checkpoint, synthetic_label),
        caution=source.caution if source else None,
        # Those beside a copy of the weights are the operator's own.
        references_sha256=source.references_sha256
        if source and folder == get_builtin_directory(source.name)
        else None,
    )
    crop, side = files.preprocessing.crop_size, files.architecture.image_size
    if crop != side:
        raise InvalidModelConfig(
            PREPROCESSING_FILE, f"the crop has {crop} pixels, but the model reads {side}"
        )
    return files


def _read_head(checkpoint: Checkpoint, synthetic_label: str | None) -> Head:
    config = read_json_object(checkpoint.paths[0].parent / CONFIG_FILE)
    return read_head(config, CONFIG_FILE, count_logits(checkpoint.paths), synthetic_label)


def _find_named(directory: Path, sha256: str) -> ModelSource | None:
    """Return the named model all of whose pinned files are in this directory."""
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
    """Raise the error for a model that is neither a name nor a directory."""
    if path.suffix.lower() in UNSAFE_SUFFIXES:
        raise UnsafeWeights(path.name, f"{path.suffix} files are refused")
    if path.is_file():
        raise ModelUnavailable(f"{path} is a file: give the directory that contains {WEIGHTS_FILE}")
    raise UnknownModel(str(path), tuple(MODELS))


def _describe_listed(source: ModelSource, cache_dir: Path | None) -> ListedModel:
    if source.hub_id is None:
        directory: Path | None = get_builtin_directory(source.name)
        weights = get_builtin_directory(source.name) / WEIGHTS_FILE
        present = weights.is_file()
        size = weights.stat().st_size if present else None
    else:
        found = [_find_cached(source, pin, cache_dir) for pin in source.pinned]
        present = all(path is not None for path in found)
        directory = found[0].parent if present and found[0] is not None else None
        size = source.weights.byte_size if source.weights else None
    return ListedModel(
        name=source.name,
        description=source.description,
        licence=source.licence,
        revision=source.revision,
        byte_size=size,
        available=present,
        directory=directory if present else None,
        weights_sha256=source.weights.sha256 if source.weights else None,
        caution=source.caution,
    )


def _describe_added(directory: Path | None, name: str) -> ListedModel:
    """Describe an added model by its record; a broken one is not available."""
    try:
        added = find_added(directory, name)
        problem = "its record is missing"
    except InvalidModelConfig as err:
        added, problem = None, str(err)
    if added is None or directory is None:
        return ListedModel(name, f"cannot be used: {problem}", "not stated", None, None, False)
    folder = directory / name
    paths = [folder / each for each in added.files]
    present = all(path.is_file() for path in paths)
    measured = (
        f"figures in its {MEASURED_FILE}"
        if MEASURED_FILE in added.files
        else "nothing was measured on it"
    )
    return ListedModel(
        name=name,
        description=f"added here on {added.added_at[:10]}; {measured}",
        licence="not stated",
        revision=None,
        byte_size=sum(path.stat().st_size for path in paths) if present else None,
        available=present,
        directory=folder if present else None,
        weights_sha256=added.weights_sha256,
    )
