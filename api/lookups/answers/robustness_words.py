"""Whether a verdict would change, in words: without its strongest entry, and after re-encodings."""

from __future__ import annotations

from api.lookups.answers.names import VERDICT_NAMES
from api.lookups.answers.robustness_json import RestsOnAnswer, StabilityAnswer, WithoutStrongest

LISTED = 5  # entries that a sentence lists


def describe_rests_on(rests_on: RestsOnAnswer, without: WithoutStrongest) -> str:
    """The entries that support the verdict, and the verdict without the strongest."""
    entries = ", ".join(map(str, rests_on.entry_ids[:LISTED]))
    if len(rests_on.entry_ids) > LISTED:
        entries += ", ..."
    noun = "entry" if len(rests_on.entry_ids) == 1 else "entries"
    change = "stays" if rests_on.stands else "is"
    name = VERDICT_NAMES[without.verdict]
    return f"{noun} {entries}; without entry {without.entry_id} the verdict {change} {name}"


def describe_stability(stability: StabilityAnswer, digits: int, logit_digits: int) -> str:
    """How far re-encodings move logit and similarity, printed with these decimals."""
    if stability.logit_low is None or stability.logit_high is None:
        return "no re-encoding of the probe can be used"
    words = (
        f"{len(stability.reencodings)} re-encodings: logit {stability.logit_low:+.{logit_digits}f} "
        f"to {stability.logit_high:+.{logit_digits}f}"
    )
    if stability.similarity_low is not None and stability.similarity_high is not None:
        words += (
            f", similarity {stability.similarity_low:.{digits}f} to "
            f"{stability.similarity_high:.{digits}f}"
        )
    if stability.generators:
        words += f", nearest known fakes by {' or '.join(stability.generators)}"
    if stability.part is not None:
        width, height = stability.part
        words += f" (of the large picture, {width:,} x {height:,} pixels were re-encoded)"
    return words
