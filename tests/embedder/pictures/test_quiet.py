from __future__ import annotations

import logging
import threading
import warnings

import pytest

from embedder.pictures.quiet import ignore_pillow_warnings, silence_decoders

HERE, PILLOW = "tests.embedder.pictures.test_quiet", "PIL.TiffImagePlugin"


def warn_as(module: str) -> None:
    warnings.warn_explicit("a hostile file", UserWarning, "file.py", 1, module=module)


def test_warnings_of_pillow_are_ignored_inside_and_raised_outside() -> None:
    with pytest.warns(UserWarning, match="hostile"):
        warn_as(PILLOW)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ignore_pillow_warnings():
            warn_as(PILLOW)
            warn_as("pillow_heif.heif")
        assert not caught
        warn_as(PILLOW)
        assert len(caught) == 1


@pytest.mark.parametrize("module", [HERE, "PILLOW.other", "not_pillow.PIL"])
def test_warnings_of_other_modules_stay(module: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ignore_pillow_warnings():
            warn_as(module)
        assert len(caught) == 1


def test_the_filters_are_the_same_after_threads_that_overlap_in_any_order() -> None:
    before = list(warnings.filters)
    first_is_in, second_is_in, first_left = (threading.Event() for _ in range(3))

    def enter_first_and_leave_first() -> None:
        with ignore_pillow_warnings():
            first_is_in.set()
            assert second_is_in.wait(10)
        first_left.set()

    def enter_second_and_leave_last() -> None:
        assert first_is_in.wait(10)
        with ignore_pillow_warnings():
            second_is_in.set()
            assert first_left.wait(10)
            warn_as(PILLOW)

    threads = [
        threading.Thread(target=work)
        for work in (enter_first_and_leave_first, enter_second_and_leave_last)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert first_left.is_set()
    assert list(warnings.filters) == before


def test_an_exception_inside_leaves_no_filter_behind() -> None:
    before = list(warnings.filters)
    with pytest.raises(OSError, match="broken"), ignore_pillow_warnings():
        raise OSError("broken")
    assert list(warnings.filters) == before


def test_what_pillow_logs_about_a_file_goes_nowhere(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    silence_decoders()
    logging.getLogger(PILLOW).error("more samples than can be decoded")
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
