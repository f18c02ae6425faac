"""Which decoders the settings open, and what is said of them."""

from __future__ import annotations

import logging

import pytest

from api.decoding import log_confinement, make_decoders
from api.settings import Settings
from embedder.decoding.confinement import UNSUPPORTED, ConfinementLevel
from embedder.decoding.processes import ProcessDecoders
from embedder.decoding.threads import ThreadDecoders


def test_processes_decode_unless_threads_are_chosen() -> None:
    assert isinstance(make_decoders(Settings(decoding="processes")), ProcessDecoders)
    assert isinstance(make_decoders(Settings(decoding="threads")), ThreadDecoders)


def test_the_number_of_decoders_is_a_setting() -> None:
    for decoding in ("processes", "threads"):
        decoders = make_decoders(Settings(decoding=decoding, decoders=3))
        assert isinstance(decoders, ProcessDecoders | ThreadDecoders)
        assert decoders.count == 3


def test_a_log_warns_where_nothing_is_confined(caplog: pytest.LogCaptureFixture) -> None:
    log_confinement(ThreadDecoders(1, UNSUPPORTED), logging.getLogger("test"))

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert ConfinementLevel.NONE in record.getMessage()
    assert "cannot run decoding processes" in record.getMessage()
