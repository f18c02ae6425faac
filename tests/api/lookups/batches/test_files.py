"""Files looked up: in their order, each answered as if it were alone, whatever is made ahead."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from api.fields import FailedItem
from api.lineup import Lineup
from api.lookups.answers.json import ProbeLookup
from api.lookups.batches.files import AHEAD_PER_THREAD, MAX_THREADS, look_up_files
from api.lookups.lookup import look_up_image
from api.lookups.request import LookupQuery, SearchFilter
from api.lookups.stored import find_answer
from index.errors import UnknownCorpus
from tests.api.small_lineup import encoded, open_small, picture

KNOWN, NEW = encoded(picture(0)), encoded(picture(700))
QUERY = LookupQuery(k=2)


def write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def test_a_file_that_cannot_be_looked_up_does_not_end_the_search(
    filled: Lineup, tmp_path: Path
) -> None:
    paths = write(tmp_path, {"a.png": KNOWN, "b.png": b"no image", "d.png": NEW})
    paths.insert(2, tmp_path / "c.png")
    first, broken, missing, last = look_up_files(filled, paths, QUERY)

    assert isinstance(first, ProbeLookup)
    assert isinstance(last, ProbeLookup)
    assert (first.name, last.name) == (str(paths[0]), str(paths[3]))
    assert len(first.lookup.similarity.neighbours) == 2
    assert isinstance(broken, FailedItem)
    assert isinstance(missing, FailedItem)
    assert (broken.name, missing.name) == (str(paths[1]), str(paths[2]))
    assert broken.reason
    assert missing.reason != broken.reason


@pytest.mark.parametrize("queue_size", [1, 64])
def test_many_files_are_answered_in_order_like_each_alone_and_stored(
    tmp_path: Path, folder: Path, queue_size: int
) -> None:
    """Also where the model takes one picture at a time, and refuses who does not wait."""
    data = {f"{seed:02}.png": encoded(picture(seed)) for seed in range(700, 720)}
    paths = write(tmp_path, data)
    own = shutil.copytree(folder, tmp_path / "data")
    with open_small(own, queue_size=queue_size) as lineup:
        alone = [look_up_image(lineup, each, QUERY).evidence_sha256 for each in data.values()]
        found = list(look_up_files(lineup, paths, QUERY))
        answers = [each for each in found if isinstance(each, ProbeLookup)]
        assert [each.name for each in answers] == [str(path) for path in paths]
        assert [each.lookup.evidence_sha256 for each in answers] == alone
        assert [find_answer(lineup.database, each.lookup.id) for each in answers] == [
            each.lookup for each in answers
        ]


def test_the_first_file_is_answered_before_the_last_is_read(filled: Lineup, tmp_path: Path) -> None:
    (path,) = write(tmp_path, {"a.png": NEW})
    taken = 0

    def name() -> Iterator[Path]:
        nonlocal taken
        for taken in range(1, 10_001):  # noqa: B007 -- read below
            yield path

    with closing(look_up_files(filled, name(), QUERY)) as results:
        assert isinstance(next(results), ProbeLookup)
        assert taken <= 2 * AHEAD_PER_THREAD * MAX_THREADS


def test_an_error_of_the_search_is_raised(filled: Lineup, tmp_path: Path) -> None:
    paths = write(tmp_path, {"a.png": NEW, "b.png": KNOWN})
    nowhere = LookupQuery(filter=SearchFilter(corpora=["nowhere"]))
    with pytest.raises(UnknownCorpus):
        list(look_up_files(filled, paths, nowhere))


def test_without_files_there_is_nothing_to_answer(filled: Lineup) -> None:
    assert list(look_up_files(filled, [], QUERY)) == []
