"""Which model lookups and ingests use: the one that was told, else the one that is active in the database.

A running server keeps the model that it was started with; it uses another one when it is started again.
"""

from __future__ import annotations

from pydantic import Field

from api.answers import Answer, Sha256
from api.errors import SpaceIncomplete
from api.lineup import load_embedder, opened_database, space_of
from api.settings import Settings
from index import activate_model, coverage


class ActivatedModel(Answer):
    """The model that lookups and ingests use from now on, where nobody names one."""

    model: str = Field(description="As it was named.")
    embedding_space: Sha256 = Field(description="Fingerprint of weights and preprocessing.")
    entries: int = Field(ge=0, description="Live entries of all corpora.")
    embedded: int = Field(ge=0, description="Those of them that this model's lookups find.")


def activate(settings: Settings, model: str, *, incomplete: bool) -> ActivatedModel:
    """Make a model the active one, in one transaction. `incomplete`: although entries are not embedded by it.

    Raises `SpaceIncomplete`, `embedder.ModelError`.
    """
    space = space_of(load_embedder(settings.model_copy(update={"model": model})).info)
    with opened_database(settings) as database, database.write() as conn:
        covered = coverage(conn, space)
        if covered.missing and not incomplete:
            raise SpaceIncomplete(model, covered.missing, covered.entries)
        activate_model(conn, model, space)
    return ActivatedModel(
        model=model, embedding_space=space.fingerprint, entries=covered.entries, embedded=covered.embedded
    )
