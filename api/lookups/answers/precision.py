"""What computed the probe and the corpora, and how far that moves a similarity if it differs.

The panel (`embedder.network.panel`) measures how far a device and a precision turn the embedding of
a picture from that of float32 on a CPU: by an angle of at most acos(smallest cosine). Angles add
up: between a probe of one computation and an entry of another, the angle is wrong by at most the
sum of both. So a similarity cos(t) lies between cos(t + sum) and cos(t - sum). For similarities
near 1 that is far tighter than the bound for any two vectors, sqrt(2 - 2 cosine). The panel is a
sample: a picture that it does not have may turn further.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from api.lookups.answers.method_json import ComputationAnswer, ComputedAnswer
from index.truth.computations import Computation

# Similarities are shown with four digits. A smaller movement is not worth a sentence.
VISIBLE = 0.00005


def describe_computed(
    probe: Computation | None, corpora: Sequence[Computation | None], nearest: float | None
) -> ComputedAnswer:
    """What computed the probe and the corpora, with the movement of the nearest similarity."""
    return ComputedAnswer(
        probe=None if probe is None else ComputationAnswer.of(probe),
        corpora=[ComputationAnswer.of(each) for each in corpora],
        similarity_moves_by=_find_movement(probe, corpora, nearest),
    )


def find_angle(computation: Computation) -> float | None:
    """Return the angle in radians by which a computation turns embeddings; None: not measured."""
    if computation.is_exact:
        return 0.0
    if computation.check is None:
        return None
    return math.acos(computation.check.smallest_cosine)


def find_largest_movement(similarity: float, angle: float) -> float:
    """Return how far a cosine similarity moves at most when the angle is wrong by `angle`."""
    at = math.acos(min(max(similarity, -1.0), 1.0))
    furthest, nearest = min(at + angle, math.pi), max(at - angle, 0.0)
    return max(math.cos(at) - math.cos(furthest), math.cos(nearest) - math.cos(at))


def is_alike(one: Computation, other: Computation) -> bool:
    """Return whether both are the same precision on the same kind of device."""
    return (_kind(one), one.precision) == (_kind(other), other.precision)


def state_precision(
    computed: ComputedAnswer | None, nearest: float | None
) -> Iterator[tuple[str, str]]:
    """Yield a sentence where probe and corpora were not embedded alike, or nobody knows.

    `nearest` is the similarity that a difference may have moved.
    """
    if computed is None or computed.probe is None:
        return
    own = _name(computed.probe)
    if any(each.precision is None for each in computed.corpora):
        yield (
            "precision",
            f"the probe was embedded in {own}; nobody recorded it for some embeddings of these "
            "corpora, which an earlier release or another program made",
        )
        return
    moves_by = computed.similarity_moves_by
    others = [each for each in computed.corpora if _name(each) != own]
    if not others or (moves_by is not None and moves_by < VISIBLE):
        return
    also = "also " if len(others) < len(computed.corpora) else ""
    words = (
        f"the probe was embedded in {own}, these corpora {also}in "
        f"{' and '.join(map(_name, others))}"
    )
    if moves_by is None or nearest is None:
        yield "precision", f"{words}; how far that moves similarities was not measured"
        return
    figures = "; ".join(_describe_check(each) for each in (computed.probe, *others) if each.check)
    yield (
        "precision",
        f"{words}, which may move the similarity {nearest:.4f} by up to {moves_by:.4f} (compared "
        f"with float32 on a CPU, {figures})",
    )


def _describe_check(computation: ComputationAnswer) -> str:
    check = computation.check
    assert check is not None
    return (
        f"{_name(computation)}: cosine at least {check.smallest_cosine:.6f} and logit within "
        f"{check.largest_logit_difference:.3f} on {check.images} pictures"
    )


def _find_movement(
    probe: Computation | None, corpora: Sequence[Computation | None], nearest: float | None
) -> float | None:
    if probe is None or nearest is None or None in corpora:
        return None
    others = [each for each in corpora if each is not None and not is_alike(each, probe)]
    if not others:
        return 0.0
    angles = [find_angle(each) for each in (probe, *others)]
    known = [each for each in angles if each is not None]
    if len(known) < len(angles):
        return None
    of_probe, *of_others = known
    return find_largest_movement(nearest, of_probe + max(of_others))


def _kind(computation: Computation) -> str:
    return computation.device.partition(":")[0]


def _name(computation: ComputationAnswer) -> str:
    device = (computation.device or "").partition(":")[0]
    return f"{computation.precision} on {device}"
