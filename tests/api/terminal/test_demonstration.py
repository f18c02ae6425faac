"""How near each known photograph comes to the known fakes, and files that are written once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.images import describe_image
from api.lineup import Lineup
from api.terminal.demonstration import Probe, look_up_probe, measure_photographs, write_once
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.provenance import Provenance
from tests.api.modelless import sha256_of
from tests.api.small_lineup import FAKE, REAL, encoded, open_small, picture


def add(lineup: Lineup, kind: CorpusKind, seed: int, photograph: str) -> np.ndarray:
    """Add a picture that was made of a photograph; its vector (d,)."""
    data = encoded(picture(seed))
    made = lineup.make_picture(data, replace(lineup.picture_order, perceptual_hash=True))
    vector, logit = lineup.embed_picture(made)
    facts = describe_image(sha256_of(data), data, made)
    corpus = "fakes" if kind is FAKE else "reals"
    provenance = Provenance(generator="gan", extra={"source_image": photograph})
    with lineup.database.write() as conn:
        ensure_corpus(conn, corpus, kind)
        add_entries(conn, corpus, lineup.space, [NewEntry(facts, vector, logit, provenance)])
    return vector


def test_a_photograph_is_compared_with_fakes_of_other_photographs_only(tmp_path: Path) -> None:
    made_of = ["cat", "dog", "cat", "tree"]
    with open_small(tmp_path) as lineup:
        fakes = [add(lineup, FAKE, seed, name) for seed, name in enumerate(made_of)]
        reals = [add(lineup, REAL, seed, name) for seed, name in [(10, "cat"), (11, "sea")]]
        measured = measure_photographs(lineup)
    similarities = np.stack(reals) @ np.stack(fakes).T  # (reals, fakes)

    assert measured == pytest.approx([max(similarities[0, [1, 3]]), max(similarities[1])], abs=1e-6)


def test_the_photographs_that_a_probe_beats_are_counted(tmp_path: Path) -> None:
    with open_small(tmp_path / "data") as lineup:
        add(lineup, FAKE, 1, "cat")
        lineup.index.refresh()
        path = tmp_path / "probe.png"
        path.write_bytes(encoded(picture(5)))
        probe = Probe("probe.png", "photograph", path)
        similarity = look_up_probe(lineup, probe, np.empty(0)).lookup.similarity.nearest_similarity
        assert similarity is not None
        others = np.array([similarity - 0.1, similarity, similarity + 0.1, -np.inf])
        row = look_up_probe(lineup, probe, others)

    assert row.nearer_than == 2  # an equal one is not less similar
    assert (row.probe, row.truth) == ("probe.png", "photograph")


def test_without_a_known_fake_a_probe_beats_no_photograph(tmp_path: Path) -> None:
    with open_small(tmp_path / "data") as lineup:
        path = tmp_path / "probe.png"
        path.write_bytes(encoded(Image.new("RGB", (64, 64), "red")))
        row = look_up_probe(lineup, Probe("p", "photograph", path), np.array([-1.0]))
    assert row.nearer_than == 0


def test_a_file_is_written_whole_and_not_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.png"
    write_once(path, b"one")
    first = path.stat().st_mtime_ns, path.stat().st_ino
    write_once(path, b"one")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == first
    write_once(path, b"two")

    assert path.read_bytes() == b"two"
    assert [each.name for each in path.parent.iterdir()] == ["a.png"]
