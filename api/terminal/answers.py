"""The full answer of a look-up, printed: verdicts with their reasons, evidence, neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from api.terminal.console import joined, styled, verdict_name, write
from api.terminal.corpora import where_from
from api.terminal.tables import Column, print_table

if TYPE_CHECKING:
    from api.lookups.answers.json import LookupAnswer, NeighbourAnswer


def print_lookup(name: str, answer: LookupAnswer, *, in_detail: bool = False) -> None:
    """Print a look-up in full: two verdicts with their reasons, the evidence, the neighbours.

    `in_detail` adds the hits of each generator to the hit rate, and what each stage did that looks
    for copies.
    """
    from api.lookups.answers.evidence_words import describe_hits_by_generator

    write(styled(name, "bold"))
    if answer.caution:
        write(styled(answer.caution, "bold"), label="  caution     ")
    if answer.classifier:
        classifier = answer.classifier
        logit = f"{classifier.logit:+.{classifier.digits}f}"
        write(
            joined(verdict_name(classifier.verdict), f", logit {logit}: {classifier.explanation}"),
            label="  classifier  ",
        )
    elif answer.probe.embedding == "none":
        write("not asked: the image is too small for the model", label="  classifier  ")
    similarity = answer.similarity
    write(
        joined(verdict_name(similarity.verdict), f": {similarity.explanation}"),
        label="  similarity  ",
    )
    for statement in answer.statements:
        words = statement.words
        if statement.topic == "copies":
            words = f"not looked for: {words}"
        write(words, label=f"  {statement.topic:<12}")
        if in_detail and statement.topic == "hits" and similarity.hit_rate:
            generators = describe_hits_by_generator(similarity.hit_rate.generators)
            write(f"by generator: {generators or 'not kept'}", label=" " * 14)
    if answer.method.recall:
        recall = answer.method.recall
        write(
            f"compressed codes chose the entries to compare, with recall@{recall.k} "
            f"{recall.recall:.4f} when last measured; --exact compares all entries",
            label="  search      ",
        )
    for stage in answer.copies.stages if answer.copies and in_detail else ():
        write(stage.words, label="  stage       ")
    if similarity.neighbours:
        print_neighbours(similarity.neighbours, similarity.digits)
        print_edits(similarity.neighbours, in_detail)
    write(
        f"look-up {answer.id}{'' if answer.stored else ' (not stored)'}, "
        f"generation {answer.method.generation:,}, {answer.timings.total_ms:.0f} ms",
        label="  ",
        style="dim",
    )


def format_cosine(similarity: float | None, digits: int) -> str:
    """A cosine similarity; nothing for a probe that is too small for the model."""
    return "" if similarity is None else f"{similarity:.{digits}f}"


def print_neighbours(neighbours: Iterable[NeighbourAnswer], digits: int) -> None:
    """Print a row for each neighbour, similarities with this many decimals."""
    columns = (
        Column("", align="right"),
        Column("cosine similarity", align="right"),
        Column("hamming distance", align="right", importance=4),
        Column("relation"),
        Column("generator", shorten="end"),
        Column("corpus", importance=3, shorten="end"),
        Column("entry", align="right", importance=5),
        Column("path or source", importance=2, shorten="start"),
    )
    rows = [
        (
            str(each.rank),
            format_cosine(each.cosine_similarity, digits),
            "" if each.hamming_distance is None else str(each.hamming_distance),
            each.relation or "",
            each.entry.generator or "",
            each.entry.corpus,
            str(each.entry.id),
            where_from(each.entry),
        )
        for each in neighbours
    ]
    print_table(columns, rows)


def print_edits(neighbours: Iterable[NeighbourAnswer], in_detail: bool) -> None:
    """Print for each edited copy, and each lead, what shows it. A lead is not called a copy.

    Near duplicates of the whole picture, upright, have one line `in_detail` only.
    """
    for each in neighbours:
        found = each.copy_evidence
        if found is None:
            continue
        if each.relation == "possible_copy":
            write(found.words, label=f"  lead {each.rank:<7}")
        elif (
            each.relation == "edited_copy"
            or (in_detail and each.relation == "near_duplicate")
            or found.part
            or found.symmetry not in {None, "upright"}
        ):
            write(found.words, label=f"  copy {each.rank:<7}")
