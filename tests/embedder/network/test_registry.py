from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedder.errors import InvalidModelConfig
from embedder.network.registry import (
    BUILTIN,
    EARLIER_BUILTIN_WEIGHTS,
    MODELS,
    WEIGHTS_FILE,
    Measured,
    ModelInfo,
    ModelSource,
    get_builtin_directory,
    read_measured,
)
from embedder.pictures.preprocess import Preprocessing

NATIVE = Preprocessing(None, None, crop_size=160)
INFO = ModelInfo("tiny", None, "MIT", "ab" * 32, NATIVE, 32, 1000, 160)


def write(path: Path, values: object) -> Path:
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"generators": "demo-nearest"}, "generators is not a list"),
        ({"generators": ["demo-nearest", 1]}, "generators is not a list"),
        ({"similarity_threshold": "0.9"}, "similarity_threshold '0.9' is not a number"),
        ({"synthetic_logit": True}, "synthetic_logit True is not a number"),
        ({"no_traces_logit": [1]}, r"no_traces_logit \[1\] is not a number"),
        ({"authentic_logit": [1]}, r"authentic_logit \[1\] is not a number"),
        ({"threshold_source": 3}, "threshold_source 3 is not text"),
        ({"logit_source": ["a"]}, r"logit_source \['a'\] is not text"),
        ([], "is not a JSON object"),
    ],
)
def test_figures_of_a_wrong_type_are_refused_by_name(
    tmp_path: Path, values: Any, message: str
) -> None:
    with pytest.raises(InvalidModelConfig, match=message):
        read_measured(write(tmp_path / "measured.json", values))


def test_without_the_file_or_its_keys_nothing_is_known(tmp_path: Path) -> None:
    assert read_measured(tmp_path / "measured.json") == Measured()
    other = {"date": "2026-01-02", "generators": None, "similarity_threshold": None}
    assert read_measured(write(tmp_path / "measured.json", other)) == Measured()


def test_the_figures_of_a_file_are_read(tmp_path: Path) -> None:
    values = {
        "generators": ["one", "two"],
        "similarity_threshold": 1,
        "threshold_source": "a source",
        "synthetic_logit": 2.5,
        "no_traces_logit": -1,
        "logit_source": "another",
    }
    found = read_measured(write(tmp_path / "measured.json", values))
    assert found == Measured(("one", "two"), 1.0, "a source", 2.5, -1.0, "another")
    assert isinstance(found.similarity_threshold, float)


def test_the_older_name_of_the_limit_is_still_read(tmp_path: Path) -> None:
    older = {"synthetic_logit": 2.5, "authentic_logit": -1}
    assert read_measured(write(tmp_path / "measured.json", older)).no_traces_logit == -1.0
    both = {"authentic_logit": -1, "no_traces_logit": -2}
    assert read_measured(write(tmp_path / "measured.json", both)).no_traces_logit == -2.0


def test_how_the_weights_are_read_counts_only_where_it_is_said() -> None:
    # Vectors in users' databases carry this number: it must never change for the same model.
    plain = "3afae4ac5b63e617a83b266b7a26410799e6a822416e97795f9d3795f3c18e7e"
    assert INFO.space_fingerprint == plain
    assert replace(INFO, reading="logit=1-0").space_fingerprint != plain


def test_a_model_is_measured_where_a_figure_came_with_it() -> None:
    assert not INFO.is_measured
    assert replace(INFO, similarity_threshold=0.9).is_measured
    assert replace(INFO, synthetic_logit=2.0).is_measured


def test_only_the_built_in_model_has_a_caution() -> None:
    assert [name for name, source in MODELS.items() if source.caution] == [BUILTIN]
    assert "not for casework" in str(MODELS[BUILTIN].caution)


def test_the_space_depends_on_weights_and_preprocessing_and_on_nothing_else() -> None:
    other = replace(NATIVE, crop_size=161)
    changed = [replace(INFO, weights_sha256="cd" * 32), replace(INFO, preprocessing=other)]
    assert len({each.space_fingerprint for each in (INFO, *changed)}) == 3
    renamed = replace(INFO, name="other", similarity_threshold=0.5, licence="none")
    assert renamed.space_fingerprint == INFO.space_fingerprint
    assert re.fullmatch("[0-9a-f]{64}", INFO.space_fingerprint)


def test_every_model_pins_its_weights_and_its_files_fully() -> None:
    for name, source in MODELS.items():
        assert source.name == name
        assert source.weights is not None
        assert source.weights.name == WEIGHTS_FILE
        assert (source.hub_id is None) == (name == BUILTIN)
        if source.hub_id is not None:
            assert re.fullmatch("[0-9a-f]{40}", source.revision or "")
        for pin in source.pinned:
            assert pin.byte_size > 0
            assert re.fullmatch("[0-9a-f]{64}", pin.sha256)


def test_a_source_without_pins_has_no_pinned_weights() -> None:
    assert ModelSource("local", "a directory", "MIT").weights is None


def test_the_shipped_weights_are_not_those_that_had_the_name_before() -> None:
    shipped = MODELS[BUILTIN].weights
    assert shipped is not None
    assert shipped.sha256 not in EARLIER_BUILTIN_WEIGHTS
    assert (get_builtin_directory() / WEIGHTS_FILE).stat().st_size == shipped.byte_size
