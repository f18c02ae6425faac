"""`lineup show` and `replay` over the built-in model and a real corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.lookups.answers.json import LookupAnswer
from api.lookups.replays.json import ReplayAnswer
from api.terminal.lookups import print_replay
from tests.api.terminal.commands import answer, assert_one_line, run

Capture = pytest.CaptureFixture[str]


def test_an_earlier_look_up_is_shown_as_it_was(data: Path, lookup: LookupAnswer) -> None:
    shown = run(data, "show", lookup.id)

    assert shown.stdout.startswith("look-up of 20")
    assert lookup.similarity.explanation in shown.stdout
    assert answer(data, "show", lookup.id)["id"] == lookup.id
    assert_one_line(run(data, "show", "nothing"), 5, "'nothing'")


def test_a_replay_that_is_equal_says_so(data: Path, lookup: LookupAnswer) -> None:
    done = run(data, "replay", lookup.id)

    assert done.exit_code == 0
    assert done.stdout.startswith(f"equal: look-up {lookup.id}")
    assert answer(data, "replay", lookup.id)["equal"] is True


def test_a_replay_that_differs_lists_the_differences(
    data: Path, lookup: LookupAnswer, capsys: Capture
) -> None:
    document = answer(data, "replay", lookup.id)
    document["equal"], document["exact"] = False, False
    document["evidence_sha256"] = None
    document["differences"] = [{"place": "/similarity/searched", "then": 3, "now": 4}]
    verdicts = {
        "similarity": "not_similar",
        "similarity_reason": "below_threshold",
        "classifier": None,
        "classifier_reason": None,
    }
    rules = {"then": 1, "now": 2, "verdicts_then": verdicts, "verdicts_now": verdicts}
    document["rules"] = {**rules, "words": "judged by rules 1"}
    for within, result in ((None, "not equal: "), (2.5e-13, "equal within 2.5e-13: ")):
        document["within"] = within
        print_replay(ReplayAnswer.model_validate(document))
        first, second, third, fourth = capsys.readouterr().out.splitlines()

        assert first.startswith(result)
        assert "used compressed codes" in first
        assert second == "  /similarity/searched: 3 then, 4 now"
        assert third == "  judged by rules 1"
        assert fourth.startswith("  evidence without a digest, repeated ")


def test_a_replay_embeds_the_image_again_that_it_is_given(
    data: Path, images: Path, lookup: LookupAnswer
) -> None:
    image = images / "known" / "0.png"
    done = run(data, "replay", lookup.id, "--image", image)
    other = run(data, "replay", lookup.id, "--image", images / "unseen.png")

    assert done.exit_code == 0
    assert "the probe embedded again is equal within the tolerance (" in done.stdout
    again = answer(data, "replay", lookup.id, "--image", image)["reembedded"]
    assert again["cosine_similarity"] > 0.99999
    assert_one_line(other, 4, "sha256")
    assert_one_line(
        run(data, "replay", lookup.id, "--image", images / "nothing.png"), 4, "o such file"
    )
