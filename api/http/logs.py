"""The logs of uvicorn: one line a record, and what a client sends is only shown."""

from __future__ import annotations

import sys
from copy import deepcopy
from typing import Any

from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import AccessFormatter, DefaultFormatter

from api.visible import VisibleFormatter


class VisibleDefaultFormatter(VisibleFormatter, DefaultFormatter):
    """The formatter of everything but requests."""


class VisibleAccessFormatter(VisibleFormatter, AccessFormatter):
    """The formatter of requests: their paths and queries are written by the client."""


def make_log_config() -> dict[str, Any]:
    """Return uvicorn's own configuration of logs, with formatters that show text from outside."""
    config = deepcopy(LOGGING_CONFIG)
    for name, formatter in (
        ("default", VisibleDefaultFormatter),
        ("access", VisibleAccessFormatter),
    ):
        config["formatters"][name]["()"] = formatter
        if sys.stdout is None:  # closed: uvicorn would ask it whether it shows colours
            config["formatters"][name]["use_colors"] = False
    return config
