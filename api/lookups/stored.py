"""Stored answers and the words of earlier releases.

A look-up keeps the exact text of its answer, and `evidence_sha256` is a digest of that text. So an
answer keeps the words of the release that stored it, and is translated whenever it is read. Up to
schema 0004 the relation `below_threshold` was `unrelated`, and the re-encodings were `views`. Up to
rules 1 the classifier's verdict `no_traces` was `authentic`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.lookups.json import LookupAnswer
from index.truth.database import Database
from index.truth.lookups import get_lookup

_RELATIONS = {"unrelated": "below_threshold"}
_STABILITY = {"views": "reencodings"}
_CLASSIFIER = {"authentic_logit": "no_traces_logit"}
_OPINIONS = {"authentic": "no_traces", "authentic_limit_reached": "no_traces_limit_reached"}
_SENTENCES = {
    "the limit for authentic": "the limit for no synthetic traces",
    "(authentic up to": "(no traces up to",
}


def find_answer(database: Database, lookup_id: str) -> LookupAnswer:
    """The stored answer of an earlier look-up. Raises `UnknownLookup`."""
    with database.read() as connection:
        stored = get_lookup(connection, lookup_id)
    return LookupAnswer.model_validate(in_words_of_today(stored.answer))


def in_words_of_today(document: Any) -> dict[str, Any]:  # noqa: ANN401 -- JSON as stored
    """An answer as a release stored it, with the words that this release uses."""
    if not isinstance(document, Mapping):
        raise TypeError("the answer of a look-up is a JSON object")
    answer = dict(document)
    similarity = answer["similarity"] = dict(answer["similarity"])
    similarity["neighbours"] = [_related(each) for each in similarity["neighbours"]]
    if similarity.get("nearest_known_real"):
        similarity["nearest_known_real"] = _related(similarity["nearest_known_real"])
    if answer.get("stability"):
        answer["stability"] = {
            _STABILITY.get(key, key): value for key, value in answer["stability"].items()
        }
    if answer.get("classifier"):
        answer["classifier"] = {
            _CLASSIFIER.get(key, key): _classified(key, value)
            for key, value in answer["classifier"].items()
        }
    return answer


def _classified(key: str, value: Any) -> Any:  # noqa: ANN401 -- any JSON
    if key in ("verdict", "reason"):
        return _OPINIONS.get(value, value)
    if key == "explanation":
        for earlier, today in _SENTENCES.items():
            value = value.replace(earlier, today)
    return value


def _related(neighbour: Mapping[str, Any]) -> dict[str, Any]:
    relation = neighbour["relation"]
    return {**neighbour, "relation": _RELATIONS.get(relation, relation)}
