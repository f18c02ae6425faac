"""A look-up printed in full."""

from __future__ import annotations

from typing import Any

import pytest

from api.copies.stages import CopyStage, StageOutcome
from api.lookups.answers.copies_json import CopiesAnswer, CopyAnswer, StageAnswer
from api.lookups.answers.evidence_json import StatementAnswer
from api.lookups.answers.json import LookupAnswer, ProbeLookup
from api.terminal.answers import print_lookup
from api.terminal.search import print_overview
from index.copies import Symmetry

Capture = pytest.CaptureFixture[str]


def with_copies(lookup: LookupAnswer, **probe: Any) -> LookupAnswer:
    """A mirrored copy, an edited one, a lead and an entry that nothing connects with the probe."""
    (first, *_) = lookup.similarity.neighbours
    found = [
        ("near_duplicate", CopyAnswer(words="mirrored", symmetry=Symmetry.MIRRORED)),
        ("edited_copy", CopyAnswer(words="cut to 40 %; verified by 61 keypoints", verified=True)),
        ("possible_copy", CopyAnswer(words="44 of 256 bits differ", hamming_distance=44)),
        ("near_duplicate", CopyAnswer(words="as it is", symmetry=Symmetry.UPRIGHT)),
        (None, None),
    ]
    neighbours = [
        first.model_copy(
            update={"rank": rank, "relation": relation, "copy_evidence": evidence} | probe
        )
        for rank, (relation, evidence) in enumerate(found, 1)
    ]
    stage = StageAnswer(
        stage=CopyStage.GEOMETRY,
        outcome=StageOutcome.NOT_INSTALLED,
        words="local features: not installed",
    )
    similarity = lookup.similarity.model_copy(update={"neighbours": neighbours})
    missed = "crops; this installation lacks OpenCV"
    copies = CopiesAnswer(stages=[stage], not_looked_for=missed)
    said = [StatementAnswer(topic="copies", words=missed)]
    return lookup.model_copy(
        update={"similarity": similarity, "copies": copies, "statements": said}
    )


def test_copies_say_their_edits_leads_are_no_copies_and_what_was_not_looked_for_is_said(
    lookup: LookupAnswer, capsys: Capture
) -> None:
    print_lookup("a.png", with_copies(lookup))
    lines = capsys.readouterr().out.splitlines()

    assert "  copies      not looked for: crops; this installation lacks OpenCV" in lines
    assert [line for line in lines if line.startswith(("  copy ", "  lead "))] == [
        "  copy 1      mirrored",
        "  copy 2      cut to 40 %; verified by 61 keypoints",
        "  lead 3      44 of 256 bits differ",
    ]
    assert not any(line.startswith("  stage") for line in lines)
    print_lookup("a.png", with_copies(lookup), in_detail=True)
    in_full = capsys.readouterr().out.splitlines()
    assert "  stage       local features: not installed" in in_full
    assert "  copy 4      as it is" in in_full


def test_a_probe_too_small_for_the_model_has_no_classifier_and_no_similarities(
    lookup: LookupAnswer, capsys: Capture
) -> None:
    small = with_copies(lookup, cosine_similarity=None).model_copy(
        update={
            "classifier": None,
            "probe": lookup.probe.model_copy(update={"embedding": "none"}),
            "statements": [],
        }
    )
    print_lookup("small.png", small)
    full = capsys.readouterr().out
    print_overview((), [ProbeLookup(name="small.png", lookup=small)])
    overview = capsys.readouterr().out

    assert "  classifier  not asked: the image is too small for the model\n" in full
    assert "None" not in full + overview
    assert "  near_duplicate  " in overview


def test_a_look_up_by_codes_states_its_recall(lookup: LookupAnswer, capsys: Capture) -> None:
    document = lookup.model_dump()
    document["classifier"] = None
    document["method"]["recall"] = {
        "k": 10,
        "recall": 0.9941,
        "probes": 512,
        "lookups": 0,
        "nprobe": 1,
        "candidates": 96,
        "rows": 1_000_000,
        "measured_at": lookup.created_at,
    }
    print_lookup("probe", LookupAnswer.model_validate(document))
    printed = capsys.readouterr().out

    assert "  search      " in printed
    assert "recall@10 0.9941" in printed
    assert "  classifier  " not in printed
