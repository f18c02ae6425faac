from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from api.lookups.limits import Limits
from index.calibration.verbal import ENFSI_2015
from index.verdict import ClassifierPolicy
from tests.api.small_lineup import INFO, TilesModel, open_small


def test_the_limits_are_those_of_the_settings_and_of_the_model(tmp_path: Path) -> None:
    rates = {"false_match_rate": 0.02, "no_traces_miss_rate": 0.03}
    with open_small(tmp_path / "plain", **rates, synthetic_false_alarm_rate=0.04) as lineup:
        found = Limits.of(lineup)
    assert found.choices.threshold is None  # the model's says nothing about these corpora
    assert found.choices.classifier == ClassifierPolicy(1.0, -1.0, "the model's limits")
    assert (found.choices.miss_rate, found.choices.false_alarm_rate) == (0.03, 0.04)
    assert (found.false_match_rate, found.model_side, found.scale) == (0.02, 32, ENFSI_2015)
    assert found.caution is None

    with open_small(tmp_path / "configured", similarity_threshold=0.7) as lineup:
        found = Limits.of(lineup)
    assert found.choices.threshold is not None
    assert found.choices.threshold.value == 0.7
    assert "LINEUP_SIMILARITY_THRESHOLD" in found.choices.threshold.source

    warned = TilesModel(replace(INFO, logit_source=None, caution="not for casework"))
    with open_small(tmp_path / "bare", warned) as lineup:
        found = Limits.of(lineup)
    assert (found.choices.classifier, found.caution) == (None, "not for casework")
