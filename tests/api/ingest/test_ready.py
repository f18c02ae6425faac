"""Ready embeddings: what is wrong with a row fails that row alone, and what is said of it is kept
as it was said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from api.errors import InvalidRequest
from api.ingest.ready import ReadyChunks
from api.ingest.request import IngestRequest
from api.jobs.task import Added, ItemResult, NotTaken
from api.sources.item import Span, UnreadableItem
from api.sources.ready import ReadyRows
from index.errors import ForeignSpace, InvalidComputation, InvalidVector
from index.jsontext import JSON
from index.truth.adding import NewEntry
from index.truth.computations import Computation
from index.truth.spaces import Space

SPACE = Space("1" * 64, "tests", "2" * 64, "3" * 64, 4)
OTHER = "9" * 64


@dataclass
class Held:
    """A ready source in memory. Implements `api.sources.ready.ReadySource`."""

    vectors: NDArray[np.float32]
    declared: Sequence[Mapping[str, JSON]]
    facts: Sequence[Mapping[str, JSON]]
    sha256s: Sequence[str | None]
    logits: NDArray[np.float64]
    unreadable: Mapping[int, UnreadableItem] = field(default_factory=dict)
    embedding_space: str | None = SPACE.fingerprint
    computed_by: tuple[str, str] | None = None
    location: str = "held"
    dimension: int = 4

    def spans(self, size: int) -> Any:
        raise NotImplementedError

    def rows(self, _span: Span) -> ReadyRows:
        names = [f"held, row {row}" for row in range(len(self.vectors))]
        return ReadyRows(
            names,
            self.vectors,
            self.logits,
            self.sha256s,
            self.facts,
            self.declared,
            self.unreadable,
        )

    def close(self) -> None: ...


def held(count: int = 1, **changed: Any) -> Held:
    vectors = np.eye(4, dtype=np.float32)[np.arange(count) % 4]
    whole: dict[str, Any] = {
        "vectors": vectors,
        "declared": [{}] * count,
        "facts": [{}] * count,
        "sha256s": [f"{row:064x}" for row in range(count)],
        "logits": np.zeros(count),
    }
    return Held(**(whole | changed))


def ends(source: Held, **words: Any) -> list[ItemResult[NewEntry]]:
    request = IngestRequest(sources=["held"], corpus="known", **words)
    chunks = ReadyChunks(SPACE, request)
    chunks.require_space(source)
    return list(chunks.read(source, Span(len(source.vectors), None), 100))


def test_a_space_that_is_foreign_or_unknown_is_refused() -> None:
    with pytest.raises(ForeignSpace):
        ends(held(embedding_space=OTHER))
    with pytest.raises(ForeignSpace):
        ends(held(), embedding_space=OTHER)
    with pytest.raises(InvalidRequest, match="--embedding-space"):
        ends(held(embedding_space=None))
    assert len(ends(held(embedding_space=None), embedding_space=SPACE.fingerprint)) == 1


def test_vectors_of_another_length_than_the_space_has_are_refused_as_a_whole() -> None:
    with pytest.raises(InvalidRequest, match=r"held have 5 numbers; .* have 4"):
        ends(held(vectors=np.eye(5, dtype=np.float32)[:1], dimension=5))


def test_a_row_has_been_computed_as_its_file_declares() -> None:
    (declared,) = ends(held(computed_by=("cuda", "float16")))
    (undeclared,) = ends(held())

    assert isinstance(declared, Added)
    assert declared.content.computation == Computation("cuda", "float16")
    assert isinstance(undeclared, Added)
    assert undeclared.content.computation is None
    with pytest.raises(InvalidComputation):
        ends(held(computed_by=("a device", "float16")))


def test_vectors_of_another_dimension_are_refused() -> None:
    with pytest.raises(InvalidVector, match=r"\(1, 3\)"):
        ends(held(vectors=np.ones((1, 3), np.float32)))


def test_each_bad_row_fails_alone_with_its_reason() -> None:
    source = held(9)
    source.vectors[1] *= 2
    source.vectors[2, 0] = np.nan
    source.logits[3] = np.inf
    source.sha256s = [*source.sha256s[:4], None, "A" * 64, *source.sha256s[6:]]
    source.facts = [*[{}] * 6, {"width": -1}, {"pdq_hash": "zz", "pdq_quality": 90}, {}]
    source.unreadable = {8: UnreadableItem("corrupt_table", "the page is damaged")}

    found = ends(source)

    assert isinstance(found[0], Added)
    failed = [end.item for end in found[1:] if isinstance(end, NotTaken)]
    assert [item.position for item in failed] == list(range(101, 109))
    assert [item.reason for item in failed] == [
        *["invalid_embedding"] * 3,
        *["invalid_row"] * 4,
        "corrupt_table",
    ]
    assert "L2 norm 2" in failed[0].detail
    assert "sha256" in failed[3].detail


def test_text_that_cannot_be_stored_fails_its_row() -> None:
    first, second = ends(held(2, declared=[{"label": "a\x00b"}, {"label": "fine"}]))

    assert isinstance(first, NotTaken)
    assert first.item.reason == "invalid_row"
    assert isinstance(second, Added)


def test_columns_and_options_are_heard_as_in_any_other_source() -> None:
    declared = {
        "generator": "SD XL",
        "license": "CC0",
        "camera": "none",
        "acquired_at": "2026-01-02",
    }

    (end,) = ends(held(declared=[declared]), generator="flux", label="face")

    assert isinstance(end, Added)
    provenance = end.content.provenance
    assert (provenance.generator, provenance.label, provenance.licence) == ("sd-xl", "face", "CC0")
    assert provenance.extra == {
        "path": "held, row 0",
        "source": declared,
        "conflicts": {"generator": {"source": "SD XL", "option": "flux"}},
    }


def test_free_provenance_is_kept_as_it_is_and_other_columns_beside_it() -> None:
    free = {"path": "original.png", "pattern": {"split": "train"}}

    exported, more = ends(
        held(
            2,
            declared=[
                {"generator": "x", "provenance": free},
                {"generator": "x", "provenance": free, "camera": 7},
            ],
        )
    )

    assert isinstance(exported, Added)
    assert isinstance(more, Added)
    assert exported.content.provenance.extra == free
    assert more.content.provenance.extra == {**free, "source": {"camera": 7}}


texts = st.sampled_from(
    ["", "  ", " SD XL ", "face", "CC0", "2026-01-02", "2026-01-02T03:04:05+02:00", "yesterday"]
)
values = (
    texts
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, width=16)
    | st.lists(texts, max_size=2)
)
columns = ["generator", "label", "licence", "source", "acquired_at"]
names = st.sampled_from([*columns, "license", "class", "Label", "path", "camera", "Provenance"])


@given(
    declared=st.dictionaries(names, values, max_size=7),
    free=st.dictionaries(names | texts, values, max_size=3),
)
def test_a_row_that_speaks_alone_is_read_in_the_short_way_as_in_the_long_one(
    declared: dict[str, JSON], free: dict[str, JSON]
) -> None:
    chunks = ReadyChunks(SPACE, IngestRequest(sources=["held"], corpus="known"))
    row = {**declared, "provenance": free}

    assert chunks.provenance("a.png", row) == chunks.join_with_free("a.png", row, free)


def test_facts_are_taken_and_the_image_was_never_here() -> None:
    facts = {
        "byte_size": 9,
        "width": 3,
        "height": 2,
        "format": "png",
        "pdq_hash": "0f" * 32,
        "pdq_quality": 90,
    }

    known, unknown = ends(held(2, facts=[facts, {}]))

    assert isinstance(known, Added)
    assert isinstance(unknown, Added)
    image = known.content.image
    assert (image.byte_size, image.width, image.height, image.format, image.seen) == (
        9,
        3,
        2,
        "png",
        False,
    )
    assert image.perceptual_hash is not None
    assert (image.perceptual_hash.bits.hex(), image.perceptual_hash.quality) == ("0f" * 32, 90)
    assert (unknown.content.image.width, unknown.content.image.seen) == (None, False)
