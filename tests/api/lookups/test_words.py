from typing import Any

from api.lookups.evidence_json import CollectionRate, RateAnswer
from api.lookups.words import rate_words
from index.calibration.false_matches import RateMethod

CAMERA = CollectionRate(corpus="reals", source="camera", images=200, matches=0)
FACES = CollectionRate(corpus="faces", source=None, images=56, matches=13)


def rate(**told: Any) -> RateAnswer:
    facts = {"estimate": 0.0102, "low": 0.003, "high": 0.024, "method": RateMethod.EMPIRICAL}
    return RateAnswer(**facts | {"images": 679, "sources": 679} | told)


def test_a_rate_that_nobody_reached_says_at_most_how_many() -> None:
    assert rate_words(rate(estimate=0.0, low=0.0, high=0.01, collections=[CAMERA])) == (
        "no known-real image comes this near (at most 1 %; 679 images of 679 photographs)"
    )


def test_a_rate_over_unlike_collections_says_whose_the_largest_share_is() -> None:
    said = "1 % of known-real images come this near (0.3 % to 2.4 %; 679 images of 679 photographs)"
    assert rate_words(rate()) == said
    assert (
        rate_words(rate(collections=[CAMERA, FACES]))
        == f"{said}; by collection 0 % to 23 % (13 of 56 of faces)"
    )
    most = CAMERA.model_copy(update={"matches": 100})
    assert rate_words(rate(collections=[most, FACES])).endswith(
        "by collection 23 % to 50 % (100 of 200 of reals, camera)"
    )
