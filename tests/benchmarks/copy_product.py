"""Lineup in the benchmark of copies: a data folder that its own ingest fills, and look-ups of it.

All references are known fakes. Each copy is looked up as the command does, with the settings that a
new installation has. What was found is kept line by line, so that a run that was stopped continues.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from api.ingest.request import IngestRequest
from api.lineup import Lineup
from api.lookups.answers.json import LookupAnswer
from api.lookups.lookup import look_up_image
from api.lookups.request import LookupQuery
from api.settings import Settings
from api.worker.running import work_on
from api.worker.starting import start_ingest
from embedder.errors import ImageError
from index.truth.corpora import CorpusKind
from tests.benchmarks.copy_edits import GROUPS, Edit

CORPUS = "references"
ERROR, NOT_FOUND = "error", "not found"
# The relations that call a reference a version of the probe, and the value of each pair: its
# relation, then how strong the match is.
COPIES = {"identical": 5.0, "near_duplicate": 4.0, "edited_copy": 3.0}
COUNTED = ("identical", "near_duplicate", "edited_copy", "twins", "possible_copy", "error")
LEAD, LEAD_VALUE = "possible_copy", 2.0
RULE = 3.0


@dataclass(frozen=True)
class Found:
    """One entry in an answer: which file it is of, how it is related, and by what numbers."""

    sha256: str
    relation: str
    cosine: float | None
    bits: int | None
    descriptor: float | None
    inliers: int | None
    probability: float | None
    covered: tuple[float, float] | None = None

    @property
    def value(self) -> float:
        """The larger, the surer it is a copy: copies from 3, leads from 2, others by cosine."""
        strength = max(
            0 if self.inliers is None else self.inliers / (self.inliers + 50),
            0 if self.bits is None else (1 - self.bits / 256) / 2,
            0 if self.descriptor is None else self.descriptor / 2,
        )
        base = COPIES.get(self.relation, LEAD_VALUE if self.relation == LEAD else 0.0)
        return base + (0.99 * strength if base else (self.cosine or 0.0))


@dataclass(frozen=True)
class Looked:
    """What the look-up of one file answered: the entries, the verdict, milliseconds of its parts.

    `error` is why there is no answer, None where there is one.
    """

    found: tuple[Found, ...]
    verdict: str
    timings: Mapping[str, float]
    error: str | None = None

    def relation_of(self, sha256: frozenset[str]) -> str:
        """How the best of these files is related; `NOT_FOUND` where none is in the answer."""
        if self.error is not None:
            return ERROR
        own = [each for each in self.found if each.sha256 in sha256]
        return max(own, key=lambda each: each.value).relation if own else NOT_FOUND


@contextmanager
def open_filled(data: Path, files: Sequence[Path], descriptor: str) -> Iterator[Lineup]:
    """Open a data folder whose corpus has these files; they are ingested if they are not there."""
    settings = Settings(data_dir=data, offline=True, device="cpu", copy_descriptor=descriptor)
    with Lineup.open(settings, migrate=True) as lineup:
        request = IngestRequest(
            sources=[str(file.absolute()) for file in files],
            corpus=CORPUS,
            kind=CorpusKind.KNOWN_FAKE,
        )
        job = work_on(lineup, start_ingest(lineup.database, lineup.space, request))
        print(f"{data.name}: {job.counts}", flush=True)
        lineup.index.settle()
        yield lineup


def look_up_all(
    lineup: Lineup, files: Sequence[Path], kept: Path, query: LookupQuery | None = None
) -> list[Looked]:
    """Look up each file; answers in `kept` (JSON Lines, in the order of the files) are read."""
    done = []
    if kept.is_file():
        done = [json.loads(line) for line in kept.read_text().splitlines()]
    if [each["file"] for each in done] != [file.name for file in files[: len(done)]]:
        raise SystemExit(f"{kept} has the answers for other files: remove it")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("a") as out:
        for file in files[len(done) :]:
            looked = look_up(lineup, file.read_bytes(), query or LookupQuery())
            done.append({"file": file.name, **asdict(looked)})
            out.write(json.dumps(done[-1]) + "\n")
            out.flush()
    return [read_looked(each) for each in done]


def look_up(lineup: Lineup, data: bytes, query: LookupQuery) -> Looked:
    """Look one file up. An image that is refused is no answer, and counts as not found."""
    try:
        answer = look_up_image(lineup, data, query)
    except ImageError as err:
        return Looked((), ERROR, {}, f"{err.reason}: {err}")
    timings = answer.timings.model_dump(mode="json")
    return Looked(
        tuple(list_found(answer)),
        answer.similarity.verdict.value,
        {name: value for name, value in timings.items() if isinstance(value, int | float)},
    )


def list_found(answer: LookupAnswer) -> Iterator[Found]:
    """List the entries of an answer once each: its list, and the nearest known fake."""
    nearest = answer.similarity.nearest_known_fake
    seen = set()
    for each in [*answer.similarity.neighbours, *([] if nearest is None else [nearest])]:
        if each.entry.sha256 in seen:
            continue
        seen.add(each.entry.sha256)
        shown = each.copy_evidence
        fit = None if shown is None else shown.correspondence
        distances = [each.hamming_distance, shown and shown.hamming_distance]
        yield Found(
            each.entry.sha256,
            each.relation or "",
            each.cosine_similarity,
            min((bits for bits in distances if bits is not None), default=None),
            None if shown is None else shown.descriptor_similarity,
            None if fit is None else fit.inliers,
            None if shown is None else shown.false_match_probability,
            None if fit is None else (fit.probe_covered, fit.entry_covered),
        )


def read_looked(kept: dict[str, Any]) -> Looked:
    found = tuple(Found(**each) for each in kept["found"])
    return Looked(found, kept["verdict"], kept["timings"], kept["error"])


def make_values(answers: Sequence[Looked], references: Sequence[str]) -> NDArray[np.float32]:
    """Return the values `(q, r)` of the references, named by sha256; -inf for those not listed."""
    places = {sha256: place for place, sha256 in enumerate(references)}
    values = np.full((len(answers), len(references)), -np.inf, np.float32)
    for row, looked in enumerate(answers):
        for each in looked.found:
            values[row, places[each.sha256]] = each.value
    return values


def make_relations(
    answers: Sequence[Looked], originals: Sequence[frozenset[str]], edits: Sequence[Edit]
) -> Table:
    """One row an edit: how the original is related, by share; and how many look-ups failed."""
    kinds = [*COPIES, LEAD, "similar", "below_threshold", "", NOT_FOUND, ERROR]
    table = Table("edit", "copies", *(kind or "listed, no threshold" for kind in kinds))
    relations: dict[str, Counter[str]] = {}
    groups = {}
    for looked, original, edit in zip(answers, originals, edits, strict=True):
        relations.setdefault(edit.name, Counter())[looked.relation_of(original)] += 1
        groups[edit.name] = edit.group
    for name in sorted(relations, key=lambda each: (GROUPS.index(groups[each]), each)):
        counts = relations[name]
        shares = [f"{counts[kind] / counts.total():.2f}" if counts[kind] else "" for kind in kinds]
        table.add_row(name, str(counts.total()), *shares)
    return table


def make_timings(answers: Sequence[Looked]) -> Table:
    """The milliseconds of the parts of look-ups: median and 95th percentile."""
    table = Table("part of a look-up", "p50 ms", "p95 ms")
    for name in dict.fromkeys(name for looked in answers for name in looked.timings):
        values = [looked.timings[name] for looked in answers if name in looked.timings]
        p50, p95 = np.quantile(values, (0.5, 0.95))
        table.add_row(name, f"{p50:.1f}", f"{p95:.1f}")
    return table


def add_strangers(
    table: Table,
    what: str,
    names: Sequence[str],
    answers: Sequence[Looked],
    known: Sequence[tuple[frozenset[str], frozenset[str]]],
) -> None:
    """Add a row: how many look-ups found a copy, or a lead, where there is none.

    `known` are the files that are right for each look-up, and its twins: neither counts as false,
    and twins are counted on their own. False and twin copies are named.
    """
    counts, pairs = Counter[str](), list[str]()
    for name, looked, (right, twins) in zip(names, answers, known, strict=True):
        others = [each for each in looked.found if each.sha256 not in right]
        false = [each for each in others if each.relation in COPIES and each.sha256 not in twins]
        alike = [each for each in others if each.relation in COPIES and each.sha256 in twins]
        counts.update({each.relation for each in false})
        counts["twins"] += bool(alike)
        counts[LEAD] += any(each.relation == LEAD for each in others)
        counts[ERROR] += looked.error is not None
        pairs += [
            f"{name} ~ {each.sha256[:12]} {each.relation} {each.bits} bits, {each.inliers} inliers"
            for each in (false + alike)[:1]
        ]
    table.add_row(
        what, str(len(answers)), *(str(counts[each]) for each in COUNTED), "\n".join(pairs[:20])
    )
