"""`lineup demo`: the whole of Lineup in one table, without a network or a server."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.errors import MissingExtra
from api.terminal.application import SETUP, app
from api.terminal.console import errors, print_json, verdict_text, write, write_line
from api.terminal.global_options import settings_of
from api.terminal.options import Json
from api.terminal.progress import program
from api.terminal.tables import Cell, Column, print_table

if TYPE_CHECKING:
    from api.terminal.demonstration import DemoAnswer, DemoRow


@app.command(rich_help_panel=SETUP)
def demo(
    ctx: typer.Context,
    directory: Annotated[
        Path, typer.Option("--dir", help="Folder for the demonstration's images and data.")
    ] = Path("lineup-demo"),
    json: Json = False,
) -> None:
    """Make fakes, ingest them, look up new images, and print one table.

    Nothing is downloaded and no server is needed. The demonstration has a data folder of its own;
    the last lines print commands that use it.
    """
    try:
        from api.terminal.demonstration import run_demo

        answer = run_demo(settings_of(ctx), directory, say=errors.print)
    except ModuleNotFoundError as err:
        raise MissingExtra("demo", "`lineup demo`") from err
    if json:
        print_json(answer)
    else:
        print_demo(answer)


def print_demo(answer: DemoAnswer) -> None:
    """Print a row for each probe, what the threshold is worth, and how to go on."""
    columns = (
        Column("probe"),
        Column("made by (truth)"),
        Column("classifier", importance=3),
        Column("nearest known fake was made by"),
        Column("nearer than", importance=2),
        Column("verdict", importance=1),
    )
    print_table(columns, [_row(row, answer.photographs) for row in answer.rows])
    write()
    for line in explain(answer):
        write(line)
    write()
    _print_next_steps(answer)


def explain(answer: DemoAnswer) -> list[str]:
    """Say what `nearer than` counts, what the threshold rests on, what it calls similar, and how an
    edited copy is found.
    """
    from api.lookups.answers.evidence_words import describe_share
    from api.terminal.demonstration import PHOTOGRAPH

    copies = [words for row in answer.rows if (words := _explain_copy(row))]

    lines = [
        f"nearer than: how many of the {answer.photographs} known photographs are less similar to "
        "their nearest known fake than the probe is to its nearest known fake."
    ]
    fakes = [row for row in answer.rows if row.is_new_fake]
    photographs = [row for row in answer.rows if row.truth == PHOTOGRAPH]
    measured = fakes[0].lookup.similarity
    if measured.threshold is None or measured.discrimination is None:
        lines.append(
            "No verdict rests on similarity here: "
            + (measured.next_step or "its calibration supports no threshold")
            + "."
        )
        return lines + copies
    real = describe_share(
        measured.discrimination.false_match_rate,
        "known-real image",
        "photograph",
        ("comes this near", "come this near"),
    )
    fake = describe_share(
        measured.discrimination.hit_rate,
        "known fake",
        "source",
        ("comes this near to another one", "come this near to another one"),
    )
    lines += [
        f"similar: from a similarity of {measured.threshold.cosine_similarity:.3f} on. There, "
        f"{real}; {fake}.",
        f"Of these probes it calls {_count_similar(photographs)} of {len(photographs)} photographs "
        f"and {_count_similar(fakes)} of {len(fakes)} new fakes similar.",
        *copies,
    ]
    return lines


def _explain_copy(row: DemoRow) -> str | None:
    """Say what was done to the known fake that a probe was made of; None for other probes."""
    from api.terminal.demonstration import MIRRORED

    similarity = row.lookup.similarity
    first = similarity.neighbours[0]
    if row.truth != MIRRORED or first.copy_evidence is None:
        return None
    relation = (first.relation or "").replace("_", " ")
    words = f"{Path(row.probe).stem}: {relation} of a known fake: {first.copy_evidence.words}."
    if similarity.reason == "also_known_real":
        words += " The photograph that the fake was made from is known too, so there is no verdict."
    return words


def _count_similar(rows: Sequence[DemoRow]) -> int:
    return sum(row.lookup.similarity.verdict == "similar_to_known_fakes" for row in rows)


def _row(row: DemoRow, photographs: int) -> tuple[Cell, ...]:
    lookup = row.lookup
    first = lookup.similarity.neighbours[0]
    return (
        Path(row.probe).stem,
        row.truth,
        verdict_text(lookup.classifier.verdict) if lookup.classifier else "",
        first.entry.generator or "",
        f"{row.nearer_than} of {photographs}",
        verdict_text(lookup.similarity.verdict),
    )


def _print_next_steps(answer: DemoAnswer) -> None:
    data_dir = shlex.quote(answer.data_dir)
    probe = shlex.quote(str(Path(answer.images_dir) / "probes" / answer.rows[2].probe))
    write(f"The demonstration's data are in {data_dir}. Go on with them:")
    write_line(f"  {program()} search {probe} --data-dir {data_dir}")
    write_line(f"  {program()} serve --data-dir {data_dir}")
    write("  and open http://127.0.0.1:8787, then drop an image on the page.")
