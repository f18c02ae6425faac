"""The functions of scipy that calibrations are computed with.

scipy is loaded by the first call: it takes a third of a second, and most commands compute none.
"""

from __future__ import annotations

from typing import Any

# ruff: noqa: PLC0415 -- see the docstring


def expit(logits: Any) -> Any:  # noqa: ANN401 -- here and below: what scipy takes and returns
    from scipy import special

    return special.expit(logits)


def log_expit(logits: Any) -> Any:  # noqa: ANN401
    from scipy import special

    return special.log_expit(logits)


def log_softmax(values: Any, axis: int | None = None) -> Any:  # noqa: ANN401
    from scipy import special

    return special.log_softmax(values, axis=axis)


def gammaln(values: Any) -> Any:  # noqa: ANN401
    from scipy import special

    return special.gammaln(values)


def betaincinv(a: Any, b: Any, probability: Any) -> Any:  # noqa: ANN401
    from scipy import special

    return special.betaincinv(a, b, probability)


def isotonic_regression(values: Any, weights: Any) -> Any:  # noqa: ANN401
    from scipy import optimize

    return optimize.isotonic_regression(values, weights=weights)


def minimize(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
    from scipy import optimize

    return optimize.minimize(*arguments, **options)
