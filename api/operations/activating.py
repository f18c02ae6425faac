"""The models that can be named, and which one lookups and ingests use: the one that was told, else
the active one.

A running server that was told none follows within a second (`api.worker.current`).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from api.errors import SpaceIncomplete, UnlistedModel
from api.fields import Answer, Sha256
from api.jobs.json import JobAnswer
from api.lineup import Lineup, load_embedder, make_space, open_database
from api.operations.json import ModelAnswer, ModelsAnswer
from api.settings import Settings
from api.worker.starting import start_reembed
from embedder.network.download import list_models
from embedder.network.embed import Embedder
from embedder.network.registry import MODELS, ListedModel
from index.truth.active import activate_model
from index.truth.coverage import coverage


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


def require_listed(name: str) -> None:
    """Raise `UnlistedModel` for a model that a client may not name."""
    if name not in MODELS:
        raise UnlistedModel(name, sorted(MODELS))


def named(model: str) -> str:
    """A model as it is kept for others to open: a folder's whole path, else the name."""
    return str(Path(model).resolve()) if model not in MODELS and Path(model).is_dir() else model


def activate(settings: Settings, model: str, *, incomplete: bool) -> ActivatedModel:
    """Make a model the active one, in one transaction. `incomplete`: although entries are not
    embedded by it.

    Raises `SpaceIncomplete`, `ModelError`.
    """
    model = named(model)
    space = make_space(load_embedder(settings.model_copy(update={"model": model})).info)
    with open_database(settings) as database, database.write() as conn:
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
    """A job for whoever works on jobs; the one that was begun and has not ended, or a new one.

    Raises `ModelError`.
    """
    other = lineup.settings.model_copy(update={"model": model})
    return JobAnswer.of(
        start_reembed(lineup.database, make_space(load_embedder(other).info), model)
    )


def models(settings: Settings, active: Embedder | None) -> ModelsAnswer:
    """Every model that can be named and the active one, which comes first; nothing is loaded
    here.
    """
    listed = [_listed(model) for model in list_models(settings.model_cache_dir)]
    if active is None:
        return ModelsAnswer(models=listed)
    others = [model for model in listed if model.name != active.info.name]
    named = next((model for model in listed if model.name == active.info.name), None)
    return ModelsAnswer(models=[_active(active, named), *others])


def _listed(model: ListedModel) -> ModelAnswer:
    pinned = MODELS[model.name].weights
    return ModelAnswer(
        name=model.name,
        description=model.description,
        active=False,
        available=model.available,
        licence=model.licence,
        revision=model.revision,
        weights_bytes=model.byte_size,
        weights_sha256=pinned.sha256 if pinned else None,
    )


def _active(active: Embedder, named: ModelAnswer | None) -> ModelAnswer:
    info = active.info
    return ModelAnswer(
        name=info.name,
        description=named.description if named else "a local checkpoint",
        active=True,
        available=True,
        licence=info.licence,
        revision=info.revision,
        weights_bytes=named.weights_bytes if named else None,
        weights_sha256=info.weights_sha256,
        embedding_space=info.space_fingerprint,
        dimension=info.dimension,
        image_size=info.image_size,
        parameter_count=info.parameter_count,
        device=active.device,
        precision=active.precision,
    )
