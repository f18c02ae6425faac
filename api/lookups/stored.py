"""Stored answers and the words of earlier releases.

A look-up keeps the exact text of its answer, and `evidence_sha256` is a digest of that text. So an
answer keeps the words of the release that stored it, and is translated whenever it is read. Up to
schema 0004 the relation `below_threshold` was `unrelated`, and the re-encodings were `views`. Up to
rules 1 the classifier's verdict `no_traces` was `authentic`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from api.lookups.answers.json import LookupAnswer
from api.server_paths import name_provenance
from index.truth.databases.database import Database
from index.truth.lookups import get_lookup

_RELATIONS = {"unrelated": "below_threshold"}
_STABILITY = {"views": "reencodings"}
_CLASSIFIER = {"authentic_logit": "no_traces_logit"}
_OPINIONS = {"authentic": "no_traces", "authentic_limit_reached": "no_traces_limit_reached"}
_NEAREST = ("nearest_known_fake", "nearest_known_real")
_SENTENCES = {
    "the limit for authentic": "the limit for no synthetic traces",
    "(authentic up to": "(no traces up to",
}


def find_answer(database: Database, lookup_id: str) -> LookupAnswer:
    """The stored answer of an earlier look-up. Raises `UnknownLookup`."""
    with database.read() as connection:
        stored = get_lookup(connection, lookup_id)
    return LookupAnswer.model_validate(name_paths(in_words_of_today(stored.answer)))


def name_paths(document: Mapping[str, Any]) -> dict[str, Any]:
    """An answer without the paths of this machine, which earlier releases stored with entries.

    Its digest is still that of the stored text.
    """
    return _with_provenances(document, lambda entry: name_provenance(entry["provenance"]))


def take_stored_paths(now: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of today with the provenance that a stored one gives an entry, if they differ only
    in what `name_paths` changes: for the digest.
    """
    before = {each["entry"]["id"]: each["entry"]["provenance"] for each in _neighbours(stored)}

    def take(entry: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- any JSON
        then = before.get(entry["id"], entry["provenance"])
        return then if name_provenance(then) == entry["provenance"] else entry["provenance"]

    return _with_provenances(now, take)


def _neighbours(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    similarity = document["similarity"]
    nearest = [similarity.get(key) for key in _NEAREST]
    return [*similarity["neighbours"], *(each for each in nearest if each)]


def _with_provenances(
    document: Mapping[str, Any], choose: Callable[[Mapping[str, Any]], Any]
) -> dict[str, Any]:
    def change(neighbour: Mapping[str, Any]) -> dict[str, Any]:
        entry = neighbour["entry"]
        return {**neighbour, "entry": {**entry, "provenance": choose(entry)}}

    similarity = {**document["similarity"]}
    similarity["neighbours"] = list(map(change, similarity["neighbours"]))
    for key in _NEAREST:
        if similarity.get(key):
            similarity[key] = change(similarity[key])
    return {**document, "similarity": similarity}


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
