"""The JSON of corpora and entries, and what a new corpus may be called."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from api.corpora.json import EntryAnswer, NewCorpus
from index.truth.corpora import CorpusKind, Keep
from index.truth.databases.database import Database
from index.truth.entries import list_entries
from tests.api.modelless import fill


@pytest.mark.parametrize("name", ["", "A", "-a", "a" * 65, "a/b", "a b", "ä", "a\n"])
def test_a_name_that_no_path_can_hold_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        NewCorpus(name=name)


def test_a_corpus_holds_known_fakes_and_keeps_thumbnails_unless_it_says_otherwise() -> None:
    new = NewCorpus(name="casework-2026.1_a")

    assert (new.kind, new.keep, new.description) == (CorpusKind.KNOWN_FAKE, Keep.THUMBNAIL, "")


def test_an_entry_survives_json(database: Database) -> None:
    fill(database, "known", [1], generator="sdxl", extra={"ü": [1, None, {"a": 2.5}]})
    with database.read() as conn:
        (entry,) = list_entries(conn, "known")

    answer = EntryAnswer.of(entry)

    assert EntryAnswer.model_validate_json(answer.model_dump_json()) == answer
    assert (answer.id, answer.corpus, answer.sha256) == (entry.id, "known", entry.sha256)
    assert answer.provenance == {"ü": [1, None, {"a": 2.5}]}
