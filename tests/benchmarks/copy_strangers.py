"""Pictures that are no copies of a reference, though some look it: what must not be verified.

Families are pictures of one frame, text or template with other contents: cards and letters of one
layout, screenshots of one phone, memes with one text. Half of each family is known, and the other
half is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from tests.benchmarks.copy_edits import TEXT, Edit, font, get_edit, make_copy, write
from tests.benchmarks.copy_pictures import Picture, Query

MEMBERS = 8  # pictures of a family; the first half is known
# Edits that put the same thing on or around different pictures, if their seed is the same.
SHARED = (
    "phone", "post", "chat", "browser", "caption", "meme-text", "news-bar", "watermark",
    "stickers", "polaroid", "rounded", "photo-of-screen",
)  # fmt: skip
# Edits of pictures of other sources, in turn; the first leaves them as they are.
EDITS_OF_OTHERS = (
    "", "jpeg-30", "crop-20", "phone", "mirror", "crop-half", "caption", "photo-of-screen",
    "quarter-size", "border-blurred", "meme-text", "turn-15",
)  # fmt: skip

Draw = Callable[[np.random.Generator], Image.Image]


@dataclass(frozen=True)
class Family:
    """Pictures that share a template: files that are known, and files that are looked up."""

    name: str
    known: Sequence[Path]
    strangers: Sequence[Path]


def make_families(pictures: Sequence[Picture], folder: Path) -> list[Family]:
    """Write the files of all families; `pictures` fill the frames."""
    images = [ImageOps.fit(each.open(), (640, 480)) for each in pictures[:MEMBERS]]
    drawn: dict[str, list[bytes]] = {
        name: [make_copy(get_edit(name), image, "one seed") for image in images] for name in SHARED
    }
    for name, draw in (("cards", draw_card), ("letters", draw_letter), ("charts", draw_chart)):
        numbers = [np.random.default_rng(seed) for seed in range(MEMBERS)]
        drawn[name] = [write(draw(random), "JPEG", 90) for random in numbers]
    return [keep_family(name, files, folder / name) for name, files in drawn.items()]


def keep_family(name: str, files: Sequence[bytes], folder: Path) -> Family:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}-{number}.jpg" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    half = len(paths) // 2
    return Family(name, paths[:half], paths[half:])


def draw_words(random: np.random.Generator, count: int) -> str:
    return " ".join(random.choice(TEXT.split(), count))


def draw_card(random: np.random.Generator) -> Image.Image:
    """A card with a quotation: one logo, one layout, one signature; another text."""
    card = Image.new("RGB", (900, 900), (24, 58, 92))
    draw = ImageDraw.Draw(card)
    draw.rectangle((40, 40, 860, 860), outline=(240, 200, 90), width=6)
    draw.ellipse((380, 80, 520, 220), fill=(240, 200, 90))
    draw.text((450, 150), "NEWS", (24, 58, 92), font(44), "mm")
    for line in range(5):
        draw.text((450, 330 + 80 * line), draw_words(random, 4), (255, 255, 255), font(46), "mm")
    draw.text((450, 800), "www.daily-example.org", (240, 200, 90), font(34), "mm")
    return card


def draw_letter(random: np.random.Generator) -> Image.Image:
    """A letter of one office: the same head, address and foot; other paragraphs."""
    page = Image.new("RGB", (850, 1100), (252, 252, 248))
    draw = ImageDraw.Draw(page)
    draw.rectangle((60, 60, 140, 140), fill=(150, 20, 40))
    draw.text((160, 70), "Office of Public Records", (20, 20, 20), font(36))
    draw.text((160, 115), "12 Market Square, Sampletown", (60, 60, 60), font(24))
    draw.line((60, 170, 790, 170), (20, 20, 20), 3)
    for line in range(20):
        if line % 6 != 5:
            draw.text((60, 220 + 38 * line), draw_words(random, 9), (30, 30, 30), font(24))
    draw.text((60, 1030), "This letter was made by a machine and is valid unsigned.", 0, font(22))
    return page


def draw_chart(random: np.random.Generator) -> Image.Image:
    """A chart of one layout: the same axes, title and legend; other bars."""
    chart = Image.new("RGB", (1000, 700), (255, 255, 255))
    draw = ImageDraw.Draw(chart)
    draw.text((500, 50), "Reported incidents by month", (20, 20, 20), font(40), "mm")
    draw.line([(90, 110), (90, 620), (960, 620)], (20, 20, 20), 4)
    for month, height in enumerate(random.integers(40, 480, 12)):
        left = 110 + 70 * month
        draw.rectangle((left, 620 - int(height), left + 46, 618), fill=(40, 110, 190))
        draw.text((left + 23, 650), f"{month + 1}", (20, 20, 20), font(26), "mm")
    return chart


def list_strangers(pictures: Sequence[Picture], count: int, folder: Path) -> list[Query]:
    """Edit pictures of other sources, each in another way; as many files as `count`."""
    rounds = -(-count // max(1, len(pictures)))
    strangers = list[Query]()
    for number in range(rounds):
        for place, picture in enumerate(pictures):
            name = EDITS_OF_OTHERS[(place + number * 5) % len(EDITS_OF_OTHERS)]
            strangers.append(make_stranger(picture, name, folder))
    return strangers[:count]


def make_stranger(picture: Picture, name: str, folder: Path) -> Query:
    """Edit a picture once, without companions; "" leaves the file as it is."""
    if not name:
        return Query(picture, get_edit("jpeg-75"), picture.path)
    edit: Edit = get_edit(name)
    path = folder / name / f"{picture.sha256[:20]}.jpg"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_copy(edit, picture.open(), picture.sha256))
    return Query(picture, edit, path)
