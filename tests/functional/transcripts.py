"""Transcripts in Markdown: the commands of its `console` blocks and the output under them.

A block holds lines that begin with `$ `; a backslash at the end of a line continues it. The output
of a command follows in the block, up to the next command. A line `...` stands for any lines left
out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ELLIPSIS = "..."
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?")
# The processor and the clock decide these, not what was asked: identifiers, digests, times, sizes.
CHANGING = [
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{16}(?:[0-9a-f]{48})?\b"), "DIGEST"),
    (re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: UTC|Z)?)?"), "DATE"),
    (re.compile(r"[\d,.]+ (?:ms|s|items/s|bytes)\b"), "TIME"),
]
# float32 and bfloat16, or two processors, differ by less; a similarity of another entry by more.
TOLERANCE = 0.05
# Of estimates, as rates and ends of intervals: they have two digits, and the last may round over.
ESTIMATE_TOLERANCE = 0.1


@dataclass(frozen=True)
class Command:
    """One command as it is written, and the output that is shown under it."""

    line: str
    shown: tuple[str, ...]

    @property
    def words(self) -> str:
        """The command on one line, without its comment."""
        joined = re.sub(r"\\\n\s*", "", self.line)
        return re.sub(r"\s+#.*$", "", joined)


def commands_of(text: str) -> Iterator[Command]:
    """The commands of all `console` blocks of a page, in order."""
    for block in BLOCK.finditer(text):
        yield from _commands_of_block(block.group(1))


def _commands_of_block(block: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command = re.match(r"(?:.*\\\n)*.*", part)
        assert command is not None
        yield Command(command.group(0), tuple(part[command.end() :].strip("\n").splitlines()))


def is_same_output(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether the output of a page is what the command prints, up to what changes from run to run.

    Spaces and line ends between words do not count. Whole numbers are equal, others lie within
    `TOLERANCE`, and estimates also within a share of `ESTIMATE_TOLERANCE`.
    """
    lines = [line for line in printed if line.strip()]
    wanted = [line for line in shown if line.strip()]
    if ELLIPSIS in wanted:
        at = wanted.index(ELLIPSIS)
        head, tail = wanted[:at], wanted[at + 1 :]
        lines = lines[: len(head)] + lines[max(len(head), len(lines) - len(tail)) :]
        wanted = head + tail
    left, right = _stable_words(" ".join(wanted)), _stable_words(" ".join(lines))
    return len(left) == len(right) and all(
        _is_same_word(one, other, ESTIMATE_TOLERANCE if _is_estimate(left, at) else 0)
        for at, (one, other) in enumerate(zip(left, right, strict=True))
    )


def _is_estimate(words: Sequence[str], at: int) -> bool:
    """Whether a word is a percentage, a number of times, the images counted for one, or an end of
    an interval.
    """
    before, after = words[at - 1] if at else "", words[at + 1] if at + 1 < len(words) else ""
    return after.startswith(("%", "times", "of")) or before in ("interval", "to")


def _stable_words(text: str) -> list[str]:
    for pattern, name in CHANGING:
        text = pattern.sub(name, text)
    return text.split()


def _is_same_word(shown: str, printed: str, share: float) -> bool:
    if NUMBER.sub("#", shown) != NUMBER.sub("#", printed):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(
        math.isclose(
            _value(left), _value(right), rel_tol=share, abs_tol=TOLERANCE if "." in left else 0
        )
        for left, right in pairs
    )


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def write_outputs(page: Path, printed: Sequence[Sequence[str]]) -> None:
    """Put what the commands of a page print in place of the outputs that it shows.

    A command without an output on the page stays without one, and `...` keeps as many lines before
    and after it as it has now.
    """
    text = page.read_text(encoding="utf-8")
    outputs = iter(printed)

    def rewritten(block: re.Match[str]) -> str:
        parts = []
        for command in _commands_of_block(block.group(1)):
            lines = [line.rstrip() for line in next(outputs)]
            parts += [f"$ {command.line}", *_shortened(command.shown, lines)]
        return "```console\n" + "\n".join(parts) + "\n```"

    page.write_text(BLOCK.sub(rewritten, text), encoding="utf-8")


def _shortened(shown: Sequence[str], lines: list[str]) -> list[str]:
    if not shown:
        return []
    if ELLIPSIS not in shown:
        return lines
    before, after = shown.index(ELLIPSIS), len(shown) - shown.index(ELLIPSIS) - 1
    return [*lines[:before], ELLIPSIS, *(lines[len(lines) - after :] if after else [])]
