"""The tables of docs/evidence.md about the classifier's words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from index.calibration.calibration import AS_IS
from index.verdict import ClassifierPolicy
from tests.benchmarks.evidence_limits import (
    FALSE_ALARM_RATE,
    MISS_RATE,
    LeftOut,
    count,
    halve_groups,
    leave_out_groups,
    list_kinds,
)
from tests.benchmarks.evidence_pictures import Copies, Pictures
from tests.benchmarks.evidence_tables import percent, show

WORDS = {
    "generator": "wrong `no_traces`: known fakes, by generator",
    "source": "wrong `no_traces`: known fakes, by declared source",
    "collection": "wrong `synthetic`: photographs, by collection",
}
LEFT_OUT, HALVED, TRAINING = "each in turn", "half of them", "all but the training's"


def show_limits(
    pictures: Pictures,
    copies: Copies,
    model: ClassifierPolicy | None,
    splits: int,
    *,
    training_is_known: bool,
) -> None:
    print(
        f"`no_traces` may miss {percent(MISS_RATE)} of known fakes, `synthetic` may be said of "
        f"{percent(FALSE_ALARM_RATE)} of known-real images."
    )
    for by, words in WORDS.items():
        rows, every = [], list[LeftOut]()
        for condition, kind in list_kinds(pictures, copies, by):
            found = {LEFT_OUT: list(leave_out_groups(condition, kind, model))}
            if condition == AS_IS:
                found[HALVED] = [
                    halve_groups(condition, kind, model, seed) for seed in range(splits)
                ]
            if training_is_known and 0 < kind.unseen.sum() < len(kind.unseen):
                found[TRAINING] = [count("unseen", condition, kind, kind.unseen, model)]
            every += found[LEFT_OUT]
            rows += [[condition, way, *row_of(some)] for way, some in found.items()]
        head = ("delivered", "left out", "model's limit", "plain quantile", "the limit")
        met = sum(each.holds for each in every)
        title = (
            f"{words[0].upper()}{words[1:]}; the stated interval meets {met} of {len(every)} "
            f"({percent(met / len(every))})"
        )
        other = "photographs with it" if by != "collection" else "fakes with it"
        show(title, (*head, "group by group", "stated", other), rows)
        show_groups(by, every)


def row_of(some: Sequence[LeftOut]) -> list[str]:
    n = sum(each.n for each in some)
    stated = [each.stated for each in some if each.stated is not None]
    by_group = [each.own / each.n for each in some]
    return [
        *(
            percent(sum(getattr(each, name) for each in some) / n)
            for name in ("model", "quantile", "own")
        ),
        f"{percent(np.mean(by_group))} (0 to {percent(max(by_group))})" if len(some) > 1 else "-",
        "-"
        if not stated
        else f"{percent(np.median([each.estimate for each in stated]))} "
        f"({percent(np.median([each.low for each in stated]))} to "
        f"{percent(np.median([each.high for each in stated]))})",
        percent(np.mean([each.others for each in some])),
    ]


def show_groups(by: str, every: Sequence[LeftOut]) -> None:
    """The largest groups, over all deliveries."""
    names = dict.fromkeys(each.name for each in every)
    rows = []
    for name in sorted(names, key=lambda name: -sum(e.n for e in every if e.name == name))[:15]:
        some = [each for each in every if each.name == name]
        shares = [each.own / each.n for each in some]
        rows.append(
            [
                name,
                str(max(each.n for each in some)),
                f"{percent(min(shares))} to {percent(max(shares))}",
                f"{sum(each.holds for each in some)} of {len(some)}",
            ]
        )
    title = f"The same by {by}: the largest, range over deliveries"
    show(title, (by, "images", "beyond the limit", "meets its interval"), rows)
