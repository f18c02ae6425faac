"""The names of verdicts, for people. The page and the terminal show the same ones.

JSON has the values themselves. No module of `index` is imported here, because the terminal prints
names before it opens anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

VERDICT_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "synthetic": "synthetic",
        # Not "authentic" and not "real": a fake that the classifier misses gets this verdict too.
        "no_traces": "no synthetic traces found",
        "similar_to_known_fakes": "similar to known fakes",
        "not_similar": "not similar",
        "inconclusive": "inconclusive",
    }
)
