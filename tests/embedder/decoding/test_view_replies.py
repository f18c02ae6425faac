"""What a worker may answer about the views of a picture, and what its parent refuses."""

from __future__ import annotations

import copy
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest

from embedder.decoding.picture import Picture, PictureOrder, make_picture
from embedder.decoding.protocol import write_picture
from embedder.decoding.replies import InvalidReplyError, read_reply
from embedder.pictures.limits import ImageLimits
from embedder.pictures.views import MAX_VIEWS
from tests.embedder.pictures.views_by_tests import draw_picture

ORDER = PictureOrder(ImageLimits(min_image_side=8), view_hashes=True)
Change = Callable[[list[Any]], object]


@pytest.fixture(scope="module")
def picture() -> Picture:
    buffer = BytesIO()
    draw_picture((160, 120), 1).save(buffer, "PNG")
    return make_picture(buffer.getvalue(), ORDER)


@pytest.fixture
def block() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def test_views_come_through_as_they_are(picture: Picture, block: int) -> None:
    message = json.loads(json.dumps(write_picture(picture, block)))
    received = read_reply(message, block, ORDER)
    assert isinstance(received, Picture)
    assert received.view_hashes == picture.view_hashes
    assert len(received.view_hashes) > 20


CHANGES: dict[str, Change] = {
    "none": lambda views: views.clear(),
    "another one first": lambda views: views.reverse(),
    "one twice": lambda views: views.append(views[3]),
    "too many": lambda views: views.extend([views[1]] * MAX_VIEWS),
    "an unknown symmetry": lambda views: views[1].__setitem__(0, "sideways"),
    "a part outside": lambda views: views[1].__setitem__(1, [0, 0, 1.5, 1]),
    "a part without an area": lambda views: views[1].__setitem__(1, [0.5, 0, 0.5, 1]),
    "an edge that is no number": lambda views: views[1].__setitem__(1, [math.nan, 0, 1, 1]),
    "an edge that is a truth": lambda views: views[1].__setitem__(2, [0, 0, True, 1]),
    "an edge too few": lambda views: views[1].__setitem__(2, [0, 0, 1]),
    "a short hash": lambda views: views[1].__setitem__(3, ["00", 80]),
    "an impossible quality": lambda views: views[1].__setitem__(3, ["00" * 32, 101]),
    "a field too many": lambda views: views[1].append(1),
    "no list": lambda views: views.__setitem__(1, "upright"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_worker_that_answers_impossible_views_is_refused(
    change: Change, picture: Picture, block: int
) -> None:
    message = copy.deepcopy(json.loads(json.dumps(write_picture(picture, block))))
    change(message["picture"]["views"])
    with pytest.raises(InvalidReplyError):
        read_reply(message, block, ORDER)
