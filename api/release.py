"""Which release of Lineup this is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


@cache
def get_version() -> str:
    """Return the version of the installed package; its metadata are read once."""
    return version("lineup-forensics")
