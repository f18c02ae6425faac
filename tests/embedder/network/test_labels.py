from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embedder.errors import InvalidModelConfig
from embedder.network.labels import ONE_LOGIT, Head, Meaning, find_meaning, read_head


@pytest.mark.parametrize(
    ("label", "meaning"),
    [
        *((each, Meaning.SYNTHETIC) for each in ("fake", "FAKE", "Fakes", "deepfake", "DeepFake")),
        *((each, Meaning.SYNTHETIC) for each in ("Deep-fake", "synthetic", "AI", "ai", "AIGC")),
        *((each, Meaning.SYNTHETIC) for each in ("AI-generated", "ai_generated", "AIGenerated")),
        *((each, Meaning.SYNTHETIC) for each in ("AI generated image", "AiArtData", "artificial")),
        *((each, Meaning.SYNTHETIC) for each in ("computer-generated", "is_fake", "1: fake")),
        *((each, Meaning.AUTHENTIC) for each in ("real", "REAL", "Realism", "authentic", "human")),
        *((each, Meaning.AUTHENTIC) for each in ("hum", "Human-made", "natural", "nature")),
        *((each, Meaning.AUTHENTIC) for each in ("photo", "real photo", "RealArt", "original")),
        *((each, Meaning.UNKNOWN) for each in ("", "0", "LABEL_0", "label", "cat", "true")),
        *(
            (each, Meaning.UNKNOWN)
            for each in ("not fake", "non-AI", "unreal", "not_real", "no AI")
        ),
        *((each, Meaning.UNKNOWN) for each in ("ai-edited", "manipulated", "real or fake")),
        *((each, Meaning.UNKNOWN) for each in ("ai photo", "maybe real", "\u975e fake", "sd15")),
    ],
)
def test_the_meaning_of_a_name_whatever_its_case_and_punctuation(
    label: str, meaning: Meaning
) -> None:
    assert find_meaning(label) is meaning


def config(*labels: str) -> dict[str, Any]:
    named = {str(n): label for n, label in enumerate(labels)}
    return {"id2label": named, "label2id": {label: n for n, label in enumerate(labels)}}


@pytest.mark.parametrize(
    ("values", "rows", "expected"),
    [
        ({}, 1, Head(("LABEL_0",))),
        ({"num_labels": 1}, 1, Head(("LABEL_0",))),
        (config("LABEL_0"), 1, Head(("LABEL_0",))),
        (config("synthetic"), 1, Head(("synthetic",))),
        (config("authentic"), 1, Head(("authentic",), is_negated=True)),
        (config("Real"), 1, Head(("Real",), is_negated=True)),
        (config("Real", "Fake"), 2, Head(("Real", "Fake"), 1)),
        (config("artificial", "human"), 2, Head(("artificial", "human"), 0)),
        ({"id2label": {"0": "ai", "1": "hum"}, "num_labels": 2}, 2, Head(("ai", "hum"), 0)),
        ({**config("ai", "real"), "label2id": {"LABEL_0": 0}}, 2, Head(("ai", "real"), 0)),
        ({**config("ai", "real"), "label2id": {"ai": "0"}}, 2, Head(("ai", "real"), 0)),
    ],
)
def test_the_label_that_means_synthetic_is_found_by_its_name(
    values: dict[str, Any], rows: int, expected: Head
) -> None:
    assert read_head(values, "config.json", rows) == expected


@pytest.mark.parametrize(
    ("values", "rows", "message"),
    [
        ({}, 2, "'LABEL_0' and 'LABEL_1' do not say which .* --synthetic-label LABEL"),
        (config("fake", "other"), 2, "'fake' and 'other' do not say"),
        (config("fake", "ai"), 2, "do not say"),
        (config("real", "not real"), 2, "do not say"),
        (config("score"), 1, "the only label 'score' does not say .* --synthetic-label LABEL"),
        (config("a", "b", "c"), 3, r"3 labels \('a', 'b', 'c'\)"),
        ({"num_labels": 1000}, 1000, "1000 labels .*, ..."),
        ({}, 7, "7 labels"),
        ({**config("real", "fake"), "num_labels": 1}, 2, "num_labels is 1, but id2label names 2"),
        ({"num_labels": 0}, 1, "num_labels 0"),
        ({"num_labels": "two"}, 1, "num_labels 'two'"),
        ({"num_labels": True}, 1, "num_labels True"),
        ({"id2label": {}}, 1, "id2label"),
        ({"id2label": {"1": "fake"}}, 1, "id2label"),
        ({"id2label": ["real", "fake"]}, 2, "id2label"),
        ({**config("real", "fake"), "label2id": {"real": 1, "fake": 0}}, 2, "different numbers"),
    ],
)
def test_labels_that_do_not_say_it_are_refused_by_a_sentence(
    values: dict[str, Any], rows: int, message: str
) -> None:
    with pytest.raises(InvalidModelConfig, match=message):
        read_head(values, "config.json", rows)


def test_a_label_that_the_user_names_is_taken_unless_its_name_says_authentic() -> None:
    unknown = config("LABEL_0", "LABEL_1")
    assert read_head(unknown, "c", 2, "LABEL_1") == Head(("LABEL_0", "LABEL_1"), 1)
    assert read_head(unknown, "c", 2, "label_0").synthetic == 0
    assert read_head(config("score"), "c", 1, "score") == Head(("score",))
    with pytest.raises(InvalidModelConfig, match="'fake' is not one of the labels 'LABEL_0', "):
        read_head(unknown, "c", 2, "fake")
    for labels in (("real", "fake"), ("real",)):
        with pytest.raises(InvalidModelConfig, match="'real' says authentic"):
            read_head(config(*labels), "c", len(labels), "real")
    with pytest.raises(InvalidModelConfig, match="3 labels"):
        read_head(config("a", "b", "c"), "c", 3, "a")
    with pytest.raises(InvalidModelConfig, match="not one of the labels"):
        read_head(config("x", "X"), "c", 2, "x")


def test_each_way_to_read_a_head_has_its_own_words_in_the_fingerprint() -> None:
    two = ("real", "fake")
    heads = [ONE_LOGIT, Head(("real",), is_negated=True), Head(two, 1), Head(two, 0)]
    assert [head.reading for head in heads] == [None, "logit=-0", "logit=1-0", "logit=0-1"]
    assert Head(("synthetic",)).reading is None
    assert Head(two, 1).describe() == "The logit is that of 'fake' minus that of 'real'."
    assert "turned around" in heads[1].describe()
    assert "one logit" in ONE_LOGIT.describe()


@given(st.integers(0, 1), st.integers(0, 1000))
def test_the_folded_head_gives_the_difference_of_the_two_logits(chosen: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, 48, generator=generator)
    bias = torch.randn(2, generator=generator)
    cls = torch.randn(5, 48, generator=generator)
    folded, folded_bias = Head(("a", "b"), chosen).fold(weight, bias)
    assert (folded.shape, folded_bias.shape, folded.dtype) == ((1, 48), (1,), torch.float32)
    logits = cls @ weight.T + bias
    expected = logits[:, chosen] - logits[:, 1 - chosen]
    assert torch.allclose((cls @ folded.T + folded_bias)[:, 0], expected, atol=1e-5)


def test_one_logit_is_kept_or_turned_around() -> None:
    weight, bias = torch.tensor([[1.0, -2.0]]), torch.tensor([0.5])
    assert ONE_LOGIT.fold(weight, bias) == (weight, bias)
    turned, turned_bias = Head(("real",), is_negated=True).fold(weight, bias)
    assert torch.equal(turned, -weight)
    assert torch.equal(turned_bias, -bias)
