"""An evaluation without its optional packages names the extra that installs them."""

from __future__ import annotations

import pytest

from api.errors import MissingExtra
from api.evaluation.extra import PACKAGES, require_extra


@pytest.mark.parametrize("packages", [["no_such_package"], [*PACKAGES, "no_such_package"]])
def test_a_missing_package_is_refused_with_the_name_of_the_extra(packages: list[str]) -> None:
    with pytest.raises(MissingExtra, match=r"\[evaluate\]"):
        require_extra(packages)


def test_with_all_packages_nothing_is_refused() -> None:
    require_extra()
    require_extra([])
