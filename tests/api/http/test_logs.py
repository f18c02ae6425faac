"""The server's logs have one line a record, whatever a client sends."""

from __future__ import annotations

import io
import logging
import sys
from logging.config import dictConfig

import pytest

from api.http.logs import make_log_config


@pytest.fixture
def streams() -> dict[str, io.StringIO]:
    """The streams of the two handlers, under the names of their formatters."""
    config = make_log_config()
    streams = {name: io.StringIO() for name in config["handlers"]}
    for name, handler in config["handlers"].items():
        handler["stream"] = streams[name]
    config["formatters"]["access"]["use_colors"] = True
    config["loggers"] = {f"test.{name}": {"handlers": [name], "level": "INFO"} for name in streams}
    dictConfig(config)
    return streams


def test_a_request_cannot_forge_a_line_or_colour_it(streams: dict[str, io.StringIO]) -> None:
    path = "/v1/jobs?cursor=\x1b[31m\nINFO: forged\u202e"
    logging.getLogger("test.access").info(
        '%s - "%s %s HTTP/%s" %d', "127.0.0.1:9", "GET", path, "1.1", 200
    )
    line = streams["access"].getvalue()
    assert line.count("\n") == 1
    assert r"/v1/jobs?cursor=\x1b[31m\nINFO: forged\u202e" in line
    assert "\x1b[32m200 OK\x1b[0m" in line, "uvicorn's own colours stay"


def test_an_error_with_a_traceback_is_shown(streams: dict[str, io.StringIO]) -> None:
    try:
        float("nothing")
    except ValueError as err:
        err.args = ("one\nINFO: forged\x1b]0;title\x07",)
        logging.getLogger("test.default").exception("of %s", "a\tb")
    lines = streams["default"].getvalue().splitlines()
    assert lines[0] == r"ERROR:    of a\tb"
    assert all(line.startswith("  | ") for line in lines[1:])
    assert lines[-1] == r"  | INFO: forged\x1b]0;title\x07"


def test_a_server_without_standard_output_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a supervisor that closes it: uvicorn's formatters cannot ask it for colours."""
    monkeypatch.setattr(sys, "stdout", None)
    config = make_log_config()
    stream = config["handlers"]["default"]["stream"] = io.StringIO()
    config["loggers"] = {"test.closed": {"handlers": ["default"], "level": "INFO"}}
    dictConfig(config)
    logging.getLogger("test.closed").info("started")
    assert stream.getvalue() == "INFO:     started\n"
