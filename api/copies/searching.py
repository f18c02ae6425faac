"""Candidates by copy descriptor: which stored pictures the probe may be an edited version of."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from api.copies.spaces import Copies
from api.copies.stages import IN_THE_LOG, CopyStage, StageOutcome, StageReport
from embedder.decoding.picture import Picture
from index.cache.searching.questions import Question
from index.errors import InvalidFilter, UnknownCorpus
from index.truth.filters import EVERYTHING, Filter

# The nearest entries that become candidates: as many as geometry verifies in one look-up.
CANDIDATES = 20
log = logging.getLogger(__name__)


class OpenedProduct(Protocol):
    """What the search needs of `api.lineup.Lineup`."""

    @property
    def copies(self) -> Copies: ...


@dataclass(frozen=True, slots=True)
class DescriptorSearch:
    """Entry ids with their cosine similarities by copy descriptor, nearest first.

    `report` says what was done, and `descriptor` is the fingerprint of the descriptor; None if it
    was not searched.
    """

    report: StageReport
    candidates: tuple[tuple[int, float], ...] = ()
    descriptor: str | None = None


def search_copies(
    product: OpenedProduct, picture: Picture | None, *filters: Filter, exact: bool = False
) -> DescriptorSearch:
    """Find the entries that are nearest by copy descriptor among those of each filter; among all
    without one, at the newest committed state, so that two servers propose the same. The first
    filter is that of the look-up; `compared` counts its entries. `exact` compares every vector.

    `picture` was made by an order with the `descriptor` of `Copies.find_input`; None where the
    probe came without its bytes. A descriptor or an index that fails is a report, never an error.
    Raises `InvalidFilter`, `UnknownCorpus`.
    """
    opened = product.copies.find()
    if opened is None:
        return DescriptorSearch(
            StageReport(CopyStage.DESCRIPTOR, product.copies.outcome, detail=product.copies.detail)
        )
    if picture is None or picture.descriptor_pixels is None:
        return DescriptorSearch(StageReport(CopyStage.DESCRIPTOR, StageOutcome.NO_IMAGE))
    try:
        vector = opened.describer.describe(picture.descriptor_pixels[np.newaxis])[0]  # (c,)
        questions = [
            Question(vector, CANDIDATES, each, exact=exact) for each in filters or (EVERYTHING,)
        ]
        answers = opened.index.search_all(questions, newest=True)
    except (InvalidFilter, UnknownCorpus):
        raise
    except Exception:  # a boundary: the answer says that the stage failed
        log.exception("the copy space was not searched")
        failed = StageReport(CopyStage.DESCRIPTOR, StageOutcome.FAILED, detail=IN_THE_LOG)
        return DescriptorSearch(failed)
    nearest = {each.entry.id: each.nearness for found in answers for each in found.neighbours}
    report = StageReport(
        CopyStage.DESCRIPTOR,
        StageOutcome.RAN,
        compared=answers[0].searched,
        generation=answers[0].generation,
        exact=all(found.exact for found in answers),
    )
    ordered = sorted(nearest.items(), key=lambda each: (-each[1], each[0]))
    return DescriptorSearch(report, tuple(ordered), opened.describer.space.fingerprint)
