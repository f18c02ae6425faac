"""A crop, mirrored, is found and verified with what the extra `copies` brings, and without SSCD."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import ImageOps

from embedder.demonstration.photographs import load_bundled_photographs
from tests.api.terminal.commands import answer, run

pytest.importorskip("cv2")


def test_a_mirrored_crop_of_a_known_fake_is_an_edited_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = load_bundled_photographs()[:4]
    (tmp_path / "fakes").mkdir()
    for each in photographs:
        each.image.save(tmp_path / "fakes" / f"{each.name}.png")
    image = photographs[2].image
    width, height = image.size
    crop = image.crop((width // 4, height // 5, width - width // 8, height - height // 10))
    ImageOps.mirror(crop).save(tmp_path / "probe.jpg", quality=80)
    data = tmp_path / "data"
    monkeypatch.setenv("LINEUP_COPY_DESCRIPTOR", "lineup-copy")
    words = ("ingest", tmp_path / "fakes", "--corpus", "fakes", "--kind", "known_fake")
    assert run(data, *words).exit_code == 0

    monkeypatch.setenv("LINEUP_COPY_DESCRIPTOR", "auto")
    listed = answer(data, "copies", "list")
    found = answer(data, "search", tmp_path / "probe.jpg")["lookups"][0]["lookup"]

    assert listed["active"] == "lineup-copy"  # the one of the data, though others may be installed
    nearest = found["similarity"]["neighbours"][0]
    assert nearest["relation"] == "edited_copy"
    evidence = nearest["copy_evidence"]
    assert evidence["verified"]
    assert evidence["correspondence"]["mirrored"]
    assert evidence["descriptor_similarity"] > 0.2
    assert 0.3 < evidence["correspondence"]["entry_covered"] < 0.6
