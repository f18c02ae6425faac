"""Which model lookups and ingests use: the one that was told, else the one that is active in the database.

A running server keeps the model that it was started with; it uses another one when it is started again.
"""

from __future__ import annotations

from api.answers import ActivatedModel
from api.errors import SpaceIncomplete
from api.lineup import load_embedder, opened_database, space_of
from api.settings import Settings
from index import activate_model, coverage


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
