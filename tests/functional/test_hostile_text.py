"""Text that attacks its reader, in every place where somebody else's text is stored: no command
prints a character that a terminal, a log or a spreadsheet obeys.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner, Result

from api.terminal import app
from api.visible import read_csv_cell, show, show_lines

ROOT = Path(__file__).parents[2]
# Goes back, clears the line, sets the title, turns what follows around, and breaks the line.
ATTACK = "\r\x1b[2K\x1b[1A\x1b]0;t\x07\x9b2J\u202egnp.\u2066x\u200b[red]\nnot_similar"
GENERATOR = f"sdxl{ATTACK}".replace("\n", "\u2028")  # blanks of a generator become hyphens
FILE = f"=cmd{ATTACK}.png"
BROKEN = f"-cut{ATTACK}.png"

# What each command prints of the hostile installation; {lookup} is the id of a look-up.
COMMANDS = [
    "init",
    "search {unseen} -k 3",
    "search {unseen} {hostile} --details",
    "search {probes}",
    "search {unseen} --generator {attack}",
    "search {missing}",
    "search {unseen} --where {attack}",
    "show {lookup}",
    "show {attack}",
    "replay {lookup}",
    "ingest {images} --corpus again --dry-run",
    "ingest {images} --corpus {attack}",
    "ingest {missing} --corpus known",
    "ingest {images} --corpus known --generator {attack} --pattern {attack}",
    "worker --once",
    "jobs",
    "jobs show 1",
    "jobs failures 1 --all",
    "jobs resume 1",
    "jobs pause 1",
    "jobs cancel 1",
    "corpora",
    "corpora create {attack}",
    "corpora create fine --description {attack}",
    "corpora keep {attack} none",
    "corpora remove {attack}",
    "entries list known",
    "entries show 1",
    "entries remove 999",
    "export known --output {missing}",
    "export known --to {attack}",
    "inspect known",
    "inspect known --quarantined",
    "quarantine 999 --reason {attack}",
    "release 2",
    "calibrate --against {attack}",
    "calibrations",
    "calibrations show 1",
    "evaluate {missing} --out {out}",
    "doctor",
    "models",
    "models activate {missing}",
    "models add {attack} {missing}",
    "models remove {attack}",
    "models compare {missing} {missing} {missing}",
    "reembed --model {attack}",
    "copies list",
    "copies backfill --descriptor {missing}",
    "copies activate {attack}",
    "copies deactivate",
    "index plan",
    "index build",
    "index compact",
    "fsck",
    "backup {missing}/backup",
    "restore {missing}",
    "verify-backup {missing}",
    "{attack}",
    "search --{attack}",
    "search {unseen} --kind {attack}",
    "search {unseen} --device {attack}",
]
JSON_COMMANDS = [
    f"{command} --json"
    for command in (
        *("search {unseen} {hostile}", "jobs failures 1", "entries list known"),
        *("show {lookup}", "jobs", "jobs show 1", "corpora", "inspect known --quarantined"),
        *("ingest {images} --corpus again --dry-run", "inspect known", "doctor", "models"),
        "calibrations",
    )
]
FEW = 3  # one function writes all JSON
# Print nothing of a hostile installation that the other commands do not print.
ALIKE = {
    "search {unseen} -k 3",
    "search {probes}",
    "search {unseen} --where {attack}",
    "ingest {images} --corpus {attack}",
    "jobs resume 1",
    "jobs pause 1",
    "corpora create {attack}",
    "corpora keep {attack} none",
    "entries remove 999",
    "export known --output {missing}",
    "calibrations show 1",
    "models activate {missing}",
    "models compare {missing} {missing} {missing}",
    "index build",
    "index compact",
    "backup {missing}/backup",
    "restore {missing}",
    "search {unseen} --device {attack}",
}
LONG = {*ALIKE, *JSON_COMMANDS[FEW:]}
ENDLESS = {"serve", "demo"}  # the server's log and its answers have tests of their own


def lineup(data: Path, *words: object) -> Result:
    return CliRunner().invoke(app, ["--data-dir", str(data), *map(str, words)])


def write_image(path: Path, seed: int) -> bytes:
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC).save(path, "PNG")
    return path.read_bytes()


def require_harmless(text: str) -> None:
    """Require text that `show_lines` would not change: nothing in it is obeyed."""
    assert text == show_lines(text), ascii(text)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation in which every text that somebody else writes is hostile."""
    base = tmp_path_factory.mktemp("hostile")
    images = base / "images"
    rows = []
    for seed, name in enumerate((FILE, f"b{ATTACK}.png", f"sub{ATTACK}/c.png")):
        write_image(images / name, seed)
        rows.append({"file_name": name, "generator": GENERATOR, "label": ATTACK, "x": [ATTACK]})
    (images / BROKEN).write_bytes((images / FILE).read_bytes()[:400])
    rows.append({"file_name": BROKEN, "licence": ATTACK, "source": ATTACK})
    (base / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (base / "list.jsonl").rename(images / "metadata.jsonl")
    write_image(base / "real" / f"real{ATTACK}.png", 1)
    write_image(base / "real" / "other.png", 11)
    write_image(base / "probes" / FILE, 20)
    write_image(base / "probes" / "plain.png", 21)
    write_image(base / "unseen.png", 2)
    data = base / "data"
    for words, code in (
        (("corpora", "create", "known", "--description", ATTACK), 0),
        (("ingest", images / "metadata.jsonl", "--corpus", "known"), 3),
        (("ingest", base / "real", "--corpus", "real", "--kind", "known_real"), 0),
        (("calibrate", "--condition", "as_is"), 0),
        (("quarantine", "2", "--reason", f"why{ATTACK}"), 0),
    ):
        done = lineup(data, *words)
        assert done.exit_code == code, done.output
        require_harmless(done.output)
    return base


@pytest.fixture(scope="module")
def lookup(base: Path) -> str:
    """The id of a look-up whose nearest entries have hostile names."""
    done = lineup(base / "data", "search", base / "probes" / FILE, "--json")
    answer = json.loads(done.stdout)["lookups"][0]
    neighbours = answer["lookup"]["similarity"]["neighbours"]
    assert "\x1b" in neighbours[0]["entry"]["generator"], "the attack is there"
    return str(answer["lookup"]["id"])


def words_of(command: str, base: Path, lookup: str) -> list[str]:
    places = {
        "attack": ATTACK,
        "lookup": lookup,
        "unseen": base / "unseen.png",
        "hostile": base / "probes" / FILE,
        "probes": base / "probes",
        "images": base / "images",
        "missing": base / f"none{ATTACK}",
        "out": base / f"out{ATTACK}",
    }
    return [word.format(**places) for word in command.split(" ")]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[pytest.mark.prove] if command in LONG else [])
        for command in (*COMMANDS, *JSON_COMMANDS)
    ],
)
def test_no_command_prints_what_a_terminal_obeys(base: Path, lookup: str, command: str) -> None:
    done = lineup(base / "data", *words_of(command, base, lookup))
    require_harmless(done.stdout)
    require_harmless(done.stderr)
    assert done.exit_code != 70, done.stderr


def walk(group: object, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():  # type: ignore[attr-defined]  # of typer's click
        path = f"{before} {name}".strip()
        yield path
        if hasattr(command, "commands"):
            yield from walk(command, path)


def test_every_command_is_among_them() -> None:
    bare = {"entries", "index"}  # groups that print only their help
    missing = {
        path
        for path in walk(get_command(app))
        if not any(f"{each} ".startswith(f"{path} ") for each in COMMANDS)
    }
    assert missing - bare == ENDLESS


def test_a_table_for_spreadsheets_runs_nothing_and_is_read_back_exactly(base: Path) -> None:
    done = lineup(base / "data", "jobs", "failures", 1, "--csv", "-")
    text = done.stdout_bytes.decode()
    lines = text.split("\r\n")
    assert len(lines) == 3, "a header, one line an item, and the end"
    for line in lines:
        require_harmless(line)
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["name"].startswith("'-cut")
    assert read_csv_cell(row["name"]) == BROKEN
    assert row["position"] == "3", "a number is a number"


def test_json_says_exactly_what_is_stored(base: Path) -> None:
    entry = json.loads(lineup(base / "data", "entries", "show", 1).stdout)
    assert entry["provenance"]["path"] == FILE
    assert entry["label"] == ATTACK.strip()


def test_a_hostile_name_cannot_rewrite_a_verdict_in_a_real_terminal(
    base: Path, lookup: str
) -> None:
    """The bytes that reach a terminal hold colours and line ends, and no other control."""
    controller, terminal = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "api.terminal", "--data-dir", base / "data", "show", lookup],
        stdout=terminal,
        stderr=terminal,
        stdin=terminal,
        env={**variables, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "240"},
        cwd=base,
    )
    os.close(terminal)
    printed = b""
    try:
        while piece := os.read(controller, 2**16):
            printed += piece
    except OSError:  # the end, as Linux says it
        pass
    finally:
        os.close(controller)
        assert process.wait(60) == 0, printed
    text = printed.decode()
    assert "\x1b[1" in text, "it is a terminal: verdicts have colours"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r\n", "\n")
    require_harmless(plain)
    assert show("\x1b]0;t\x07\x9b2J\u202egnp.") in plain
