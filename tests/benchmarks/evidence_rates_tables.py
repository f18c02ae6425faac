"""The tables of docs/evidence.md about false-match rates and hit rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from api.calibrations.shipped import ShippedPhotographs
from index.calibration.false_matches import Rate
from tests.benchmarks.evidence_installations import judge_installations
from tests.benchmarks.evidence_pictures import Copies, Pictures
from tests.benchmarks.evidence_rates import (
    CONDITIONS,
    FACTORS,
    RATES,
    STRATUM_RATES,
    LeftOut,
    calibrate_on,
    check_ideal_rates,
    check_rates,
    count_shipped,
    leave_out_fakes,
    leave_out_photographs,
    name_fakes,
    separate_kinds,
)
from tests.benchmarks.evidence_tables import median_of, number, percent, show

IDEAL_REPEATS = 200


def show_rates(pictures: Pictures, ways: Mapping[str, str], splits: int) -> None:
    """Rates at 1 to 10 times the corpus, in other photographs, by the ways of splitting these."""
    for by, words in ways.items():
        found = [each for seed in range(splits) for each in check_rates(pictures, by, seed)]
        counted, rows = median_of(each.n for each in found), []
        for rate in RATES:
            for factor in FACTORS:
                some = [each for each in found if (each.rate, each.factor) == (rate, factor)]
                asked = [each for each in some if each.reachable]
                low, high = (
                    np.median([getattr(each, end) for each in asked]) for end in ("low", "high")
                )
                realised = [each.realised for each in asked]
                rows.append(
                    [
                        percent(rate),
                        f"{factor}x",
                        f"{percent(np.mean(realised))} ({percent(min(realised))} to "
                        f"{percent(max(realised))})",
                        f"{percent(low)} to {percent(high)}",
                        percent(np.mean([each.inside for each in asked])),
                        percent(np.mean([each.compatible for each in asked])),
                        f"{len(asked)} of {len(some)}",
                    ]
                )
        title = f"False-match rates: {words}, {splits} splits, {counted} counted"
        head = (
            "asked",
            "corpus",
            "realised: mean (range)",
            "stated, median",
            "inside",
            "meets its interval",
            "splits",
        )
        show(title, head, rows)
    ideal = list(check_ideal_rates(int((~pictures.synthetic).sum()) // 2, IDEAL_REPEATS))
    shares = [
        percent(np.mean([each.inside for each in ideal if each.rate == rate])) for rate in RATES
    ]
    print(
        f"\nInside at 1x with independent photographs, simulated {IDEAL_REPEATS} times: "
        f"{', '.join(shares)}"
    )


def show_strata(pictures: Pictures, copies: Copies, shipped: ShippedPhotographs | None) -> None:
    """Each stratum, and the stratum that a look-up takes, with each collection left out; then
    photographs that came with the model, which are of no collection of the study.
    """
    own, used = zip(*leave_out_photographs(pictures, copies), strict=True)
    show_left_out("each stratum, each collection of photographs left out in turn", own)
    show_by_collection(own, "The same by collection, range over deliveries")
    replaced = {
        (each.collection, each.condition) for each in used if each.stratum != each.condition
    }
    print(
        f"\nWith the stratum that a look-up takes ({len(replaced)} of "
        f"{len({(each.collection, each.condition) for each in used})} fell back to any_delivery): "
        f"{summarise(used)}."
    )
    if shipped is not None:
        further = list(count_shipped(pictures, copies, shipped))
        title = "Photographs that came with the model, by a calibration of the study's"
        show_by_collection(further, title)
        print(f"\n{summarise(further)[0].upper()}{summarise(further)[1:]}.")


def show_left_out(title: str, found: Sequence[LeftOut]) -> None:
    rows = []
    for condition in CONDITIONS:
        for rate in STRATUM_RATES:
            some = [each for each in found if (each.condition, each.rate) == (condition, rate)]
            if some:
                rows.append([condition, percent(rate), *row_of(some)])
    head = ("delivered", "asked", "realised (range)", "stated, median", "n", "inside", "meets")
    show(f"{title[0].upper()}{title[1:]}: {summarise(found)}", (*head, "outside"), rows)


def row_of(some: Sequence[LeftOut]) -> list[str]:
    low, high = (np.median([getattr(each.stated, end) for each in some]) for end in ("low", "high"))
    counted = sum(each.n for each in some)
    outside = [
        f"{each.collection} {each.matches} of {each.n} ({range_of(each.stated)})"
        for each in some
        if not each.compatible
    ]
    return [
        f"{percent(sum(each.matches for each in some) / counted)} "
        f"({percent(min(each.realised for each in some))} to "
        f"{percent(max(each.realised for each in some))})",
        f"{percent(low)} to {percent(high)}",
        str(counted),
        f"{sum(each.inside for each in some)} of {len(some)}",
        f"{sum(each.compatible for each in some)} of {len(some)}",
        "; ".join(outside) or "-",
    ]


def show_by_collection(found: Sequence[LeftOut], title: str) -> None:
    rows = []
    for name in dict.fromkeys(each.collection for each in found):
        some = [each for each in found if each.collection == name]
        counted = max(each.n for each in some if each.condition == "as_is")
        rates = [
            [each for each in some if each.rate == rate and each.condition != CONDITIONS[-1]]
            for rate in STRATUM_RATES
        ]
        rows.append(
            [
                name,
                str(counted),
                *(
                    f"{percent(min(each.realised for each in of_rate))} to "
                    f"{percent(max(each.realised for each in of_rate))}"
                    for of_rate in rates
                ),
                f"{sum(not each.compatible for each in some)} of {len(some)}",
            ]
        )
    asked = (f"realised at {percent(rate)}" for rate in STRATUM_RATES)
    show(title, ("left out", "photographs", *asked, "outside"), rows)


def show_hits(pictures: Pictures, copies: Copies) -> None:
    """Hit rates beside false-match rates, and the hits of collections that were left out."""
    reals, fakes = np.flatnonzero(~pictures.synthetic), np.flatnonzero(pictures.synthetic)
    for by in ("source", "folder"):
        named = name_fakes(pictures, by)
        calibration, _ = calibrate_on(named, copies, reals, fakes)
        rows = []
        for condition in CONDITIONS:
            for rate in STRATUM_RATES:
                stratum = calibration.strata[condition]
                found = stratum.discriminate(rate)
                assert found is not None
                assert stratum.hits is not None
                within = stratum.hits.within_at(found.similarity)
                rows.append(
                    [
                        condition,
                        percent(rate),
                        describe(found.false_match),
                        describe(found.hit),
                        "-" if within is None else percent(within.estimate),
                        str(found.hit.n),
                        "yes" if found.tells else "no",
                    ]
                )
        head = ("delivered", "asked", "false-match rate", "hit rate", "within collections too")
        title = f"Hit rates at the threshold of a look-up, collections of known fakes by {by}"
        show(title, (*head, "fakes", "tells"), rows)
        auroc = separate_kinds(named)
        print(
            f"\nNearest known fake of another {by}, as they are: the AUC of known fakes against "
            f"photographs is {number(auroc)}."
        )
        title = f"hit rates, each collection of known fakes left out in turn, by {by}"
        show_left_out(title, list(leave_out_fakes(named, copies)))


def show_installations(
    pictures: Pictures, copies: Copies, shipped: ShippedPhotographs | None, threshold: float | None
) -> None:
    """Verdicts on similarity in installations that know fakes alone, or photographs too."""
    rows = [
        [
            each.installation,
            each.probes,
            str(each.n),
            "-" if threshold is None else percent(each.nearer_than_model / each.n),
            str(each.similar),
            str(each.not_similar),
            ", ".join(f"{reason} {count}" for reason, count in each.reasons.items()),
        ]
        for each in judge_installations(pictures, copies, shipped, threshold)
    ]
    head = ("ingested", "probes", "n", "over the model's threshold", "similar", "not similar")
    show(
        "Verdicts on similarity by what was ingested, in all seven deliveries",
        (*head, "reasons"),
        rows,
    )


def describe(rate: Rate) -> str:
    return f"{percent(rate.estimate)} ({range_of(rate)})"


def range_of(rate: Rate) -> str:
    return f"{percent(rate.low)} to {percent(rate.high)}"


def summarise(found: Iterable[LeftOut]) -> str:
    every = list(found)
    inside, compatible = (
        sum(getattr(each, name) for each in every) for name in ("inside", "compatible")
    )
    return (
        f"of {len(every)} rates, {percent(inside / len(every))} inside, "
        f"{percent(compatible / len(every))} meet their interval"
    )
