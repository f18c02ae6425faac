"""Where a recomputed answer differs from the stored one, and by how much.

Under the same rules every value of the answer is compared; only sentences may differ. Under other
rules the verdicts and what follows from them may differ too, so only what was measured is compared:
neighbours, similarities, logits, and the figures that both read from the same calibration.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from api.lookups.replays.json import Difference
from index.truth.lookups import take_evidence

# A later release may word sentences differently. The values that they state are compared.
# `*` stands for any place in a list.
WORDS = frozenset(
    {
        "/copies/not_looked_for",
        "/copies/stages/*/words",
        "/similarity/nearest_known_fake/copy_evidence/words",
        "/similarity/nearest_known_real/copy_evidence/words",
        "/similarity/neighbours/*/copy_evidence/words",
        "/statements",
        "/classifier/explanation",
        "/similarity/explanation",
        "/similarity/next_step",
        "/similarity/likelihood_ratio/words",
    }
)
# Similarities are computed in float64 and rounded to 12 decimals, figures are read from the stored
# document of a calibration. Another processor or another library for numbers rounds the last of 16
# digits differently; a thousand such steps stay below this.
ROUNDING = 1e-9

_NUMBER = re.compile(r"/\d+(?=/|$)")

# What is measured, by the part of an answer.
MEASURED: Mapping[str, Sequence[str]] = {
    "/method": ("generation", "index_digest"),
    "/classifier": ("logit",),
    "/similarity": ("searched", "nearest_similarity"),
    "/similarity/calibration": ("id", "generation", "corpus_size", "entries_since", "applies"),
    "/quality": ("shortest_side", "pdq_quality", "luminance_std"),
}
# What is read from the calibration for the probe's kind of delivery. Rules may choose another kind,
# or withhold a figure; then it is not compared.
FIGURES: Mapping[str, Sequence[str]] = {
    "/classifier": ("probability", "ece", "brier"),
    "/similarity/false_match_rate": ("estimate", "low", "high", "images", "sources"),
    "/similarity/likelihood_ratio": ("log10", "low", "high", "two_sided"),
}
OF_A_NEIGHBOUR = ("cosine_similarity", "hamming_distance", "perceptual_hash", "entry")
SAME_PICTURE = ("identical", "near_duplicate")  # relations that do not depend on a threshold


def find_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Return where two evidences differ, apart from sentences and from fields that came later."""
    return list(_differences("", then, now))


def find_largest(differences: Sequence[Difference]) -> float | None:
    """Return the largest difference of two numbers, 0 without any; None if one is not rounding."""
    largest = 0.0
    for each in differences:
        if not (_is_number(each.then) and _is_number(each.now)):
            return None
        largest = max(largest, abs(each.then - each.now))
    return largest if largest <= ROUNDING else None


def take_stored_sentences(evidence: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return recomputed evidence with the stored answer's sentences, and only with its fields."""
    worded = _take_sentences("", dict(evidence), stored)
    kept: dict[str, Any] = _take_fields(worded, stored)
    return kept


def _take_sentences(place: str, now: Any, stored: Any) -> Any:  # noqa: ANN401 -- any JSON
    if _is_words(place):
        return stored
    if isinstance(now, Mapping) and isinstance(stored, Mapping):
        return {
            key: _take_sentences(f"{place}/{key}", value, stored[key]) if key in stored else value
            for key, value in now.items()
        }
    if isinstance(now, list) and isinstance(stored, list) and len(now) == len(stored):
        pairs = enumerate(zip(now, stored, strict=True))
        return [_take_sentences(f"{place}/{n}", one, other) for n, (one, other) in pairs]
    return now


def _is_words(place: str) -> bool:
    return _NUMBER.sub("/*", place) in WORDS


def take_measured(stored: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the evidence of a stored answer, with what was measured again in its place.

    `stored` has the words of its release. Verdicts, and what follows from them, stay the stored
    ones, because other rules judged them.
    """
    evidence: dict[str, Any] = copy.deepcopy(take_evidence(stored))
    for place, names in MEASURED.items():
        old, new = _part(evidence, place), _part(now, place)
        old.update({name: new[name] for name in names if name in old and name in new})
    if _condition(evidence) == _condition(now):
        for place, names in FIGURES.items():
            old, new = _part(evidence, place), _part(now, place)
            stated = [name for name in names if old.get(name) is not None]
            old.update({name: new[name] for name in stated if new.get(name) is not None})
    similarity = evidence["similarity"]
    similarity["neighbours"] = _take_neighbours(
        similarity["neighbours"], now["similarity"]["neighbours"]
    )
    if similarity.get("nearest_known_real"):
        real = now["similarity"]["nearest_known_real"]
        similarity["nearest_known_real"] = real and _take_neighbour(
            similarity["nearest_known_real"], real
        )
    return evidence


def _take_neighbours(stored: list[Any], now: list[Any]) -> list[Any]:
    """Match neighbours by their entries: in which order they stand is a rule."""
    found = {each["entry"]["id"]: each for each in now}
    if found.keys() != {each["entry"]["id"] for each in stored}:
        return now
    return [_take_neighbour(each, found[each["entry"]["id"]]) for each in stored]


def _take_neighbour(stored: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    measured = _take_fields({name: now[name] for name in OF_A_NEIGHBOUR if name in stored}, stored)
    if stored["relation"] in SAME_PICTURE or now["relation"] in SAME_PICTURE:
        measured["relation"] = now["relation"]
    return {**stored, **measured}


def _condition(document: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- any JSON
    return _part(document, "/similarity/calibration").get("condition")


def _part(document: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a part of a document; an empty one where it is missing or null."""
    part: Any = document
    for key in place.strip("/").split("/"):
        part = part.get(key) or {}
    return part if isinstance(part, dict) else {}


def _take_fields(evidence: Any, stored: Any) -> Any:  # noqa: ANN401 -- any JSON
    """Return recomputed evidence without the fields that the stored answer does not have."""
    if isinstance(evidence, Mapping) and isinstance(stored, Mapping):
        kept = (key for key in evidence if key in stored)
        return {key: _take_fields(evidence[key], stored[key]) for key in kept}
    if isinstance(evidence, list) and isinstance(stored, list) and len(evidence) == len(stored):
        return [_take_fields(one, other) for one, other in zip(evidence, stored, strict=True)]
    return evidence


def _differences(place: str, then: Any, now: Any) -> Iterator[Difference]:  # noqa: ANN401 -- any JSON
    """Yield where two JSON values differ.

    Sentences are not compared, nor fields that the stored answer does not have.
    """
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key, value in then.items():
            if not _is_words(f"{place}/{key}"):
                yield from _differences(f"{place}/{key}", value, now.get(key))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from _differences(f"{place}/{number}", one, other)
    elif then != now:
        yield Difference(place=place or "/", then=then, now=now)


def _is_number(value: Any) -> bool:  # noqa: ANN401 -- any JSON
    return isinstance(value, float) and math.isfinite(value)
