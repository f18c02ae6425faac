"""Pictures of real generators for training and measuring: what each is used for, and how they are
read.

The split is by generator and by group: pictures of one face or of variations of one prompt are on
the same side. Whole generators are held out for the open-set figures. Training never saw the test
part of a seen generator.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from PIL import Image

from embedder.training.photographs import MIN_SIDE, TRAINED_COLLECTIONS

STYLEGAN2, STABLE_DIFFUSION_1 = "stylegan2", "sd1.x"
# Classes of the generator head: enough pictures, one decoder each.
FAMILIES = (STYLEGAN2, STABLE_DIFFUSION_1)

# Seen generators by family. `reddit-ai-unspecified` has many: its pictures are synthetic and of no
# family.
FAMILY_BY_GENERATOR: dict[str, str | None] = {
    "stylegan2-ffhq": STYLEGAN2,
    "stylegan2-ffhq-edited": STYLEGAN2,
    "stylegan2-inversion-of-real": STYLEGAN2,
    "sd1.5-deliberate2-art-style": STABLE_DIFFUSION_1,
    "sd1.5-deliberate2-photo-style": STABLE_DIFFUSION_1,
    "sd1.5-dreamshaper3-art-style": STABLE_DIFFUSION_1,
    "sd1.5-dreamshaper3-photo-style": STABLE_DIFFUSION_1,
    "sd1.4": STABLE_DIFFUSION_1,
    "sd1.4-img2img": STABLE_DIFFUSION_1,
    "sd1.5": STABLE_DIFFUSION_1,
    "sd1.5-controlnet": STABLE_DIFFUSION_1,
    "sd1.5-img2img": STABLE_DIFFUSION_1,
    "openjourney": STABLE_DIFFUSION_1,
    "reddit-ai-unspecified": None,
}
# Neither seen nor measured: 128-pixel thumbnails are smaller than the crop, and the other may be a
# seen generator.
LEFT_OUT_GENERATORS = ("sdxl-thumb128", "sd1.5-or-2")
GRIDS = ("sd1.5-deliberate2", "sd1.5-dreamshaper3")  # two by two pictures in one file

TEST_PERCENT = 20
VALIDATION_PERCENT = 12


class Part(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True, eq=False)
class CorpusPicture:
    """One picture; of a grid, one of its four.

    Pictures with the same `group` are never split.
    """

    name: str
    source: str  # the collection of a photograph, the generator of a fake
    synthetic: bool
    group: str
    image: Image.Image
    container: str  # Pillow's name of its file format


def part_of(row: dict[str, str]) -> Part | None:
    """Return the part of the corpus that a row belongs to.

    It is None for held-out photographs and for generators that are left out.
    """
    percentile = (
        int(hashlib.sha256(f"{row['source']}/{group_of(row)}".encode()).hexdigest(), 16) % 100
    )
    if row["label"] == "real":
        if row["relpath"].split("/")[1] not in TRAINED_COLLECTIONS:
            return None
        return Part.VALIDATION if percentile < VALIDATION_PERCENT else Part.TRAIN
    if row["generator"] in LEFT_OUT_GENERATORS:
        return None
    if row["generator"] not in FAMILY_BY_GENERATOR:
        return Part.UNSEEN
    if percentile < TEST_PERCENT:
        return Part.TEST
    return Part.VALIDATION if percentile < TEST_PERCENT + VALIDATION_PERCENT else Part.TRAIN


def group_of(row: dict[str, str]) -> str:
    """Return what precedes the first underscore of the file name.

    That is the face in `1263_age_2.jpg`, the artist of a grid, or the test of a tool.
    """
    return PurePosixPath(row["source_path"]).stem.split("_")[0].lower()


def read_rows(corpus: Path) -> list[dict[str, str]]:
    with (corpus / "manifest.csv").open(newline="", encoding="utf-8") as manifest:
        return list(csv.DictReader(manifest))


def read_pictures(corpus: Path, parts: Iterable[Part]) -> Iterator[CorpusPicture]:
    """Yield the pictures of these parts in the order of the manifest, without those that are too
    small.
    """
    chosen = frozenset(parts)
    for row in read_rows(corpus):
        if part_of(row) in chosen and min(int(row["width"]), int(row["height"])) >= MIN_SIDE:
            yield from read_row(corpus, row)


def read_row(corpus: Path, row: dict[str, str]) -> Iterator[CorpusPicture]:
    synthetic = row["label"] == "synthetic"
    source = row["generator"] if synthetic else row["relpath"].split("/")[1]
    group = f"{row['source']}/{group_of(row)}"
    with Image.open(corpus / row["relpath"]) as stored:
        container, image = str(stored.format), stored.convert("RGB")
    for number, picture in enumerate(cut_quadrants(image) if source.startswith(GRIDS) else [image]):
        yield CorpusPicture(
            f"{row['relpath']}#{number}", source, synthetic, group, picture, container
        )


def cut_quadrants(image: Image.Image) -> list[Image.Image]:
    width, height = image.width // 2, image.height // 2
    return [
        image.crop((left, top, left + width, top + height))
        for top in (0, height)
        for left in (0, width)
    ]


@dataclass(frozen=True, slots=True)
class PartSummary:
    """The files of a part: by collection or generator, and by licence as the corpus states it."""

    sources: dict[str, int]
    licences: dict[str, int]


def summarise(corpus: Path) -> dict[Part, PartSummary]:
    """Summarise each part, in the order of the manifest."""
    found: dict[Part, list[dict[str, str]]] = {part: [] for part in Part}
    for row in read_rows(corpus):
        part = part_of(row)
        if part is not None and min(int(row["width"]), int(row["height"])) >= MIN_SIDE:
            found[part].append(row)
    return {
        part: PartSummary(
            dict(Counter(row["generator"] or row["relpath"].split("/")[1] for row in rows)),
            dict(Counter(row["licence"] for row in rows)),
        )
        for part, rows in found.items()
    }
