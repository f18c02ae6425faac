"""Which logit of a checkpoint means synthetic: the labels of a `config.json`, and the head that
gives one logit.

A model with one label is read as it is, for its logit means synthetic; if its name says authentic,
the sign is turned around. A model with two labels gives the difference of their two logits, which
is the logit of the softmax over both. Which of the two means synthetic is found by its name. A
name that could mean either is refused, because the wrong choice exchanges the answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from embedder.errors import InvalidModelConfig

if TYPE_CHECKING:
    from torch import Tensor

# Words in labels of public detectors on the Hugging Face Hub.
_SYNTHETIC_WORDS = frozenset(
    {"fake", "fakes", "deepfake", "deepfakes", "synthetic", "synthesized", "synthesised"}
    | {"ai", "aigc", "aigenerated", "generated", "artificial", "gan", "diffusion", "forged"}
)
_AUTHENTIC_WORDS = frozenset(
    {"real", "reals", "realism", "authentic", "genuine", "human", "hum", "natural", "nature"}
    | {"photo", "photos", "photograph", "photographs", "camera", "original", "pristine"}
)
# Words beside them that do not change the meaning.
_NEUTRAL_WORDS = frozenset(
    {"image", "images", "picture", "pictures", "img", "art", "data", "face", "content", "class"}
    | {"label", "made", "by", "is", "deep", "computer", "machine", "intelligence"}
)
# What transformers calls a label that has no name.
_UNNAMED = re.compile(r"LABEL_\d+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

HOW_TO_NAME = "name it with `lineup models add NAME FOLDER --synthetic-label LABEL`"


class Meaning(StrEnum):
    """What the name of a label says about an image."""

    SYNTHETIC = "synthetic"
    AUTHENTIC = "authentic"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Head:
    """How the logits of a checkpoint become one logit that means synthetic.

    `labels` are the names in the checkpoint's order; none where it names none. `synthetic` is the
    row of the label that means synthetic. `is_negated`: the only label means authentic.
    """

    labels: tuple[str, ...] = ()
    synthetic: int = 0
    is_negated: bool = False

    @property
    def rows(self) -> int:
        """Number of logits of the checkpoint."""
        return max(1, len(self.labels))

    @property
    def reading(self) -> str | None:
        """What the weights alone do not tell; it is part of the embedding space. None for one logit
        that is read as it is, so that the fingerprint of such a model stays.
        """
        if self.rows == 2:
            return f"logit={self.synthetic}-{1 - self.synthetic}"
        return "logit=-0" if self.is_negated else None

    def describe(self) -> str:
        """Say in one sentence how the logit is made."""
        if self.rows == 2:
            other = self.labels[1 - self.synthetic]
            return f"The logit is that of {self.labels[self.synthetic]!r} minus that of {other!r}."
        if self.is_negated:
            return f"The logit is that of {self.labels[0]!r} with the sign turned around."
        return "The logit is the model's one logit."

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weight (1, d) and bias (1,) of the one logit, float32, from those of all rows
        (r, d) and (r,). The difference is computed in float64.
        """
        if self.rows == 2:
            chosen, other = self.synthetic, 1 - self.synthetic
            folded = (each.double() for each in (weight, bias))
            return _as_row(*(each[chosen] - each[other] for each in folded))
        return (-weight, -bias) if self.is_negated else (weight, bias)


ONE_LOGIT = Head()


def read_head(
    config: Mapping[str, Any], source: str, rows: int, synthetic_label: str | None = None
) -> Head:
    """Return how the logit is made from the labels of a `config.json`.

    `source` names the file in errors. `rows` is the number of logits of the weights, which counts
    where the file names no label. `synthetic_label` is the name that the user gave.

    Raises InvalidModelConfig.
    """
    labels = _read_labels(config, source, rows)
    if len(labels) > 2:
        shown = ", ".join(repr(each) for each in labels[:6])
        raise InvalidModelConfig(
            source,
            f"the model has {len(labels)} labels ({shown}{', ...' if len(labels) > 6 else ''}); "
            "only models with one or two labels can be read",
        )
    if synthetic_label is not None:
        return _name_synthetic(labels, source, synthetic_label)
    meanings = [find_meaning(label) for label in labels]
    if len(labels) == 1:
        if meanings[0] is Meaning.UNKNOWN and not _UNNAMED.fullmatch(labels[0]):
            raise InvalidModelConfig(
                source,
                f"the only label {labels[0]!r} does not say whether it means synthetic: if it "
                f"does, {HOW_TO_NAME}",
            )
        return Head(labels, 0, is_negated=meanings[0] is Meaning.AUTHENTIC)
    if set(meanings) != {Meaning.SYNTHETIC, Meaning.AUTHENTIC}:
        raise InvalidModelConfig(
            source,
            f"the labels {labels[0]!r} and {labels[1]!r} do not say which of them means synthetic: "
            + HOW_TO_NAME,
        )
    return Head(labels, meanings.index(Meaning.SYNTHETIC))


def find_meaning(label: str) -> Meaning:
    """Return what the name of a label says, whatever its case and punctuation.

    It is unknown where any word is not known, also where it is a "not".
    """
    if not label.isascii():
        return Meaning.UNKNOWN
    found = {word.casefold() for word in _WORD.findall(label)}
    synthetic, authentic = bool(found & _SYNTHETIC_WORDS), bool(found & _AUTHENTIC_WORDS)
    if found - _SYNTHETIC_WORDS - _AUTHENTIC_WORDS - _NEUTRAL_WORDS or synthetic == authentic:
        return Meaning.UNKNOWN
    return Meaning.SYNTHETIC if synthetic else Meaning.AUTHENTIC


def _name_synthetic(labels: Sequence[str], source: str, name: str) -> Head:
    """Return the head whose synthetic label the user named."""
    folded = [label.casefold() for label in labels]
    if folded.count(name.casefold()) != 1:
        raise InvalidModelConfig(
            source,
            f"{name!r} is not one of the labels {', '.join(repr(each) for each in labels)}",
        )
    row = folded.index(name.casefold())
    if find_meaning(labels[row]) is Meaning.AUTHENTIC:
        raise InvalidModelConfig(
            source, f"the label {labels[row]!r} says authentic, so it is not read as synthetic"
        )
    return Head(tuple(labels), row)


def _read_labels(config: Mapping[str, Any], source: str, rows: int) -> tuple[str, ...]:
    """Return the names of the labels, in the order of the logits."""
    named = _read_id2label(config, source)
    count = config.get("num_labels")
    if count is None:
        count = len(named) if named is not None else rows
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidModelConfig(source, f"num_labels {count!r} is not a positive number")
    if named is None:
        named = tuple(f"LABEL_{n}" for n in range(count))
    if len(named) != count:
        raise InvalidModelConfig(
            source, f"num_labels is {count}, but id2label names {len(named)} labels"
        )
    _refuse_contradiction(config, named, source)
    return named


def _read_id2label(config: Mapping[str, Any], source: str) -> tuple[str, ...] | None:
    given = config.get("id2label")
    if given is None:
        return None
    wanted = [str(n) for n in range(len(given))] if isinstance(given, dict) and given else []
    if not wanted or sorted(given) != sorted(wanted):
        raise InvalidModelConfig(source, f"id2label {given!r} does not name the labels from 0 on")
    return tuple(str(given[key]) for key in wanted)


def _refuse_contradiction(config: Mapping[str, Any], labels: Sequence[str], source: str) -> None:
    """Refuse a `label2id` that gives a label of `id2label` another number."""
    given = config.get("label2id")
    if not isinstance(given, dict):
        return
    for row, label in enumerate(labels):
        if label in given and str(given[label]) != str(row):
            raise InvalidModelConfig(
                source, f"id2label and label2id give {label!r} different numbers"
            )


def _as_row(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return (1, d) and (1,) float32 of (d,) and ()."""
    return weight[None].float(), bias[None].float()
