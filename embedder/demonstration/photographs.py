"""Photographs in the wheels of scikit-image and scikit-learn, for demonstrations and tests.

Nothing is downloaded. The built-in model was never trained on them. Both packages belong to the
optional extra `demo`.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

# Colour photographs only, by package and by their path in its wheel. Of `motorcycle_left` and
# `motorcycle_right`, two views of one scene, one is listed. `hubble_deep_field`, `retina` and `ihc`
# are not everyday photographs.
BUNDLED_FILES: tuple[tuple[str, str], ...] = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)
# Photographs without colour, for the demonstration only: a calibration needs ten photographs.
GREY_FILES: tuple[tuple[str, str], ...] = (
    ("skimage", "data/brick.png"),
    ("skimage", "data/camera.png"),
    ("skimage", "data/coins.png"),
    ("skimage", "data/grass.png"),
    ("skimage", "data/gravel.png"),
    ("skimage", "data/moon.png"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    name: str
    image: Image.Image  # RGB


@cache
def load_bundled_photographs() -> tuple[Photograph, ...]:
    """Return the seven photographs in colour, between 427 and 1024 pixels wide.

    Raises ModuleNotFoundError without the extra `demo`.
    """
    return _read_all(BUNDLED_FILES)


@cache
def load_grey_photographs() -> tuple[Photograph, ...]:
    """Return six photographs without colour, as RGB, between 384 and 512 pixels wide.

    Raises ModuleNotFoundError without the extra `demo`.
    """
    return _read_all(GREY_FILES)


def _read_all(files: tuple[tuple[str, str], ...]) -> tuple[Photograph, ...]:
    return tuple(
        Photograph(Path(file).stem, read_bundled(package, file)) for package, file in files
    )


def read_bundled(package: str, file: str) -> Image.Image:
    """Read one photograph of a package as RGB.

    Raises ModuleNotFoundError without the package.
    """
    found = find_spec(package)  # not imported: that takes seconds
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            f"{package} is not installed: pip install 'lineup-forensics[demo]'", name=package
        )
    with Image.open(Path(found.origin).parent / file) as stored:
        return stored.convert("RGB")
