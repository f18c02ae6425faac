"""`lineup calibrate` and `lineup calibrations`: how often a photograph is as similar as a fake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from api.terminal.application import MEASURES, app
from api.terminal.console import print_json, print_json_line, write
from api.terminal.global_options import settings_of
from api.terminal.jobs import print_job
from api.terminal.options import Json, JsonLines, check_request
from api.terminal.progress import (
    let_waiting_threads_sleep,
    reported,
    resumable,
    stop_on_sigterm,
)
from api.terminal.tables import Column, print_table

if TYPE_CHECKING:
    from api.calibrations.json import (
        CalibrationAnswer,
        CopyRatesAnswer,
        RatiosAnswer,
        StratumAnswer,
    )

SHOWN_HITS = 0.01  # the false-match rate whose hit rate is shown
calibrations_app = typer.Typer(invoke_without_command=True)


@app.command(rich_help_panel=MEASURES)
def calibrate(
    ctx: typer.Context,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CORPUS",
            help="Measure against this corpus of known fakes. Repeat it for several; by default "
            "all.",
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CORPUS",
            help="Measure with this corpus of known-real images. Repeat it for several; by "
            "default all.",
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Measure this kind of delivery: as_is, jpeg90, jpeg75, jpeg50, webp80, "
            "half or screenshot. Repeat it for several; by default all.",
        ),
    ] = None,
    max_images: Annotated[
        int,
        typer.Option(
            help="At most this many known-real images, and as many known fakes, are re-encoded and "
            "embedded again for each kind of delivery."
        ),
    ] = 500,
    seed: Annotated[
        int, typer.Option(help="Seed of the random choice of images and of the intervals.")
    ] = 0,
    no_shipped: Annotated[
        bool,
        typer.Option(
            "--no-shipped",
            help="Leave out the photographs that came with the model; otherwise they join the "
            "known-real images as further collections.",
        ),
    ] = False,
    json: JsonLines = False,
) -> None:
    """Measure how often a known-real image is as similar to known fakes as a probe.

    From then on, look-ups in these corpora state false-match rates and likelihood ratios. A
    calibration is stored with its inputs and never changed.

    Images are also measured after re-encodings such as those of messengers, which needs the image
    files. The exit code is 3 if one of them is gone, or becomes too small for the model. Ctrl-C
    pauses; the same command continues.
    """
    from api.calibrations.catalogue import describe_calibration_of_job
    from api.calibrations.request import CalibrationRequest
    from api.jobs.catalogue import describe_job, list_first_failures
    from api.problems import EXIT_PARTIAL

    let_waiting_threads_sleep()
    from api.lineup import Lineup
    from api.worker.running import work_watched
    from api.worker.starting import start_calibration

    conditions = {} if condition is None else {"conditions": condition}
    request = check_request(
        CalibrationRequest,
        against=against,
        reference=reference,
        max_images=max_images,
        seed=seed,
        with_shipped=not no_shipped,
        **conditions,
    )
    settings = settings_of(ctx)
    with (
        stop_on_sigterm(settings.shutdown_grace_seconds),
        Lineup.open(settings) as lineup,
    ):
        job = start_calibration(lineup.database, lineup.space, request)
        with resumable(ctx, lineup.database, job.id), reported(job, json=json) as report:
            job = work_watched(lineup, job, report)
        done = describe_job(lineup.database, job.id, local=True)
        answer = describe_calibration_of_job(lineup.database, job.id)
        if json:
            print_json_line(done)
        elif done.found or done.error:
            print_job(done, list_first_failures(lineup.database, job.id))
        if answer is not None:
            (print_json_line if json else print_calibration)(answer)
    if done.failed or answer is None:
        raise typer.Exit(EXIT_PARTIAL)


app.add_typer(calibrations_app, name="calibrations", rich_help_panel=MEASURES)


@calibrations_app.callback()
def calibrations(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Calibrations to list.")] = 20,
    json: Json = False,
) -> None:
    """List and show calibrations.

    Without a command, the calibrations are listed, the newest first.
    """
    if ctx.invoked_subcommand is not None:
        return
    from api.calibrations.catalogue import page_calibrations
    from api.lineup import open_database

    with open_database(settings_of(ctx)) as database:
        page = page_calibrations(database, None, limit)
    if json:
        print_json(page)
    else:
        print_calibrations(page.calibrations)


@calibrations_app.command("show")
def show_calibration(
    ctx: typer.Context,
    calibration_id: Annotated[
        int,
        typer.Argument(
            min=1, metavar="CALIBRATION", help="Number of the calibration.", show_default=False
        ),
    ],
    json: Json = False,
) -> None:
    """Show what a calibration measured, for each kind of delivery."""
    from api.calibrations.catalogue import describe_calibration
    from api.lineup import open_database

    with open_database(settings_of(ctx)) as database:
        answer = describe_calibration(database, calibration_id)
    if json:
        print_json(answer)
    else:
        print_calibration(answer)


def print_calibrations(calibrations: Iterable[CalibrationAnswer]) -> None:
    """Print a row for each calibration."""
    columns = (
        Column("calibration", align="right"),
        Column("measured", importance=2),
        Column("against", shorten="end"),
        Column("entries", align="right"),
        Column("reference", shorten="end"),
        Column("images", align="right"),
        Column("conditions", importance=1, shorten="end"),
    )
    rows = [
        (
            str(each.id),
            f"{each.created_at:%Y-%m-%d %H:%M:%S}",
            ", ".join(each.against),
            f"{each.corpus_size:,}",
            ", ".join(each.reference),
            f"{next(s.images for s in each.strata if s.condition == 'as_is'):,}",
            ", ".join(stratum.condition for stratum in each.strata),
        )
        for each in calibrations
    ]
    print_table(columns, rows, empty="there is no calibration yet: `lineup calibrate` makes one")


def print_calibration(answer: CalibrationAnswer) -> None:
    """Print what was measured, a row for each kind of delivery."""
    from api.lookups.answers.numbers import percent

    number = f"{answer.id}, provisional" if answer.provisional else str(answer.id)
    write(
        f"{', '.join(answer.against)} ({answer.corpus_size:,} entries) compared with "
        f"{', '.join(answer.reference)}, generation {answer.generation:,}, seed {answer.seed}",
        label=f"calibration {number}  ",
    )
    rates = [each.false_match_rate for each in answer.strata[0].thresholds]
    columns = (
        Column("delivery"),
        Column("images", align="right", importance=1),
        Column("photographs", align="right", importance=2),
        # The rate that a look-up uses by default stays longest.
        *(
            Column(f"at {percent(rate)}", align="right", importance=3 + (rate == 0.01))
            for rate in rates
        ),
        Column("hits at 1 %", align="right", importance=5),
        Column("Cllr", align="right", importance=6),
        Column("two-sided", align="right", importance=2),
        Column("ECE", align="right", importance=2),
        Column("coverage", align="right", importance=2),
    )
    rows = [
        (
            stratum.condition if stratum.holds else f"{stratum.condition} (does not hold)",
            f"{stratum.images:,}",
            f"{stratum.sources:,}",
            *(
                f"{each.cosine_similarity:.4f} ({percent(each.high)})"
                for each in stratum.thresholds
            ),
            _hits(stratum),
            _cost(stratum.one_sided),
            _cost(stratum.two_sided),
            "" if stratum.classifier is None else f"{stratum.classifier.ece:.3f}",
            "" if stratum.attribution is None else percent(stratum.attribution.coverage),
        )
        for stratum in answer.strata
    ]
    print_table(columns, rows)
    write(
        "at 1 %: the similarity that 1 % of known-real images reach; in brackets, the upper end of "
        "the 95 % interval of that rate. hits at 1 %: the share of known fakes with another one "
        "this near; where it is not clearly above the rate, similarity tells nothing. Cllr: cost "
        "of the likelihood ratios by the nearest known fake, for collections that were left out "
        "where there are enough; 0 is perfect, 1 carries no information; in brackets, the least "
        "possible cost. two-sided: Cllr of the ratios that also use the nearest known-real image. "
        "ECE: calibration error of the classifier's probability, 0 is perfect. coverage: share of "
        "known fakes whose candidate generators contain the right one.",
        style="dim",
    )
    print_collections(answer)
    if answer.copies is not None:
        print_copies(answer.copies)


def print_copies(copies: CopyRatesAnswer) -> None:
    """Print how often unrelated pictures look like edited copies, a row for each finding."""
    from api.lookups.answers.numbers import percent, percent_at_most

    columns = (
        Column("unrelated pictures have"),
        Column("images", align="right", importance=1),
        Column("photographs", align="right", importance=2),
        Column("seen", align="right", importance=3),
        Column("rate", align="right"),
        Column("at most", align="right"),
    )
    rows = []
    for curve, findings in (
        (
            copies.band,
            [
                (f"a view within {each.bits} bits", each.matches, each.estimate, each.high)
                for each in copies.band_rates
            ],
        ),
        (
            copies.geometry,
            [
                (f"an entry with {each.inliers} inliers", each.matches, each.estimate, each.high)
                for each in copies.inlier_rates
            ],
        ),
    ):
        if curve is None:
            continue
        rows += [
            (
                finding,
                f"{curve.images:,}",
                f"{curve.sources:,}",
                "" if matches is None else f"{matches:,}",
                percent(estimate),
                percent_at_most(high),
            )
            for finding, matches, estimate, high in findings
        ]
    print_table(columns, rows)
    write(" ".join(_explain_copies(copies)), style="dim")


def _explain_copies(copies: CopyRatesAnswer) -> Iterator[str]:
    yield "Edited copies: how often a picture that is none looks like one."
    if copies.lead_limits:
        limits = ", ".join(
            f"{each.bits} bits among {each.corpus_size:,} entries" for each in copies.lead_limits
        )
        yield f"Leads are listed up to the distance that 1 % of such pictures reach: {limits}."
    if copies.near_duplicates:
        yield (
            f"{copies.near_duplicates:,} of the images have a view within 31 bits of a known fake: "
            "copies of it, or false near duplicates."
        )
    if copies.geometry is not None:
        yield "Inliers are the most of 20 candidates that look alike."
    yield from (
        f"Copy descriptor: {each.images:,} images; 1 % reach a similarity of "
        f"{each.similarity_at_rate:.2f}."
        for each in copies.descriptors.values()
        if each.similarity_at_rate is not None
    )
    curves = [copies.band, copies.geometry, *copies.descriptors.values()]
    if any(each is not None and not each.supported for each in curves):
        yield (
            "Fewer than 100 photographs support no such rate: look-ups state figures that came "
            "with the package instead."
        )


def print_collections(answer: CalibrationAnswer) -> None:
    """Print the matches of each collection of reference images, where there are several."""
    from api.lookups.answers.evidence_words import name_collection
    from api.lookups.answers.numbers import percent

    as_is = next(stratum for stratum in answer.strata if stratum.condition == "as_is")
    thresholds = [each for each in as_is.thresholds if each.collections]
    if not thresholds:
        return
    columns = (
        Column("collection", shorten="end"),
        Column("images", align="right"),
        *(Column(f"at {percent(each.false_match_rate)}", align="right") for each in thresholds),
    )
    rows = []
    for number, collection in enumerate(thresholds[0].collections):
        counts = (each.collections[number] for each in thresholds)
        shares = (f"{percent(each.matches / each.images)} ({each.matches})" for each in counts)
        rows.append((name_collection(collection), f"{collection.images:,}", *shares))
    print_table(columns, rows)


def _cost(ratios: RatiosAnswer | None) -> str:
    if ratios is None:
        return ""
    cllr = ratios.cllr if ratios.cllr_left_out is None else ratios.cllr_left_out
    return f"{cllr:.2f} ({ratios.cllr_min:.2f})"


def _hits(stratum: StratumAnswer) -> str:
    from api.lookups.answers.numbers import percent

    at = next(each for each in stratum.thresholds if each.false_match_rate == SHOWN_HITS)
    if at.hit_rate is None:
        return ""
    # The estimate of none is above zero: the count says what was seen.
    found = at.hit_rate
    share = f"none of {found.images:,}" if found.matches == 0 else percent(found.estimate)
    return share if at.tells else f"{share} (tells nothing)"
