"""The probe of a stored look-up, embedded again from its bytes, and compared with what was stored.

Another device or another precision rounds differently, so an embedding comes out almost, not
exactly, as it was. What is tolerated has two sources. If both were computed alike, it is what
another build of torch or another processor does. Otherwise it is the limits within which a
precision is accepted at all, once for each side that is not float32 on a CPU.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from api.errors import InvalidRequest
from api.lineup import Lineup
from api.lookups.answers.json import LookupAnswer
from api.lookups.answers.method_json import ComputationAnswer
from api.lookups.answers.precision import is_alike
from api.lookups.probe import Probe
from api.lookups.replays.json import ReembeddedAnswer, VerdictsAnswer
from embedder.network.panel import MAXIMUM_LOGIT_DIFFERENCE, MINIMUM_COSINE
from index.cache.searching.ranking import cosine_similarities
from index.truth.computations import Computation

# float32 on two processors: other kernels sum in another order. The golden files of schema 0004
# moved by less than a tenth of this between two builds of torch.
ROUNDED_COSINE = 1 - 1e-6
ROUNDED_LOGIT = 1e-3


def embed_again(lineup: Lineup, image: bytes, probe: Probe) -> Probe | None:
    """Embed the image of a stored probe, with today's device and precision; None if it is too small
    for the model, and had no embedding.

    Raises `InvalidRequest` if it is not that image, `ImageError`, `Overloaded`.
    """
    if probe.answer.sha256 is None:
        raise InvalidRequest("this look-up was asked with an embedding, and names no image")
    sha256 = hashlib.sha256(image).hexdigest()
    if sha256 != probe.answer.sha256:
        raise InvalidRequest(
            f"the probe of this look-up has the sha256 {probe.answer.sha256}, the image {sha256}"
        )
    if probe.vector is None:
        return None
    vector, logit = lineup.embed_picture(lineup.make_picture(image, lineup.picture_order))
    return replace(
        probe,
        vector=vector,
        logit=None if probe.logit is None else logit,
        computation=lineup.computation,
    )


def compare_again(
    stored: Probe, replayed: LookupAnswer, again: Probe, answer: LookupAnswer
) -> ReembeddedAnswer:
    """Compare a stored probe and its answer with the probe that was embedded again and its answer.

    The two answers were judged by the same rules and limits.
    """
    assert stored.vector is not None
    assert again.vector is not None
    cosine = _cosine(stored.vector, again.vector)
    difference = None
    if stored.logit is not None and again.logit is not None:
        difference = abs(stored.logit - again.logit)
    least, most = find_tolerance(stored.computation, again.computation)
    compared = ReembeddedAnswer(
        then=ComputationAnswer.of(stored.computation),
        now=ComputationAnswer.of(again.computation),
        cosine_similarity=cosine,
        logit_difference=difference,
        similarity_difference=_find_largest_difference(replayed, answer),
        allowed_cosine=least,
        allowed_logit_difference=most,
        equal_within=cosine >= least and (difference is None or difference <= most),
        verdicts=VerdictsAnswer.of(answer),
        words="",
    )
    return compared.model_copy(update={"words": _describe(compared, VerdictsAnswer.of(replayed))})


def find_tolerance(then: Computation | None, now: Computation | None) -> tuple[float, float]:
    """Return the smallest cosine and the largest difference of logits that are tolerated."""
    if then is not None and now is not None and is_alike(then, now):
        return ROUNDED_COSINE, ROUNDED_LOGIT
    rounded = sum(each is None or not each.is_exact for each in (then, now))
    return math.cos(rounded * math.acos(MINIMUM_COSINE)), rounded * MAXIMUM_LOGIT_DIFFERENCE


def _describe(compared: ReembeddedAnswer, verdicts: VerdictsAnswer) -> str:
    figures = f"similarities by {compared.similarity_difference:.1e}"
    if compared.logit_difference is not None:
        figures += f", the logit by {compared.logit_difference:.1e}"
    sides = f"{_name(compared.then)} then, {_name(compared.now)} now"
    words = (
        f"the probe embedded again is equal within the tolerance ({sides}): it moves {figures}"
        if compared.equal_within
        else f"the probe embedded again differs by more than {sides} explains (cosine similarity "
        f"{compared.cosine_similarity:.6f}): it moves {figures}"
    )
    if compared.verdicts == verdicts:
        return f"{words}; the verdicts are the same"
    return (
        f"{words}; the verdicts are similarity {compared.verdicts.similarity}, classifier "
        f"{compared.verdicts.classifier} instead of {verdicts.similarity}, {verdicts.classifier}"
    )


def _name(computation: ComputationAnswer) -> str:
    if computation.precision is None:
        return "nobody recorded in what precision"
    return f"{computation.precision} on {computation.device}"


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    (cosine,) = cosine_similarities(one[np.newaxis], other)
    return float(cosine)


def _find_largest_difference(one: LookupAnswer, other: LookupAnswer) -> float:
    """Return the largest difference of a similarity among the entries that both lists have."""
    found, others = _list_similarities(one), _list_similarities(other)
    return max((abs(found[each] - others[each]) for each in found.keys() & others), default=0.0)


def _list_similarities(answer: LookupAnswer) -> dict[int, float]:
    return {
        each.entry.id: each.cosine_similarity
        for each in answer.similarity.neighbours
        if each.cosine_similarity is not None
    }
