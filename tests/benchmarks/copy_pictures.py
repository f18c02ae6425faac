"""The pictures of the benchmark of copies: which are references, which are edited, which are alike.

A folder has a `manifest.csv` with the columns relpath, label (real or synthetic), generator, source
and source_path. It is split by source into a set to design on and a set kept apart: no source has
pictures in both.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.errors import ImageError
from embedder.pictures.decode import decode
from embedder.pictures.limits import ImageLimits
from tests.benchmarks.copy_edits import Edit, make_copy

DESIGN, APART = "design", "apart"
MOST_PIXELS = 1_600  # the longer side of a picture that is edited; camera originals are larger
COMPANIONS = 12  # pictures that fill collages
# Edits and inversions of one face are named after it: 1271_familiar_2, CFD-WM-010-001-N_age_2.
OF_FACES = ("stylegan2-ffhq-edited", "stylegan2-inversion-of-real")
FACE = re.compile(r"(.+?)(?:-[A-Z]{1,2})?_(?:[a-z]+)_\d+$")
# Photographs of one object lie in a folder of its own.
OBJECTS = "dreambooth-objects"


@dataclass(frozen=True)
class Picture:
    """A picture: its file, label, generator ("" for photographs), source, and collection."""

    path: Path
    name: str
    label: str
    generator: str
    source: str
    source_path: str
    sha256: str

    @property
    def collection(self) -> str:
        """The folder that the file lies in."""
        return self.name.rpartition("/")[0]

    @property
    def is_fake(self) -> bool:
        return self.label == "synthetic"

    def open(self) -> Image.Image:
        """Decode it, upright, no larger than is edited. Raises ImageError."""
        image = decode(self.path.read_bytes(), ImageLimits(min_image_side=1)).image
        image.thumbnail((MOST_PIXELS, MOST_PIXELS))
        return image


def read_pictures(corpus: Path) -> list[Picture]:
    """Read the manifest. Pictures that cannot be decoded are left out, each file is there once."""
    with (corpus / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    pictures = {}
    for row in rows:
        path = corpus / row["relpath"]
        sha256 = row.get("sha256") or hashlib.sha256(path.read_bytes()).hexdigest()
        pictures[sha256] = Picture(
            path,
            row["relpath"],
            row["label"],
            row["generator"],
            row["source"],
            row["source_path"],
            sha256,
        )
    return list(pictures.values())


def split_by_source(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    """Split into the set to design on and the set kept apart: the sources, largest first, go to the
    set that is smaller so far.
    """
    counts = Counter(picture.source for picture in pictures)
    sets: dict[str, set[str]] = {DESIGN: set(), APART: set()}
    sizes = dict.fromkeys(sets, 0)
    for source, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        smaller = min(sizes, key=lambda name: sizes[name])
        sets[smaller].add(source)
        sizes[smaller] += count
    return {
        name: [picture for picture in pictures if picture.source in sources]
        for name, sources in sets.items()
    }


def choose_queries(pictures: Sequence[Picture], count: int, most: int | None) -> list[Picture]:
    """Choose pictures to edit: one of each collection in turn, at most `most` of a source."""
    waiting: dict[str, list[Picture]] = defaultdict(list)
    for picture in sorted(pictures, key=lambda each: each.sha256):
        waiting[picture.collection].append(picture)
    chosen, taken = list[Picture](), Counter[str]()
    while len(chosen) < count and any(waiting.values()):
        for collection in sorted(waiting):
            if not waiting[collection] or len(chosen) == count:
                continue
            picture = waiting[collection].pop(0)
            if most is None or taken[picture.source] < most:
                taken[picture.source] += 1
                chosen.append(picture)
    return chosen


@dataclass(frozen=True)
class Query:
    """A copy: of which picture, by which edit, and its file."""

    picture: Picture
    edit: Edit
    path: Path

    def read(self) -> bytes:
        return self.path.read_bytes()


def make_queries(
    pictures: Sequence[Picture], edits: Sequence[Edit], others: Sequence[Picture], folder: Path
) -> list[Query]:
    """Edit each picture in each way. `others` fill collages. Files that are there are kept."""
    companions = None
    queries = []
    for picture in pictures:
        image = None
        for edit in edits:
            path = folder / edit.name / f"{picture.sha256[:20]}.{edit.format.lower()}"
            queries.append(Query(picture, edit, path))
            if path.is_file():
                continue
            if image is None:
                image = picture.open()
            if companions is None:
                companions = open_some(others, COMPANIONS)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make_copy(edit, image, picture.sha256, companions))
    return queries


def open_some(pictures: Sequence[Picture], count: int) -> list[Image.Image]:
    """Open some pictures, of each collection in turn; what cannot be decoded is left out."""
    images = []
    for picture in choose_queries(pictures, 2 * count, None):
        try:
            images.append(picture.open())
        except ImageError:
            continue
    return images[:count]


@dataclass(frozen=True)
class Alike:
    """Pairs of references that are alike: `copies` are the same picture, `twins` are not, and why.

    Both `(n, n)`, symmetric. `reasons` names each pair once, by the places of its pictures.
    """

    copies: NDArray[np.bool_]
    twins: NDArray[np.bool_]
    reasons: Mapping[tuple[int, int], str]


def find_alike(
    pictures: Sequence[Picture],
    hash_distances: NDArray[np.int_],
    similarities: NDArray[np.float32] | None,
    same_bits: int,
    alike_bits: int,
    alike_cosine: float,
) -> Alike:
    """Find pairs that are alike by what is known of them, by hash and by descriptor.

    `hash_distances` `(n, n)` are the least ones of eight symmetries; up to `same_bits` it is the
    same picture, up to `alike_bits` a twin. `similarities` `(n, n)` are cosines of descriptors.
    """
    count = len(pictures)
    copies = hash_distances <= same_bits
    twins, reasons = np.zeros((count, count), bool), dict[tuple[int, int], str]()
    keys = [name_origin(picture) for picture in pictures]
    for one in range(count):
        for other in range(one):
            reason = None
            if copies[one, other]:
                reason = f"the same picture: {hash_distances[one, other]} bits"
            elif keys[one] is not None and keys[one] == keys[other]:
                reason = f"same origin: {keys[one]}"
            elif hash_distances[one, other] <= alike_bits:
                reason = f"{hash_distances[one, other]} bits"
            elif similarities is not None and similarities[one, other] >= alike_cosine:
                reason = f"descriptors at {similarities[one, other]:.2f}"
            if reason is not None:
                reasons[other, one] = reason
                twins[one, other] = twins[other, one] = not copies[one, other]
    np.fill_diagonal(copies, val=True)
    return Alike(copies, twins, reasons)


def name_origin(picture: Picture) -> str | None:
    """Name the face or the object that several pictures of a source show; None if none is known."""
    path = Path(picture.source_path)
    if OBJECTS in picture.collection:
        return path.parent.name
    face = FACE.fullmatch(path.stem)
    return face[1] if face and picture.generator in OF_FACES else None
