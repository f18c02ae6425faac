"""Photographs of the extra `demo`, and drawn pictures that share much and are no copies."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from embedder.demonstration.photographs import read_bundled

WHITE = (255, 255, 255)
WORDS = (
    *("nobody", "at", "home", "believes", "that", "this", "really", "happened", "last", "night"),
    *("please", "share", "before", "they", "delete", "it", "my", "neighbour", "saw", "everything"),
    *(
        "the",
        "truth",
        "about",
        "our",
        "town",
        "when",
        "you",
        "wait",
        "for",
        "bus",
        "rains",
        "again",
    ),
    *("breaking", "look", "left", "corner", "can", "not", "stop", "laughing", "hurry", "winter"),
)


def photograph(name: str, width: int = 512) -> Image.Image:
    """A photograph of scikit-image at a width in pixels."""
    image = read_bundled("skimage", f"data/{name}.png")
    return image.resize((width, round(image.height * width / image.width)))


def thumbnail(image: Image.Image, longest: int = 256) -> Image.Image:
    small = image.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return small


def write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int) -> None:
    draw.text(at, text, (20, 20, 20), ImageFont.load_default(size))


def text_card(seed: int, lines: int = 6, size: int = 30) -> Image.Image:
    """A card of one template: banner, emblem, rule and address; the text is drawn by the seed."""
    random = np.random.default_rng(seed)
    card = Image.new("RGB", (800, 600), (245, 245, 240))
    draw = ImageDraw.Draw(card)
    draw.rectangle((0, 0, 800, 80), fill=(160, 20, 30))
    draw.text((30, 18), "THE DAILY EXAMPLE", WHITE, ImageFont.load_default(40))
    draw.ellipse((700, 10, 760, 70), fill=(255, 220, 0))
    draw.polygon([(715, 60), (730, 20), (745, 60)], fill=(0, 0, 90))
    for line in range(lines):
        text = " ".join(random.choice(WORDS, 7))
        write(draw, (40, 110 + line * (size + 18)), text, size)
    draw.line((0, 560, 800, 560), (100, 100, 100), 3)
    write(draw, (30, 570), "www.example.org  share this", 18)
    return card


def with_avatar(image: Image.Image, avatar: Image.Image) -> Image.Image:
    """A picture with a small other one at its edge, in 2 % of it."""
    changed = image.copy()
    side = round((0.02 * image.width * image.height) ** 0.5)
    changed.paste(avatar.resize((side, side)), (10, 10))
    return changed


def screenshot(image: Image.Image) -> Image.Image:
    """A phone that shows a picture between a bar, a name and four words."""
    screen = Image.new("RGB", (720, 1280), WHITE)
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 720, 60), fill=(20, 20, 20))
    draw.text((20, 12), "12:45            87 %", WHITE, ImageFont.load_default(28))
    draw.ellipse((20, 80, 90, 150), fill=(90, 90, 200))
    write(draw, (110, 90), "Some Person  Follow", 32)
    shown = image.resize((720, round(image.height * 720 / image.width)))
    screen.paste(shown, (0, 170))
    for number, word in enumerate(("Like", "Send", "Save", "More")):
        write(draw, (20 + 160 * number, 180 + shown.height), word, 30)
    write(draw, (20, 240 + shown.height), "Liked by somebody and 1,204 others", 26)
    return screen


def with_logo(image: Image.Image, share: float) -> Image.Image:
    """A picture with a square emblem in its right upper corner, a share of the width wide."""
    marked = image.copy()
    draw, side, width = ImageDraw.Draw(marked), int(image.width * share), image.width
    draw.rectangle((width - side - 10, 10, width - 10, 10 + side), fill=WHITE)
    draw.polygon(
        [(width - side, side), (width - side // 2 - 10, 20), (width - 20, side)], fill=(200, 0, 0)
    )
    write(draw, (width - side, side // 2), "NEWS24", max(8, side // 5))
    return marked


def with_watermark(image: Image.Image) -> Image.Image:
    """A picture with a half-transparent word all over it."""
    layer = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(layer)
    for y in range(0, image.height, 60):
        for x in range(0, image.width, 150):
            draw.text((x + y % 120, y), "SAMPLE", 127, ImageFont.load_default(28))
    marked = image.copy()
    marked.paste(Image.new("RGB", image.size, WHITE), mask=layer)
    return marked


def bricks(seed: int, width: int, height: int) -> Image.Image:
    """A wall whose bricks have colours by the seed."""
    random = np.random.default_rng(seed)
    wall = Image.new("RGB", (512, 512), (200, 200, 200))
    draw = ImageDraw.Draw(wall)
    for row in range(512 // height + 1):
        for column in range(-1, 512 // width + 1):
            red, green, blue = (int(each) for each in random.integers(-20, 20, 3))
            colour = (150 + red, 60 + green, 50 + blue)
            left = column * width + row % 2 * width // 2
            box = (left + 2, row * height + 2, left + width - 2, row * height + height - 2)
            draw.rectangle(box, fill=colour)
    return wall


def chequers(side: int, shift: int, seed: int) -> Image.Image:
    """A noisy chequerboard, shifted by some pixels."""
    y, x = np.mgrid[0:512, 0:512]
    board = ((x + shift) // side + (y + shift) // side) % 2 * 180 + 40.0
    noisy = board + np.random.default_rng(seed).normal(0, 8, board.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert("RGB")


def chart(seed: int) -> Image.Image:
    """Ten bars by the seed, between axes with the same title and numbers."""
    random = np.random.default_rng(seed)
    page = Image.new("RGB", (800, 600), WHITE)
    draw = ImageDraw.Draw(page)
    write(draw, (160, 20), "Sales of the northern offices", 36)
    draw.line((80, 80, 80, 520), (20, 20, 20), 3)
    draw.line((80, 520, 780, 520), (20, 20, 20), 3)
    for number in range(10):
        write(draw, (30, 500 - 42 * number), str(10 * number), 22)
        draw.line((80, 512 - 42 * number, 780, 512 - 42 * number), (220, 220, 220), 1)
        top = int(random.integers(100, 480))
        draw.rectangle((100 + 68 * number, top, 144 + 68 * number, 518), fill=(40, 90, 170))
        write(draw, (100 + 68 * number, 530), f"Q{number + 1}", 24)
    return page
