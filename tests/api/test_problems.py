import inspect

import pytest

import api.errors
import api.sources.item
import embedder.errors
import index.errors
from api.http.problems import build_response
from api.problems import DEFECT, PROBLEMS, problem_of

LEAVES = [
    error
    for module in (embedder.errors, index.errors, api.errors, api.sources.item)
    for _, error in inspect.getmembers(module, inspect.isclass)
    if issubclass(error, Exception)
    and error.__module__ == module.__name__
    and not error.__subclasses__()
]


@pytest.mark.parametrize("error", LEAVES, ids=lambda error: error.__name__)
def test_every_error_has_a_row(error: type[Exception]) -> None:
    assert problem_of(error.__new__(error)) is not DEFECT


def test_no_two_rows_share_a_type() -> None:
    types = [problem.type for problem in PROBLEMS.values()]
    assert len(types) == len(set(types))


def test_an_unexpected_error_tells_nothing_of_itself() -> None:
    response = build_response(RuntimeError("secret path"))
    assert response.status_code == 500
    assert b"secret" not in response.body
