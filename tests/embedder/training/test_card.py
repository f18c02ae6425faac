from __future__ import annotations

import json
import re

import pytest

from embedder.network.references import REFERENCES_FILE, count_by_collection
from embedder.network.registry import MEASURED_FILE, get_builtin_directory
from embedder.training.card import (
    COLUMNS,
    describe_counts,
    format_card,
    wrap_markdown,
    write_reference_section,
)
from embedder.training.generators import PartSummary


@pytest.fixture(scope="module")
def shipped() -> str:
    return (get_builtin_directory() / "MODEL_CARD.md").read_text(encoding="utf-8")


def counts_in(card: str, pattern: str) -> dict[str, int]:
    """The counts of a sentence, which come from the corpus and are in no other file."""
    found = re.search(pattern, " ".join(card.split()))
    assert found is not None
    pairs = (each.split(" of ", 1) for each in found[1].split(", "))
    return {name: int(count) for count, name in pairs}


def licences_in(card: str) -> dict[str, int]:
    found = re.search(r"training part: (.*?)\. None of these", " ".join(card.split()))
    assert found is not None
    pairs = (each.split(" ", 1) for each in re.split(r"; (?=\d)", found[1]))
    return {name: int(count) for count, name in pairs}


def test_the_shipped_card_is_the_template_with_the_shipped_figures(shipped: str) -> None:
    trained = counts_in(shipped, r"- Photographs: (.*?)\. These are")
    seen = counts_in(shipped, r"by file: (.*?)\. The grids")
    held_out = counts_in(shipped, r"were held out \((.*?)\)")
    values = json.loads((get_builtin_directory() / MEASURED_FILE).read_text(encoding="utf-8"))
    part = PartSummary(trained | seen, licences_in(shipped))
    references = count_by_collection(get_builtin_directory() / REFERENCES_FILE)
    assert format_card(values, trained, held_out, part, references) == shipped


def test_paragraphs_and_items_are_wrapped_and_tables_are_not() -> None:
    row = "| " + "a very long cell " * 10 + "|"
    item = "- " + "word " * 60
    wrapped = wrap_markdown(f"# Title\n\n{'word ' * 60}\n\n{item}\n- short\n\n{row}\n|---|")
    title, paragraph, items, table = wrapped.split("\n\n")
    assert title == "# Title"
    assert table == f"{row}\n|---|"
    assert max(len(line) for line in (paragraph + "\n" + items).split("\n")) <= COLUMNS
    assert paragraph.split() == ["word"] * 60
    first, *others, last = items.split("\n")
    assert first.startswith("- word")
    assert all(line.startswith("  word") for line in others)
    assert last == "- short"


def test_counts_are_listed_in_their_order() -> None:
    assert describe_counts({"b": 2, "a": 1}) == "2 of b, 1 of a"


def test_a_model_without_reference_vectors_has_no_section_about_them() -> None:
    assert write_reference_section({}) == ""
    section = write_reference_section({"camera": (7, "by hand"), "phone": (2, "by thumb")})
    assert "9\nphotographs of 2 collections" in section
    assert "| phone | 2 | by thumb |" in section
