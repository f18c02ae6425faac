"""The tables of docs/evidence.md about likelihood ratios, the calibrated probability and
attribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tests.benchmarks.evidence_figures import Calibrated
from tests.benchmarks.evidence_pictures import Pictures
from tests.benchmarks.evidence_ratios import (
    Ratios,
    leave_out_generators,
    measure_attributions,
    measure_classifier_errors,
    measure_ratios,
)
from tests.benchmarks.evidence_tables import percent, share, show, spread


def show_ratios(
    pictures: Pictures, ways: Mapping[str, str], halved: Mapping[str, Sequence[Calibrated]]
) -> None:
    rows, probability = [], []
    for by, words in ways.items():
        found = [measure_ratios(pictures, own) for own in halved[by]]
        for side in ("one-sided", "two-sided"):
            some = [each[side] for each in found if side in each]
            if some:
                rows.append([words, side, *_ratio_row(some)])
        errors = [
            each
            for own in halved[by]
            if (each := measure_classifier_errors(pictures, own)) is not None
        ]
        if errors:
            probability.append([words, *(spread(each) for each in zip(*errors, strict=True))])
    head = (
        "split",
        "ratio",
        "Cllr",
        "Cllr-min",
        "stated, by picture",
        "stated, collections left out",
        "splits that state it",
        "Cllr of what is stated",
        "fakes with LR < 1",
        "photographs with LR > 1",
        "log10 bounds",
    )
    show("Likelihood ratios", head, rows)
    show(
        "ECE of the classifier's probability",
        ("split", "calibrated", "plain sigmoid", "stated"),
        probability,
    )


def _ratio_row(some: Sequence[Ratios]) -> list[str]:
    left_out = [each.left_out_cllr for each in some if each.left_out_cllr is not None]
    stated = [each.cllr for each in some if each.supported]
    return [
        spread([each.cllr for each in some]),
        spread([each.cllr_min for each in some]),
        spread([each.stated_cllr for each in some]),
        spread(left_out) if left_out else "-",
        f"{len(stated)} of {len(some)}",
        spread(stated) if stated else "-",
        percent(np.mean([each.misleading_fakes for each in some])),
        percent(np.mean([each.misleading_reals for each in some])),
        " to ".join(f"{np.mean([each.bounds[end] for each in some]):+.2f}" for end in (0, 1)),
    ]


def show_attribution(
    pictures: Pictures, ways: Mapping[str, str], halved: Mapping[str, Sequence[Calibrated]]
) -> None:
    for by, words in ways.items():
        if by == "collection":  # there the fakes are halved as by picture
            continue
        rows = [
            [
                str(least) if most == least + 1 else f"{least} to {most - 1}",
                str(found.n),
                str(found.generators),
                share(found.coverage),
                percent(found.unknown),
                share(found.right_of_named),
            ]
            for (least, most), found in measure_attributions(pictures, list(halved[by]))
        ]
        title = f"Attribution by entries of the generator: {words}, {len(halved[by])} splits"
        head = ("entries", "fakes asked", "generators", "coverage", "unknown", "right one if named")
        show(title, head, rows)
        stated = [own.as_is.attribution for own in halved[by] if own.as_is.attribution is not None]
        answered = [each.answered for each in stated if each.answered is not None]
        right = [each.right_of_answered for each in stated if each.right_of_answered is not None]
        print(
            f"\nStated by the calibrations: coverage {spread([e.coverage for e in stated])}, "
            f"set size {spread([e.mean_set_size for e in stated], 1)}, named "
            f"{spread(answered)}, right one if named {spread(right)}."
        )
    every = list(leave_out_generators(pictures))
    rows = [[name, str(found.n), percent(found.unknown)] for name, found in every]
    rows.append(["mean", "", percent(np.mean([found.unknown for _, found in every]))])
    title = "Attribution, each generator left out in turn"
    show(title, ("left out", "images", "unknown"), rows)
