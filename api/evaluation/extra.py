"""The extra that an evaluation needs: scikit-learn for its figures, matplotlib for its plots."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from api.errors import MissingExtra

EXTRA = "evaluate"
PACKAGES = ("matplotlib", "sklearn")


def require_extra(packages: Sequence[str] = PACKAGES) -> None:
    """Raise `MissingExtra` where a package is missing. Imports none: each takes up to a second."""
    if any(find_spec(package) is None for package in packages):
        raise MissingExtra(EXTRA, "an evaluation")
