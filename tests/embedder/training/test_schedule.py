import pytest

from embedder.training.schedule import warm_up_then_cosine


@pytest.mark.parametrize(
    ("spent", "share"), [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.55, 0.5), (1.0, 0.0)]
)
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(spent: float, share: float) -> None:
    assert warm_up_then_cosine(spent, warm_up=0.1) == pytest.approx(share)
