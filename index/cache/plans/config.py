"""How the index of a space is built: every choice with its cost. The defaults were measured
(docs/benchmarks.md).

The manifest of a snapshot states what was built with these numbers, and which recall it has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

# FAISS recommends 39 to 256 training rows for a list. On 200,000 x 384 of `clustered` data in 512
# lists, the nearest list has 99.6 % of the 10 nearest rows with 128, 96.8 % with 64 and 94.5 % with
# 32 (2026-11-30).
TRAINING_ROWS_PER_LIST = 128
# They are in memory at once: 201 MB of 384 float32.
MOST_TRAINING_ROWS = 131_072
FEWEST_TRAINING_ROWS = 16_384


class Plan(StrEnum):
    """How the index finds candidates.

    The similarities in an answer are always computed from the stored float32 vectors.
    """

    FLAT = "flat"  # every vector is compared: exact
    CODES = "codes"  # every compressed code is compared; the best candidates exactly
    LISTS = "lists"  # the codes of the lists nearest to the probe; the best candidates exactly


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """Trade-offs of the index.

    `flat_limit`: up to this many entries, every search scans all vectors, exactly, and no other
    plan is tried. 4,096 x 384 take 0.12 ms, and no plan takes less than 0.07 (2026-11-30). A larger
    limit gives more answers that are exact, and slower ones: 20,000 x 384 take 0.8 ms.

    `exact_allowance`: of the plans that were measured, the exact one is taken if it takes at most
    this many times as long as the quickest. A tenth is what two measurements of one plan differ by.

    `recall_target`, `recall_k`: the number of candidates is raised until recall@k reaches the
    target, on probes drawn from the corpus and on stored look-ups. A higher target is slower: each
    candidate costs some 0.4 microseconds.

    `recall_probes`: the number of probes. The standard error of a recall of 0.99 is about 0.15 %
    with 512 probes at k = 10.

    `max_lists`: the number of inverted lists is the square root of the number of rows, up to this
    limit. More lists take longer to train, and no less to search: on 1,000,000 x 384 of
    `clustered` data one of 1,024 lists has 99.6 % of the nearest ten.

    `measure_growth`: recall is measured again when the corpus has grown by this factor since the
    last measurement and nothing changes for a moment. Measuring compares each probe with every
    vector, some 10 s of one core for 1,000,000 x 384. If changes never pause, recall is measured
    when the codes are trained again.

    `retrain_growth`: codes are trained again when the corpus has grown by this factor.

    `compact_fraction`: dead positions are reclaimed when they are more than this share of the
    sealed segment.

    `build_threads`: threads of a build that a person waits for.

    `background_threads`: threads of a build beside searches. With as many threads as cores, each
    moment in which a search sleeps can cost it a turn of the scheduler, some 3 ms.
    """

    flat_limit: int = 4096
    exact_allowance: float = 1.1
    recall_target: float = 0.99
    recall_k: int = 10
    recall_probes: int = 512
    max_lists: int = 4096
    measure_growth: float = 1.1
    retrain_growth: float = 2.0
    compact_fraction: float = 0.10
    build_threads: int = 2
    background_threads: int = 1

    def lists_for(self, rows: int) -> int:
        """Return the number of inverted lists for a number of rows: a power of two, so that it
        rarely changes.
        """
        return min(self.max_lists, 1 << round(math.log2(max(1, rows)) / 2))

    def training_rows(self, rows: int) -> int:
        """Return how many of a number of rows the codes are trained on."""
        wanted = max(self.lists_for(rows) * TRAINING_ROWS_PER_LIST, FEWEST_TRAINING_ROWS)
        return min(rows, wanted, MOST_TRAINING_ROWS)


DEFAULT_CONFIG = IndexConfig()
