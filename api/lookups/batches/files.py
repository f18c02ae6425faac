"""Files looked up: prepared ahead, answered in groups.

While answers are found and printed, threads read the next files and have them decoded and embedded.
A group takes the files that are ready, in their order, and never waits for more: so the first file
is answered as soon as if it were alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from api.fields import FailedItem
from api.lineup import Lineup
from api.lookups.answers.json import LookupAnswer, ProbeLookup
from api.lookups.batches.together import answer_together
from api.lookups.lookup import PreparedLookup, prepare_image
from api.lookups.request import LookupQuery
from api.sources.access import read_any_file
from api.sources.item import UnreadableItem, make_printable
from embedder.decoding.threads import count_cores
from embedder.errors import ImageError

# More would only hold more files in memory: the decoders and the model take them one by one.
MAX_THREADS = 16
# Files that are ready or being prepared: as many as the threads work on, and as many again.
AHEAD_PER_THREAD = 2

NOT_USABLE = (ImageError, UnreadableItem)


class _File(NamedTuple):
    name: str
    prepared: Future[PreparedLookup | FailedItem]

    @property
    def is_ready(self) -> bool:
        """Whether it can be answered with others."""
        return self.prepared.done() and self.prepared.exception() is None


def look_up_files(
    lineup: Lineup, paths: Iterable[Path], query: LookupQuery
) -> Generator[ProbeLookup | FailedItem]:
    """Answer for each file, in their order. A file that cannot be read or decoded is a row with its
    reason, and does not end the search.

    Raises like `look_up_image` otherwise, when the files before are answered.
    """
    count = min(count_cores() + 1, MAX_THREADS, lineup.batcher.queue_size)
    remaining, ahead = iter(paths), deque[_File]()
    with ThreadPoolExecutor(count, "lineup-probes") as threads:

        def fill() -> None:
            for path in islice(remaining, AHEAD_PER_THREAD * count - len(ahead)):
                name = make_printable(str(path))
                ahead.append(_File(name, threads.submit(_prepare, lineup, path, name, query)))

        try:
            fill()
            while ahead:
                group = _take_ready(ahead)
                fill()  # the threads go on while the group is answered
                yield from _answer(lineup, group)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _prepare(
    lineup: Lineup, path: Path, name: str, query: LookupQuery
) -> PreparedLookup | FailedItem:
    try:
        data = read_any_file(str(path), lineup.limits.max_image_bytes)
        return prepare_image(lineup, data, query)
    except NOT_USABLE as err:
        return _describe_failure(name, err)


def _take_ready(ahead: deque[_File]) -> list[_File]:
    """Wait for the first file, and take it with those behind it that are ready."""
    group = [ahead.popleft()]
    group[0].prepared.result()
    while ahead and ahead[0].is_ready:
        group.append(ahead.popleft())
    return group


def _answer(lineup: Lineup, group: Sequence[_File]) -> Generator[ProbeLookup | FailedItem]:
    prepared = [each.prepared.result() for each in group]
    answers = iter(
        answer_together(lineup, [each for each in prepared if isinstance(each, PreparedLookup)])
    )
    for file, each in zip(group, prepared, strict=True):
        answer = next(answers) if isinstance(each, PreparedLookup) else each
        if isinstance(answer, LookupAnswer):
            yield ProbeLookup(name=file.name, lookup=answer)
        elif isinstance(answer, FailedItem):
            yield answer
        elif isinstance(answer, NOT_USABLE):
            yield _describe_failure(file.name, answer)
        else:
            raise answer


def _describe_failure(name: str, err: ImageError | UnreadableItem) -> FailedItem:
    return FailedItem(name=name, reason=err.reason, detail=str(err))
