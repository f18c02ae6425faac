"""`lineup demo`: the whole of Lineup in one table, without a network or a server."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from api.errors import MissingExtra
from api.terminal.application import SETUP, app
from api.terminal.console import errors, print_json, verdict_text, write, write_line
from api.terminal.global_options import settings_of
from api.terminal.options import Json
from api.terminal.progress import program
from api.terminal.tables import Column, print_table

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
    """Print a row for each probe, what the threshold misses, and how to go on."""
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
    """Say what `nearer than` counts, and what the threshold calls similar and misses."""
    from api.terminal.demonstration import PHOTOGRAPH

    lines = [
        f"nearer than: how many of the {answer.photographs} known photographs are less similar to "
        "their nearest known fake than the probe is to its nearest known fake."
    ]
    fakes = [row for row in answer.rows if row.is_new_fake]
    missed = [row for row in fakes if row.lookup.similarity.verdict == "not_similar"]
    apart = [row for row in missed if row.nearer_than == answer.photographs]
    wrong = [
        row
        for row in answer.rows
        if row.truth == PHOTOGRAPH and row.lookup.similarity.verdict == "similar_to_known_fakes"
    ]
    threshold = answer.rows[0].lookup.similarity.threshold
    if threshold is not None:
        lines.append(
            f"The verdict is cautious: it calls an image similar from a similarity of "
            f"{threshold.cosine_similarity:.3f} on. It calls {len(wrong)} photographs similar. It "
            f"misses {len(missed)} of {len(fakes)} new fakes; {len(apart)} of these are nearer "
            "than every photograph."
        )
    return lines


def _row(row: DemoRow, photographs: int) -> tuple[str | Text, ...]:
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
    write_line(Text(f"  {program()} search {probe} --data-dir {data_dir}"))
    write_line(Text(f"  {program()} serve --data-dir {data_dir}"))
    write("  and open http://127.0.0.1:8787, then drop an image on the page.")
