"""Edits of pictures as they happen to fakes that go round: what makes copies of pictures.

Each edit has a name, a group and a sentence. `make_copy` gives the bytes of a file, as a person
would send it; the same picture, edit and seed always give the same pixels. Sizes are relative to
the picture, positions and texts are drawn by the seed. This module knows nothing of Lineup: only
Pillow and NumPy edit the pictures, so that neither shares code with what is measured.

The edits that are marked `core` are 27 of equal weight: nine mild ones (formats, sizes, tones),
five crops, three symmetries, a small turn, two borders, three overlays, three screens and
perspectives, and a collage.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
TEXT = (
    "nobody at home believes that this really happened last night please share before they delete "
    "it my neighbour saw everything the truth about our town when you wait for the bus and it "
    "rains again breaking look at the left corner I can not stop laughing"
)


@dataclass(frozen=True)
class Material:
    """What an edit may use beside the picture: random numbers, and other people's pictures."""

    random: np.random.Generator
    others: Sequence[Image.Image]

    def draw(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))

    def choose_other(self) -> Image.Image:
        if not self.others:
            raise ValueError("this edit needs other pictures")
        return self.others[int(self.random.integers(len(self.others)))]

    def choose_words(self, count: int) -> str:
        words = TEXT.split()
        start = int(self.random.integers(len(words) - count))
        return " ".join(words[start : start + count])


Change = Callable[[Image.Image, Material], Image.Image]


@dataclass(frozen=True)
class Edit:
    """An edit: what it does, and how its file is written (format and quality of Pillow)."""

    name: str
    group: str
    sentence: str
    change: Change
    core: bool = False
    format: str = "JPEG"
    quality: int = 90


def make_copy(
    edit: Edit, image: Image.Image, seed: str, others: Sequence[Image.Image] = ()
) -> bytes:
    """Edit an RGB picture and write it to a file. `others` fill collages and screens."""
    digest = hashlib.sha256(f"{edit.name}/{seed}".encode()).digest()
    material = Material(np.random.default_rng(int.from_bytes(digest[:8], "big")), others)
    return write(edit.change(image.convert("RGB"), material), edit.format, edit.quality)


def write(image: Image.Image, format: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, quality=quality)
    return buffer.getvalue()


def save_again(image: Image.Image, quality: int, format: str = "JPEG") -> Image.Image:
    return Image.open(io.BytesIO(write(image, format, quality))).convert("RGB")


def keep(image: Image.Image, _: Material) -> Image.Image:
    return image


def resize(image: Image.Image, share: float) -> Image.Image:
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return image.resize(size, Image.Resampling.LANCZOS)


def scale_to(share: float) -> Change:
    return lambda image, _: resize(image, share)


# Tones


def blur(image: Image.Image, _: Material) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(max(1.0, 0.005 * max(image.size))))


def sharpen(image: Image.Image, _: Material) -> Image.Image:
    return image.filter(ImageFilter.UnsharpMask(3, 150, 2))


def add_noise(image: Image.Image, material: Material) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    noise = material.random.normal(0, 14, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def change_tones(brightness: float, contrast: float, saturation: float) -> Change:
    def change(image: Image.Image, _: Material) -> Image.Image:
        image = ImageEnhance.Brightness(image).enhance(brightness)
        image = ImageEnhance.Contrast(image).enhance(contrast)
        return ImageEnhance.Color(image).enhance(saturation)

    return change


def make_grey(image: Image.Image, _: Material) -> Image.Image:
    return image.convert("L").convert("RGB")


def make_vintage(image: Image.Image, _: Material) -> Image.Image:
    """Warm colours, lifted shadows and dark corners, as the filters of photo applications do."""
    pixels = np.asarray(image, np.float32) / 255
    down, across = (np.linspace(-1, 1, side) for side in pixels.shape[:2])
    vignette = 1 - 0.45 * np.clip((down[:, None] ** 2 + across[None] ** 2) / 2, 0, 1)
    toned = 0.12 + 0.8 * pixels ** np.array([0.8, 0.95, 1.25])
    return Image.fromarray((255 * np.clip(toned * vignette[..., None], 0, 1)).astype(np.uint8))


# Crops


def crop_box(
    image: Image.Image, left: float, top: float, right: float, bottom: float
) -> Image.Image:
    width, height = image.size
    box = (round(left * width), round(top * height), round(right * width), round(bottom * height))
    return image.crop(box)


def crop_sides(share: float) -> Change:
    return lambda image, _: crop_box(image, share, share, 1 - share, 1 - share)


def crop_aside(kept: float) -> Change:
    """Keep this share of the width and of the height, anywhere in the picture."""

    def change(image: Image.Image, material: Material) -> Image.Image:
        left, top = material.draw(0, 1 - kept), material.draw(0, 1 - kept)
        return crop_box(image, left, top, left + kept, top + kept)

    return change


def crop_corner(image: Image.Image, material: Material) -> Image.Image:
    left, top = (0.4 * float(material.random.integers(2)) for _ in range(2))
    return crop_box(image, left, top, left + 0.6, top + 0.6)


def crop_one_side(image: Image.Image, material: Material) -> Image.Image:
    edges = [0.0, 0.0, 1.0, 1.0]
    side = int(material.random.integers(4))
    edges[side] = 0.25 if side < 2 else 0.75
    return crop_box(image, *edges)


def crop_to_shape(across: int, down: int) -> Change:
    return lambda image, _: ImageOps.fit(
        image,
        (
            min(image.width, max(1, image.height * across // down)),
            min(image.height, max(1, image.width * down // across)),
        ),
        centering=(0.4, 0.5),
    )


# Symmetries and turns


def transpose(method: Image.Transpose) -> Change:
    return lambda image, _: image.transpose(method)


def turn(degrees: float, cropped: bool = False, fill: Colour = BLACK) -> Change:
    def change(image: Image.Image, material: Material) -> Image.Image:
        angle = degrees if material.random.integers(2) else -degrees
        turned = image.rotate(angle, Image.Resampling.BICUBIC, expand=not cropped, fillcolor=fill)
        if not cropped:
            return turned
        kept = largest_upright(image.width, image.height, degrees)
        return crop_box(turned, (1 - kept) / 2, (1 - kept) / 2, (1 + kept) / 2, (1 + kept) / 2)

    return change


def largest_upright(width: int, height: int, degrees: float) -> float:
    """Find the share of the sides that a box of the same shape keeps inside the turned picture."""
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return float(
        min(
            width / (width * cosine + height * sine),
            height / (width * sine + height * cosine),
        )
    )


# Borders


def put_on(
    image: Image.Image, left: float, top: float, right: float, bottom: float, fill: Colour
) -> Image.Image:
    """Add borders, given as shares of the picture's longer side."""
    longer = max(image.size)
    edges = [round(longer * share) for share in (left, top, right, bottom)]
    size = (image.width + edges[0] + edges[2], image.height + edges[1] + edges[3])
    canvas = Image.new("RGB", size, fill)
    canvas.paste(image, (edges[0], edges[1]))
    return canvas


def add_border(share: float, fill: Colour) -> Change:
    return lambda image, _: put_on(image, share, share, share, share, fill)


def add_coloured_border(image: Image.Image, material: Material) -> Image.Image:
    red, green, blue = (int(each) for each in material.random.integers(0, 256, 3))
    edges = [material.draw(0.03, 0.25) for _ in range(4)]
    return put_on(image, edges[0], edges[1], edges[2], edges[3], (red, green, blue))


def letterbox(image: Image.Image, _: Material) -> Image.Image:
    return pad_to(image, 9 / 16 if image.width <= image.height else 16 / 9, BLACK)


def pad_to(image: Image.Image, shape: float, fill: Colour) -> Image.Image:
    """Pad to a width per height; a picture that has it already gets bars above and below."""
    width, height = image.size
    if abs(width / height / shape - 1) < 0.1:
        return put_on(image, 0, 0.14, 0, 0.14, fill)
    wanted = (max(width, round(height * shape)), max(height, round(width / shape)))
    canvas = Image.new("RGB", wanted, fill)
    canvas.paste(image, ((wanted[0] - width) // 2, (wanted[1] - height) // 2))
    return canvas


def pad_to_story(image: Image.Image, material: Material) -> Image.Image:
    return pad_to(image, 4 / 5 if material.random.integers(2) else 9 / 16, WHITE)


def add_blurred_border(image: Image.Image, _: Material) -> Image.Image:
    """Fill an upright frame with the picture itself, enlarged and blurred, as stories do."""
    longer = max(image.size)
    size = (longer, round(longer * 16 / 9)) if image.width >= image.height else (longer, longer)
    filled = ImageOps.fit(image, size).filter(ImageFilter.GaussianBlur(longer / 24))
    filled.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return filled


def add_polaroid(image: Image.Image, material: Material) -> Image.Image:
    """A paper frame: uneven, slightly noisy, with a thin dark line around the picture."""
    framed = put_on(
        put_on(image, 0.006, 0.006, 0.006, 0.006, (70, 66, 60)),
        0.06,
        0.06,
        0.06,
        0.2,
        (244, 241, 232),
    )
    noise = material.random.normal(0, 2.5, (framed.height, framed.width, 1))
    pixels = np.clip(np.asarray(framed, np.float32) + noise, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def round_corners(image: Image.Image, _: Material) -> Image.Image:
    """Lay the picture on a light page, with rounded corners and a soft shadow."""
    longer = max(image.size)
    edge, radius = round(0.08 * longer), round(0.05 * longer)
    size = (image.width + 2 * edge, image.height + 2 * edge)
    box = (edge, edge, edge + image.width - 1, edge + image.height - 1)
    shade = Image.new("L", size, 0)
    ImageDraw.Draw(shade).rounded_rectangle(box, radius, fill=150)
    page = Image.new("RGB", size, (238, 240, 243))
    page.paste(
        Image.new("RGB", size, (90, 92, 98)),
        (0, edge // 5),
        shade.filter(ImageFilter.GaussianBlur(edge / 4)),
    )
    shape = Image.new("L", image.size, 0)
    ImageDraw.Draw(shape).rounded_rectangle((0, 0, image.width - 1, image.height - 1), radius, 255)
    page.paste(image, (edge, edge), shape)
    return page


# Overlays


def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(8, round(size)))


def write_text(
    image: Image.Image,
    text: str,
    at: tuple[float, float],
    size: float,
    fill: Colour,
    stroke: tuple[int, Colour] = (0, BLACK),
    anchor: str = "mm",
) -> None:
    """Write a line of text at a place given in fractions; `size` is a share of the width."""
    place = (at[0] * image.width, at[1] * image.height)
    ImageDraw.Draw(image).text(
        place,
        text,
        fill,
        font(size * image.width),
        anchor,
        stroke_width=stroke[0],
        stroke_fill=stroke[1],
    )


def add_caption(image: Image.Image, material: Material) -> Image.Image:
    """A white bar with two lines of text above the picture."""
    bar = Image.new("RGB", (image.width, round(0.2 * image.height)), WHITE)
    for line in range(2):
        write_text(bar, material.choose_words(5), (0.5, 0.3 + 0.4 * line), 0.06, (20, 20, 20))
    canvas = Image.new("RGB", (image.width, image.height + bar.height), WHITE)
    canvas.paste(bar)
    canvas.paste(image, (0, bar.height))
    return canvas


def add_news_bar(image: Image.Image, material: Material) -> Image.Image:
    """A red and a dark bar over the lowest fifth, as television news show."""
    changed = image.copy()
    draw, (width, height) = ImageDraw.Draw(changed), image.size
    draw.rectangle((0, round(0.79 * height), width, round(0.86 * height)), fill=(176, 18, 28))
    draw.rectangle((0, round(0.86 * height), width, height), fill=(16, 22, 48))
    write_text(changed, "BREAKING NEWS", (0.03, 0.825), 0.05, WHITE, anchor="lm")
    write_text(changed, material.choose_words(5), (0.03, 0.93), 0.05, WHITE, anchor="lm")
    return changed


def add_meme_text(image: Image.Image, material: Material) -> Image.Image:
    changed = image.copy()
    for down in (0.1, 0.9):
        stroke = (max(1, image.width // 150), BLACK)
        text = material.choose_words(4).upper()
        write_text(changed, text, (0.5, down), 0.075, WHITE, stroke)
    return changed


def add_stickers(image: Image.Image, material: Material) -> Image.Image:
    """Two smiling faces and a heart-red disc over the picture; they cover about a tenth of it."""
    changed = image.copy()
    draw, shorter = ImageDraw.Draw(changed), min(image.size)
    for number in range(3):
        radius = shorter * material.draw(0.08, 0.14)
        x, y = material.draw(0.2, 0.8) * image.width, material.draw(0.2, 0.8) * image.height
        box = (x - radius, y - radius, x + radius, y + radius)
        if number == 2:
            draw.ellipse(box, fill=(214, 30, 60))
            continue
        draw.ellipse(
            box, fill=(255, 204, 51), outline=(200, 140, 0), width=max(1, int(radius / 12))
        )
        for side in (-0.35, 0.35):
            eye = (x + side * radius, y - 0.25 * radius)
            dot = 0.12 * radius
            draw.ellipse(
                (eye[0] - dot, eye[1] - dot, eye[0] + dot, eye[1] + dot), fill=(60, 40, 10)
            )
        smile = (x - 0.5 * radius, y - 0.4 * radius, x + 0.5 * radius, y + 0.55 * radius)
        draw.arc(smile, 20, 160, (60, 40, 10), max(1, int(radius / 8)))
    return changed


def add_watermark(image: Image.Image, material: Material) -> Image.Image:
    """A half-transparent name all over the picture, at an angle."""
    longer = 2 * max(image.size)
    layer = Image.new("L", (longer, longer), 0)
    draw, text = ImageDraw.Draw(layer), material.choose_words(2)
    step = max(24, longer // 14)
    for row, y in enumerate(range(0, longer, step)):
        for x in range(-(row % 2) * step, longer, 3 * step):
            draw.text((x, y), text, 110, font(step / 2.6))
    turned = layer.rotate(30, Image.Resampling.BILINEAR)
    left, top = (longer - image.width) // 2, (longer - image.height) // 2
    mask = turned.crop((left, top, left + image.width, top + image.height))
    changed = image.copy()
    changed.paste(Image.new("RGB", image.size, WHITE), mask=mask)
    return changed


def cover_face(image: Image.Image, material: Material) -> Image.Image:
    """A black bar over the middle: a tenth of the height, most of the width."""
    changed = image.copy()
    top = material.draw(0.35, 0.55)
    box = (0.1 * image.width, top * image.height, 0.9 * image.width, (top + 0.1) * image.height)
    ImageDraw.Draw(changed).rectangle(box, fill=BLACK)
    return changed


def scribble(image: Image.Image, material: Material) -> Image.Image:
    """A thick red ring and an arrow, as people point at things."""
    changed = image.copy()
    draw, (width, height) = ImageDraw.Draw(changed), image.size
    line = max(3, min(image.size) // 50)
    x, y, radius = material.draw(0.3, 0.7) * width, material.draw(0.3, 0.7) * height, height / 6
    draw.ellipse(
        (x - radius, y - radius, x + radius, y + radius), outline=(230, 20, 20), width=line
    )
    draw.line((0.05 * width, 0.05 * height, x - radius, y - radius), (230, 20, 20), line)
    return changed


# Screens


def fit_width(image: Image.Image, width: int) -> Image.Image:
    return image.resize((width, max(1, round(image.height * width / image.width))))


def screenshot_phone(image: Image.Image, material: Material) -> Image.Image:
    """A picture opened in a phone's gallery: a status bar, a bar with a name, controls below."""
    width, height = 720, 1560
    dark = bool(material.random.integers(2))
    back, front = ((10, 10, 12), (235, 235, 238)) if dark else ((250, 250, 252), (30, 30, 34))
    screen = Image.new("RGB", (width, height), back)
    shown = fit_width(image, width)
    if shown.height > height - 330:
        shown = shown.resize((round(shown.width * (height - 330) / shown.height), height - 330))
    screen.paste(shown, ((width - shown.width) // 2, 160 + (height - 330 - shown.height) // 2))
    draw = ImageDraw.Draw(screen)
    clock = f"{int(material.random.integers(24)):02}:{int(material.random.integers(60)):02}"
    draw.text((32, 20), clock, front, font(30))
    for number in range(4):
        draw.rectangle((560 + 14 * number, 44 - 6 * number, 569 + 14 * number, 50), fill=front)
    draw.rounded_rectangle((640, 24, 690, 48), 6, outline=front, width=3)
    draw.line([(52, 96), (36, 112), (52, 128)], front, 5)
    draw.text((90, 92), material.choose_words(2).title(), front, font(34))
    for number in range(5):
        x, y = 72 + 144 * number, height - 90
        draw.ellipse((x - 22, y - 22, x + 22, y + 22), outline=front, width=4)
    draw.rounded_rectangle((260, height - 22, 460, height - 14), 4, fill=front)
    return screen


def screenshot_post(image: Image.Image, material: Material) -> Image.Image:
    """A post of a social network: a face, a name, two lines of text, the picture, counts below."""
    width = 828
    shown = fit_width(image, width - 48)
    screen = Image.new("RGB", (width, shown.height + 420), WHITE)
    draw = ImageDraw.Draw(screen)
    shade = tuple(int(each) for each in material.random.integers(60, 220, 3))
    draw.ellipse((24, 40, 104, 120), fill=(shade[0], shade[1], shade[2]))
    draw.text((124, 46), material.choose_words(2).title(), (15, 20, 25), font(30))
    draw.text((124, 86), f"@{material.choose_words(1)}", (83, 100, 113), font(24))
    for line in range(2):
        draw.text((24, 144 + 42 * line), material.choose_words(6), (15, 20, 25), font(32))
    mask = Image.new("L", shown.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, shown.width - 1, shown.height - 1), 28, 255)
    screen.paste(shown, (24, 250), mask)
    for number in range(4):
        count = int(material.random.integers(5, 5000))
        x, y = 40 + 190 * number, shown.height + 300
        draw.ellipse((x, y, x + 30, y + 30), outline=(83, 100, 113), width=3)
        draw.text((x + 44, y), str(count), (83, 100, 113), font(26))
    draw.line((0, shown.height + 360, width, shown.height + 360), (220, 224, 228), 2)
    return screen


def screenshot_chat(image: Image.Image, material: Material) -> Image.Image:
    """A picture in a chat: it takes two thirds of the width, between bubbles of text."""
    screen = Image.new("RGB", (720, 1280), (229, 221, 213))
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 720, 130), fill=(7, 94, 84))
    draw.ellipse((70, 50, 130, 110), fill=(200, 205, 210))
    draw.text((150, 62), material.choose_words(2).title(), WHITE, font(34))
    for y, left in ((170, 20), (250, 250), (1110, 20)):
        draw.rounded_rectangle((left, y, left + 440, y + 64), 14, fill=WHITE)
        draw.text((left + 18, y + 14), material.choose_words(4), (30, 30, 30), font(27))
    shown = image.copy()
    shown.thumbnail((470, 740))
    draw.rounded_rectangle(
        (216, 340, 232 + shown.width, 356 + shown.height + 20), 14, (220, 248, 198)
    )
    screen.paste(shown, (224, 348))
    draw.rectangle((0, 1196, 720, 1280), fill=(240, 240, 240))
    draw.rounded_rectangle((20, 1206, 600, 1270), 32, fill=WHITE)
    return screen


def screenshot_browser(image: Image.Image, material: Material) -> Image.Image:
    """A page of news on a computer: a headline, the picture, a column of text beside it."""
    screen = Image.new("RGB", (1366, 768), WHITE)
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 1366, 78), fill=(222, 225, 230))
    draw.rounded_rectangle((160, 40, 1100, 70), 14, fill=WHITE)
    draw.text((180, 45), f"https://{material.choose_words(1)}.example/news", (60, 64, 67), font(18))
    draw.text((80, 110), material.choose_words(8).capitalize(), BLACK, font(40))
    shown = image.copy()
    shown.thumbnail((760, 560))
    if max(shown.size) < 560:
        shown = resize(shown, 560 / max(shown.size))
    screen.paste(shown, (80, 180))
    for line in range(18):
        draw.text((900, 190 + 30 * line), material.choose_words(6), (60, 60, 60), font(19))
    return screen


def project(
    image: Image.Image, corners: Sequence[tuple[float, float]], size: tuple[int, int], fill: Colour
) -> Image.Image:
    """Lay the picture so that its corners (from the top left, clockwise) come to these places."""
    width, height = image.size
    sources = ((0, 0), (width, 0), (width, height), (0, height))
    rows, values = [], []
    for (x, y), (u, v) in zip(corners, sources, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    found = np.linalg.solve(np.array(rows, float), np.array(values, float))
    return image.transform(
        size, Image.Transform.PERSPECTIVE, found.tolist(), Image.Resampling.BICUBIC, fillcolor=fill
    )


def see_askew(amount: float, fill: Colour = BLACK) -> Change:
    def change(image: Image.Image, material: Material) -> Image.Image:
        width, height = image.size
        ends = ((0, 0), (1, 0), (1, 1), (0, 1))
        corners = [
            (
                width * abs(x - material.draw(0, amount)),
                height * abs(y - material.draw(0, amount)),
            )
            for x, y in ends
        ]
        return project(image, corners, image.size, fill)

    return change


def photograph_screen(askew: float, moire: float, softness: float) -> Change:
    """A picture on a screen, photographed: a dark frame, seen askew, moire, glare, blur, noise."""

    def change(image: Image.Image, material: Material) -> Image.Image:
        shown = image.copy()
        shown.thumbnail((1200, 1200))
        if max(shown.size) < 700:
            shown = resize(shown, 700 / max(shown.size))
        framed = put_on(shown, 0.02, 0.02, 0.02, 0.05, (18, 18, 20))
        width, height = framed.size
        margin = round(0.1 * max(framed.size))
        size = (width + 2 * margin, height + 2 * margin)
        ends = ((0, 0), (1, 0), (1, 1), (0, 1))
        corners = [
            (
                margin + width * abs(x - material.draw(0, askew)),
                margin + height * abs(y - material.draw(0, askew)),
            )
            for x, y in ends
        ]
        desk: Colour = tuple(int(each) for each in material.random.integers(40, 190, 3))  # type: ignore[assignment]
        return disturb(project(framed, corners, size, desk), material, moire, softness)

    return change


def disturb(image: Image.Image, material: Material, moire: float, softness: float) -> Image.Image:
    """Add what a camera sees on a screen: waves of two grids, a bright spot, blur and noise."""
    soft = image.filter(ImageFilter.GaussianBlur(softness * max(image.size)))
    pixels = np.asarray(soft, np.float32)
    y, x = np.mgrid[0 : image.height, 0 : image.width].astype(np.float32)
    angle, period = material.draw(0.05, 0.5), material.draw(5, 11)
    first = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    second = np.sin(
        2 * np.pi * (x * np.cos(angle + 1.3) + y * np.sin(angle + 1.3)) / (1.1 * period)
    )
    colours = np.array([1.0, 0.7, 1.2], np.float32)
    pixels = pixels * (1 + moire * (first * second)[..., None] * colours)
    spot_x, spot_y = material.draw(0.2, 0.8) * image.width, material.draw(0.2, 0.8) * image.height
    spread = (0.18 * max(image.size)) ** 2
    glare = 110 * np.exp(-((x - spot_x) ** 2 + (y - spot_y) ** 2) / (2 * spread))
    noise = material.random.normal(0, 5, pixels.shape)
    shade = np.array([0.93, 0.98, 1.06], np.float32)  # the bluish light of a screen
    made = pixels * shade + glare[..., None] + noise
    return Image.fromarray(np.clip(made, 0, 255).astype(np.uint8))


# Collages


def lay_out(
    image: Image.Image, material: Material, across: int, down: int, size: tuple[int, int]
) -> Image.Image:
    """Put the picture and others into a grid of equal cells with a thin white gap."""
    gap, (width, height) = 6, size
    sheet = Image.new("RGB", (across * (width + gap) + gap, down * (height + gap) + gap), WHITE)
    own = int(material.random.integers(across * down))
    for cell in range(across * down):
        picture = image if cell == own else material.choose_other().convert("RGB")
        place = (gap + cell % across * (width + gap), gap + cell // across * (height + gap))
        sheet.paste(ImageOps.fit(picture, size), place)
    return sheet


def collage(across: int, down: int) -> Change:
    def change(image: Image.Image, material: Material) -> Image.Image:
        share = 512 / max(image.size)
        size = (max(64, round(image.width * share)), max(64, round(image.height * share)))
        return lay_out(image, material, across, down, size)

    return change


def put_into(image: Image.Image, material: Material) -> Image.Image:
    """Lay the picture, at half the width, into a corner of another one."""
    ground = ImageOps.fit(material.choose_other().convert("RGB"), (1024, 768))
    small = image.copy()
    small.thumbnail((512, 480))
    ground.paste(put_on(small, 0.01, 0.01, 0.01, 0.01, WHITE), (round(material.draw(0, 450)), 20))
    return ground


def chain(*changes: Change) -> Change:
    def change(image: Image.Image, material: Material) -> Image.Image:
        for each in changes:
            image = each(image, material)
        return image

    return change


def send(quality: int, longest: int) -> Change:
    """Send through a messenger: no longer than this many pixels, JPEG."""

    def change(image: Image.Image, _: Material) -> Image.Image:
        share = min(1.0, longest / max(image.size))
        return save_again(resize(image, share), quality)

    return change


MIRROR = transpose(Image.Transpose.FLIP_LEFT_RIGHT)
FLIP = transpose(Image.Transpose.FLIP_TOP_BOTTOM)
TURN_90 = transpose(Image.Transpose.ROTATE_270)  # Pillow turns counterclockwise
TURN_180 = transpose(Image.Transpose.ROTATE_180)
TURN_270 = transpose(Image.Transpose.ROTATE_90)

EDITS: tuple[Edit, ...] = (
    Edit("jpeg-75", "mild", "Saved again as JPEG 75", keep, True, "JPEG", 75),
    Edit("jpeg-30", "mild", "Saved again as JPEG 30", keep, True, "JPEG", 30),
    Edit("webp-50", "mild", "Saved again as WebP 50", keep, True, "WEBP", 50),
    Edit("half-size", "mild", "Half the width and height", scale_to(0.5), True),
    Edit("quarter-size", "mild", "A quarter of the width and height", scale_to(0.25), True),
    Edit("blur", "mild", "Blurred by 0.5 % of the longer side", blur, True),
    Edit("tones", "mild", "Brighter, more contrast and colour", change_tones(1.25, 1.3, 1.4), True),
    Edit("darker", "mild", "Darker, less contrast and colour", change_tones(0.65, 0.8, 0.6)),
    Edit("grey", "mild", "Grey", make_grey, True),
    Edit("filter", "mild", "Warm filter with dark corners", make_vintage, True),
    Edit("sharpen", "mild", "Sharpened", sharpen),
    Edit("noise", "mild", "Noise", add_noise),
    Edit("crop-5", "crops", "5 % cropped at each side", crop_sides(0.05), True),
    Edit("crop-10", "crops", "10 % cropped at each side", crop_sides(0.10), True),
    Edit("crop-20", "crops", "20 % cropped at each side", crop_sides(0.20), True),
    Edit("crop-30", "crops", "30 % cropped at each side", crop_sides(0.30), True),
    Edit("crop-corner", "crops", "60 % of the sides kept, at a corner", crop_corner, True),
    Edit("crop-aside", "crops", "70 % of the sides kept, anywhere", crop_aside(0.7)),
    Edit("crop-half", "crops", "50 % of the sides kept, anywhere", crop_aside(0.5)),
    Edit("crop-one-side", "crops", "A quarter cropped at one side", crop_one_side),
    Edit("crop-9-16", "crops", "Cropped to an upright 9:16", crop_to_shape(9, 16)),
    Edit("mirror", "symmetries", "Mirrored", MIRROR, True),
    Edit("flip", "symmetries", "Upside down and mirrored", FLIP),
    Edit("turn-90", "symmetries", "Turned by 90 degrees", TURN_90, True),
    Edit(
        "turn-180",
        "symmetries",
        "Turned by 180 degrees",
        TURN_180,
        True,
    ),
    Edit("turn-270", "symmetries", "Turned by 270 degrees", TURN_270),
    Edit("turn-3", "turns", "Turned by 3 degrees, cropped", turn(3, cropped=True)),
    Edit("turn-5", "turns", "Turned by 5 degrees, black corners", turn(5), True),
    Edit("turn-15", "turns", "Turned by 15 degrees, cropped", turn(15, cropped=True)),
    Edit("turn-30", "turns", "Turned by 30 degrees, white corners", turn(30, fill=WHITE)),
    Edit("border-white", "borders", "White border of 8 %", add_border(0.08, WHITE), True),
    Edit("border-black", "borders", "Black border of 15 %", add_border(0.15, BLACK)),
    Edit("border-coloured", "borders", "Uneven coloured border", add_coloured_border),
    Edit("letterbox", "borders", "Black bars to 16:9 or 9:16", letterbox, True),
    Edit("story", "borders", "White bars to 4:5 or 9:16", pad_to_story),
    Edit("border-blurred", "borders", "Bars of the picture, blurred", add_blurred_border),
    Edit("polaroid", "borders", "Paper frame with a thin line and noise", add_polaroid),
    Edit("rounded", "borders", "Rounded corners and shadow on a page", round_corners),
    Edit("caption", "overlays", "White bar with text above", add_caption, True),
    Edit("meme-text", "overlays", "Large text above and below, inside", add_meme_text, True),
    Edit("stickers", "overlays", "Three stickers", add_stickers, True),
    Edit("watermark", "overlays", "Watermark all over", add_watermark),
    Edit("news-bar", "overlays", "Bars with text over the lowest fifth", add_news_bar),
    Edit("black-bar", "overlays", "Black bar over the middle", cover_face),
    Edit("scribble", "overlays", "Red ring and line", scribble),
    Edit("phone", "screens", "Screenshot of a phone's gallery", screenshot_phone, True),
    Edit("post", "screens", "Screenshot of a post", screenshot_post),
    Edit("chat", "screens", "Screenshot of a chat", screenshot_chat),
    Edit("browser", "screens", "Screenshot of a page of news", screenshot_browser),
    Edit(
        "photo-of-screen",
        "photographed",
        "Photographed from a screen",
        photograph_screen(0.06, 0.06, 0.0012),
        True,
        "JPEG",
        80,
    ),
    Edit(
        "photo-of-screen-hard",
        "photographed",
        "Photographed from a screen, badly",
        photograph_screen(0.16, 0.12, 0.0022),
        False,
        "JPEG",
        70,
    ),
    Edit("perspective", "photographed", "Seen askew", see_askew(0.12), True),
    Edit("collage-2x2", "collages", "One of four pictures", collage(2, 2), True),
    Edit("collage-1x2", "collages", "One of two pictures, side by side", collage(2, 1)),
    Edit("collage-3x3", "collages", "One of nine pictures", collage(3, 3)),
    Edit("inset", "collages", "Laid into another picture", put_into),
    Edit(
        "crop-caption-jpeg",
        "chains",
        "10 % cropped, caption, JPEG 50",
        chain(crop_sides(0.10), add_caption, send(50, 1280)),
        False,
        "JPEG",
        60,
    ),
    Edit(
        "mirror-crop-border",
        "chains",
        "Mirrored, 10 % cropped, coloured border",
        chain(MIRROR, crop_sides(0.10), add_coloured_border),
    ),
    Edit(
        "sent-phone",
        "chains",
        "Sent twice, then a screenshot of a phone",
        chain(send(65, 1280), send(60, 960), screenshot_phone),
        False,
        "JPEG",
        80,
    ),
    Edit(
        "crop-meme-phone",
        "chains",
        "Cropped, meme text, screenshot, sent",
        chain(crop_sides(0.05), add_meme_text, screenshot_phone, send(60, 1280)),
    ),
    Edit(
        "mirror-turn-tones",
        "chains",
        "Mirrored, turned by 3 degrees, brighter",
        chain(MIRROR, turn(3, cropped=True), change_tones(1.2, 1.15, 1.3), send(60, 1024)),
    ),
)
CORE: tuple[Edit, ...] = tuple(edit for edit in EDITS if edit.core)
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(edit.group for edit in EDITS))


def get_edit(name: str) -> Edit:
    """Return the edit of this name.

    Raises:
        KeyError: there is none.
    """
    return {edit.name: edit for edit in EDITS}[name]
