"""The models that can be used, and which one look-ups and ingests use by default."""

from __future__ import annotations

from pathlib import Path

from api.errors import SpaceIncomplete, UnlistedModel
from api.jobs.json import JobAnswer
from api.lineup import Lineup, make_space, open_database
from api.model import load_embedder
from api.operations.models_json import (
    ActivatedModel,
    ConfinementAnswer,
    ModelAnswer,
    ModelsAnswer,
    PanelCheckAnswer,
)
from api.settings import Settings
from api.worker.starting import start_reembed
from embedder.decoding.confinement import Confinement
from embedder.network import download
from embedder.network.added import list_added_names
from embedder.network.embed import Embedder
from embedder.network.panel import MAXIMUM_LOGIT_DIFFERENCE, MINIMUM_COSINE, PanelCheck
from embedder.network.registry import MODELS, ListedModel
from index.truth.active import activate_model
from index.truth.coverage import coverage


def require_listed(settings: Settings, name: str) -> None:
    """Raise `UnlistedModel` for a model that a client of the HTTP API may not name."""
    known = {*MODELS, *list_added_names(settings.added_model_dir)}
    if name not in known:
        raise UnlistedModel(name, sorted(known))


def resolve_model(settings: Settings, model: str) -> str:
    """Return a model's name, or the absolute path of a folder, as other processes can load it."""
    is_named = model in MODELS or model in list_added_names(settings.added_model_dir)
    return str(Path(model).resolve()) if not is_named and Path(model).is_dir() else model


def activate(settings: Settings, model: str, *, incomplete: bool) -> ActivatedModel:
    """Make a model the active one.

    `incomplete` accepts that entries without its embedding are not found from then on.

    Raises `SpaceIncomplete`, `EmbedderError`.
    """
    model = resolve_model(settings, model)
    embedder = load_embedder(settings.model_copy(update={"model": model}))
    space = make_space(embedder.info)
    with open_database(settings) as database, database.write(unlimited=True) as conn:
        covered = coverage(conn, space)
        if covered.missing and not incomplete:
            raise SpaceIncomplete(model, covered.missing, covered.entries)
        activate_model(conn, model, space)
    return ActivatedModel(
        model=model,
        embedding_space=space.fingerprint,
        entries=covered.entries,
        embedded=covered.embedded,
        in_force=not settings.names_model,
    )


def queue_reembed(lineup: Lineup, model: str) -> JobAnswer:
    """Queue a job that computes a model's embeddings, or return the one that is not finished yet.

    Raises `EmbedderError`.
    """
    other = lineup.settings.model_copy(update={"model": model})
    space = make_space(load_embedder(other).info)
    return JobAnswer.of(start_reembed(lineup.database, space, model))


def list_models(
    settings: Settings, active: Embedder | None, confinement: Confinement | None = None
) -> ModelsAnswer:
    """List the models that can be named, the active one first. Nothing is loaded here.

    `confinement` is that of the decoders which make pictures for the active model.
    """
    decoding = None if confinement is None else ConfinementAnswer.of(confinement)
    found = download.list_models(settings.model_cache_dir, settings.added_model_dir)
    listed = [_describe(model) for model in found]
    if active is None:
        return ModelsAnswer(models=listed, confinement=decoding)
    others = [model for model in listed if model.name != active.info.name]
    named = next((model for model in listed if model.name == active.info.name), None)
    return ModelsAnswer(models=[_describe_active(active, named), *others], confinement=decoding)


def explain_precision(
    device: str, precision: str, check: PanelCheck | None, refused: PanelCheck | None
) -> str:
    """Say why a model computes in a precision, with the figures that decided."""
    if check is None and refused is None:
        return "float32 on a CPU is what other precisions are compared with"
    parts = []
    if refused is not None:
        parts.append(f"{refused.precision} is refused: {_describe_check(refused)}")
    if check is None:
        parts.append(f"{precision} is used instead")
    else:
        parts.append(f"{precision} on {device} is used: {_describe_check(check)}")
    limits = f"{MINIMUM_COSINE} or more, and {MAXIMUM_LOGIT_DIFFERENCE} or less"
    return f"{'; '.join(parts)} (allowed: {limits})"


def _describe_check(check: PanelCheck) -> str:
    return (
        f"smallest cosine with float32 {check.smallest_cosine:.6f}, largest difference of logits "
        f"{check.largest_logit_difference:.4f} on {check.images} pictures"
    )


def _describe(model: ListedModel) -> ModelAnswer:
    return ModelAnswer(
        name=model.name,
        description=model.description,
        active=False,
        available=model.available,
        licence=model.licence,
        revision=model.revision,
        weights_bytes=model.byte_size,
        weights_sha256=model.weights_sha256,
        caution=model.caution,
    )


def _describe_active(active: Embedder, named: ModelAnswer | None) -> ModelAnswer:
    info = active.info
    return ModelAnswer(
        name=info.name,
        description=named.description if named else _describe_folder(active),
        active=True,
        available=True,
        licence=info.licence,
        revision=info.revision,
        weights_bytes=named.weights_bytes if named else None,
        weights_sha256=info.weights_sha256,
        caution=info.caution,
        measured=info.is_measured,
        embedding_space=info.space_fingerprint,
        dimension=info.dimension,
        image_size=info.image_size,
        parameter_count=info.parameter_count,
        device=active.device,
        precision=active.precision,
        precision_check=PanelCheckAnswer.of(active.precision_check),
        refused_check=PanelCheckAnswer.of(active.refused_check),
        precision_reason=explain_precision(
            active.device, active.precision, active.precision_check, active.refused_check
        ),
    )


def _describe_folder(active: Embedder) -> str:
    known = "figures came with it" if active.info.is_measured else "nothing was measured on it"
    return f"a local checkpoint; {known}"
