from __future__ import annotations

import numpy as np
import pytest

from embedder.network.results import Embeddings, concatenate


def part(n: int, value: float, *, extras: bool = False) -> Embeddings:
    tokens = np.full((n, 4, 2), value, np.float32) if extras else None
    maps = np.full((n, 1, 1, 5, 5), value, np.float32) if extras else None
    return Embeddings(
        np.full((n, 2), value, np.float32), np.full(n, value, np.float32), tokens, maps
    )


def test_parts_are_one_below_the_other_in_their_order() -> None:
    whole = concatenate([part(2, 1.0), part(1, 2.0)])
    assert whole.vectors.tolist() == [[1, 1], [1, 1], [2, 2]]
    assert whole.logits.tolist() == [1, 1, 2]
    assert whole.patch_tokens is None
    assert whole.attentions is None


def test_extras_are_concatenated_where_they_were_requested() -> None:
    whole = concatenate([part(2, 1.0, extras=True), part(1, 2.0, extras=True)])
    assert whole.patch_tokens is not None
    assert whole.attentions is not None
    assert whole.patch_tokens[:, 0, 0].tolist() == [1, 1, 2]
    assert whole.attentions[:, 0, 0, 0, 0].tolist() == [1, 1, 2]


def test_a_part_alone_stays_as_it_is_and_no_part_is_an_error() -> None:
    assert np.array_equal(concatenate([part(3, 0.5)]).vectors, part(3, 0.5).vectors)
    with pytest.raises(ValueError, match="at least one"):
        concatenate([])
