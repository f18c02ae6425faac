"""The answers of the demonstration: it runs once more over what a first run left.

The table of the first run, which starts from nothing, is that of README.md.
"""

import shutil
from pathlib import Path

import pytest

from api.settings import Settings
from api.terminal.demo import explain
from api.terminal.demonstration import DemoAnswer, run_demo
from embedder.demonstration.resynthesis import DECODERS


@pytest.fixture(scope="module")
def said() -> list[str]:
    """What the second run says on its way."""
    return []


@pytest.fixture(scope="module")
def answer(
    demonstration: Path, said: list[str], tmp_path_factory: pytest.TempPathFactory
) -> DemoAnswer:
    made = tmp_path_factory.mktemp("demo") / "lineup-demo"
    shutil.copytree(demonstration / "lineup-demo", made)
    return run_demo(Settings(offline=True), made, said.append)


def test_photographs_have_no_traces_and_are_near_to_no_known_fake(answer: DemoAnswer) -> None:
    photographs = [row.lookup for row in answer.rows if row.truth == "photograph"]

    assert len(photographs) == 2
    assert {lookup.classifier.verdict for lookup in photographs if lookup.classifier} == {
        "no_traces"
    }
    assert {lookup.similarity.verdict for lookup in photographs} == {"not_similar"}


def test_a_fake_of_each_generator_is_called_synthetic_and_lies_nearest_to_its_kind(
    answer: DemoAnswer,
) -> None:
    fakes = {row.truth: row.lookup for row in answer.rows if row.truth in DECODERS}

    assert set(fakes) == set(DECODERS)
    assert {lookup.classifier.verdict for lookup in fakes.values() if lookup.classifier} == {
        "synthetic"
    }
    for generator, lookup in fakes.items():
        assert lookup.similarity.neighbours[0].entry.generator == generator


def test_its_calibration_tells_fakes_from_photographs_by_a_rate_a_threshold_and_a_generator(
    answer: DemoAnswer,
) -> None:
    """The photographs that came with the model join its own, so that its figures support them."""
    fakes = [row.lookup.similarity for row in answer.rows if row.is_new_fake]

    assert {each.verdict for each in fakes} == {"similar_to_known_fakes"}
    for similarity in fakes:
        used, discrimination = similarity.calibration, similarity.discrimination
        assert used is not None
        assert used.reference == ["demo-reals", "photographs shipped with builtin"]
        assert not used.provisional
        assert similarity.threshold is not None
        assert similarity.threshold.source.startswith("similarity at a false-match rate of 1.00%")
        assert similarity.false_match_rate is not None
        assert similarity.false_match_rate.high < 0.05
        assert discrimination is not None
        assert discrimination.hit_rate.low > 0.4
    (transposed,) = (row.lookup.similarity for row in answer.rows if row.truth == "demo-transposed")
    assert transposed.attribution is not None
    assert transposed.attribution.candidates == ["demo-transposed"]


def test_the_copy_of_a_known_fake_is_identical(answer: DemoAnswer) -> None:
    (copy,) = (row.lookup for row in answer.rows if row.probe == "known-copy.png")

    first = copy.similarity.neighbours[0]
    assert (first.relation, f"{first.cosine_similarity:.3f}") == ("identical", "1.000")
    assert copy.similarity.verdict == "similar_to_known_fakes"


def test_a_copy_that_was_compressed_again_is_found_by_its_picture(answer: DemoAnswer) -> None:
    (lookup,) = (row.lookup for row in answer.rows if row.probe == "known-jpeg75.jpg")
    (original,) = (row.lookup for row in answer.rows if row.probe == "known-copy.png")

    # The photograph that the fake was made from is known too, and a hash cannot tell of which the
    # probe is a copy.
    assert (lookup.similarity.verdict, lookup.similarity.reason) == (
        "inconclusive",
        "also_known_real",
    )
    assert lookup.similarity.nearest_known_real is not None
    first, *others = lookup.similarity.neighbours
    tile = original.similarity.neighbours[0].entry.provenance["path"]
    assert first.relation == "near_duplicate"
    assert (
        Path(str(first.entry.provenance["path"])).name == Path(str(tile)).name
    )  # by one of the four decoders
    assert first.hamming_distance is not None
    assert first.hamming_distance <= 8
    assert max(each.cosine_similarity for each in others) > first.cosine_similarity


def test_a_copy_that_was_mirrored_is_found_and_named(answer: DemoAnswer) -> None:
    (lookup,) = (row.lookup for row in answer.rows if row.probe == "known-mirrored.jpg")
    first = lookup.similarity.neighbours[0]

    assert (lookup.similarity.verdict, lookup.similarity.reason) == (
        "inconclusive",
        "also_known_real",
    )
    assert first.relation == "near_duplicate"
    assert Path(str(first.entry.provenance["path"])).name == "astronaut-0-0.png"
    assert first.copy_evidence is not None
    assert first.copy_evidence.symmetry == "mirrored"
    assert "mirrored" in first.copy_evidence.words
    (line,) = (each for each in explain(answer) if each.startswith("known-mirrored: "))
    assert first.copy_evidence.words in line


def test_running_it_again_adds_nothing(
    demonstration: Path, answer: DemoAnswer, said: list[str]
) -> None:
    counts = [line for line in said if "added" in line]
    assert len(counts) == 2
    assert all(", 0 added," in line for line in counts)
    printed = (demonstration / "printed").read_text(encoding="utf-8").splitlines()
    (header,) = (at for at, line in enumerate(printed) if line.startswith("probe "))
    probes = [Path(row.probe).stem for row in answer.rows]
    assert [line.split()[0] for line in printed[header + 1 :][: len(probes)]] == probes
