from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from api.lookups.limits import Limits
from index.calibration.calibration import AS_IS
from index.calibration.for_probe import ProbeCalibration
from index.calibration.verbal import ENFSI_2015
from index.verdict import ClassifierPolicy, Policy, Threshold
from tests.api.small_lineup import INFO, TilesModel, open_small
from tests.index.assessing import applied, false_matches, stratum

MODELS = Threshold(0.5, "the model's")
CLASSIFIER = ClassifierPolicy(2.0, -2.0, "the model's")
LIMITS = Limits(0.01, MODELS, False, CLASSIFIER, 224, ENFSI_2015)
CONFIGURED = replace(LIMITS, threshold=Threshold(0.7, "the operator's"))
CONFIGURED = replace(CONFIGURED, threshold_is_configured=True)
CALIBRATION = ProbeCalibration.of(
    applied(strata={AS_IS: stratum(), "jpeg75": stratum()}), None, 100, 0.01
)
UNSUPPORTED = ProbeCalibration.of(
    applied(strata={AS_IS: stratum(false_matches=false_matches(high=1.0))}), None, 100, 0.01
)


def test_a_calibration_wins_over_the_model_and_the_operator_over_both() -> None:
    assert LIMITS.choose_policy(CALIBRATION) == Policy(CALIBRATION.threshold, CLASSIFIER)
    assert CONFIGURED.choose_policy(CALIBRATION) == Policy(CONFIGURED.threshold, CLASSIFIER)
    for no_threshold in (None, UNSUPPORTED):
        assert LIMITS.choose_policy(no_threshold) == Policy(MODELS, CLASSIFIER)
        assert replace(LIMITS, threshold=None).choose_policy(no_threshold).threshold is None


def test_only_a_calibration_has_thresholds_for_deliveries() -> None:
    assert LIMITS.find_thresholds(CALIBRATION, [AS_IS, "jpeg75"]) == CALIBRATION.find_thresholds(
        [AS_IS, "jpeg75"]
    )
    assert None not in LIMITS.find_thresholds(CALIBRATION, [AS_IS, "jpeg75"])
    assert LIMITS.find_thresholds(None, [AS_IS, "jpeg75"]) == [None, None]
    assert CONFIGURED.find_thresholds(CALIBRATION, [AS_IS]) == [None]


def test_the_limits_are_those_of_the_settings_and_of_the_model(tmp_path: Path) -> None:
    with open_small(tmp_path / "plain", false_match_rate=0.02) as lineup:
        found = Limits.of(lineup)
    assert found.threshold == Threshold(0.9, "the model's")
    assert found.classifier == ClassifierPolicy(1.0, -1.0, "the model's limits")
    assert (found.false_match_rate, found.threshold_is_configured) == (0.02, False)
    assert (found.model_side, found.scale) == (32, ENFSI_2015)

    with open_small(tmp_path / "configured", similarity_threshold=0.7) as lineup:
        found = Limits.of(lineup)
    assert found.threshold is not None
    assert (found.threshold.value, found.threshold_is_configured) == (0.7, True)

    bare = TilesModel(replace(INFO, similarity_threshold=None, logit_source=None))
    with open_small(tmp_path / "bare", bare) as lineup:
        found = Limits.of(lineup)
    assert (found.threshold, found.classifier) == (None, None)
