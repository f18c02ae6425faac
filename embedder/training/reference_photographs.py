"""Collecting the photographs whose vectors ship with the built-in model: one folder a collection.

`python -m embedder.training.reference_photographs --corpus DIR --packages DIR --out FOLDER` copies
them, and writes `collections.json`, which says where each collection comes from. `--packages` is a
folder into which each Debian package was unpacked under its name (`dpkg-deb -x PACKAGE_*.deb
DIR/PACKAGE`). No photograph was used to train the model or to choose its weights, except that the
held-out collections served with their demonstration fakes to choose among candidates (model card).
Drawn, rendered and painted pictures of the packages are left out, and those whose shorter side is
under `SHORTEST_SIDE`. `embedder.training.references` computes the vectors.
"""

import argparse
import io
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from embedder.training.files import write_json
from embedder.training.photographs import HELD_OUT_COLLECTIONS

COLLECTIONS_FILE = "collections.json"
# Pixels: half of it is the 160 that the built-in model reads, so every photograph has a copy of
# half its size.
SHORTEST_SIDE = 320


@dataclass(frozen=True, slots=True)
class Packaged:
    """Photographs of some Debian packages, as one collection.

    `folders` are paths below the unpacked packages; `names` are files there, None for all.
    """

    description: str
    folders: tuple[str, ...]
    names: tuple[str, ...] | None = None
    leave_out: tuple[str, ...] = ()


_GCOMPRIS = "gcompris-qt-data/usr/share/gcompris-qt/rcc"
_GCOMPRIS_FROM = "Debian's gcompris-qt-data 3.1-2"
_OPENCV = "opencv-doc/usr/share/doc/opencv-doc/examples"
# A path that ends in .rcc is an archive of Qt resources. Its members are listed by name.
PACKAGED = {
    "gcompris-monuments": Packaged(
        f"buildings of five countries and the world by many photographers, WebP of 1,024 pixels; "
        f"{_GCOMPRIS_FROM}",
        (f"{_GCOMPRIS}/explore_monuments.rcc", f"{_GCOMPRIS}/details.rcc"),
        leave_out=(
            "PortraitOfPereTanguy_background.webp",
            "Van_Gogh_The_Night_Cafe_background.webp",
            "Eglise_dAuvers-sur-Oise_background.webp",
            "VincentVanGoghBridge_background.webp",
            "VincentVanGogh0012_background.webp",
            "VincentVanGogh0013_background.webp",
            "VincentVanGogh0019_background.webp",
            "Gogh4_background.webp",
        ),
    ),
    "gcompris-animals": Packaged(
        f"animals by many photographers, WebP of 1,024 and 1,920 pixels; {_GCOMPRIS_FROM}",
        (
            f"{_GCOMPRIS}/erase.rcc",
            f"{_GCOMPRIS}/explore_world_animals.rcc",
            f"{_GCOMPRIS}/explore_farm_animals.rcc",
        ),
    ),
    "gcompris-music": Packaged(
        f"musicians and instruments by many photographers, WebP of 1,024 pixels; {_GCOMPRIS_FROM}",
        (f"{_GCOMPRIS}/explore_world_music.rcc",),
    ),
    "opencv-samples": Packaged(
        "samples of image processing by many cameras, JPEG and PNG, some decoded from JPEG or "
        "scanned; Debian's opencv-doc 4.6.0+dfsg-12",
        (
            f"{_OPENCV}/alphamat/input_images",
            f"{_OPENCV}/data",
            f"{_OPENCV}/reg",
            f"{_OPENCV}/text",
        ),
        (
            "plant.jpg",
            "aero1.jpg",
            "aloeL.jpg",
            "apple.jpg",
            "baboon.jpg",
            "basketball1.png",
            "board.jpg",
            "box_in_scene.png",
            "building.jpg",
            "butterfly.jpg",
            "chicky_512.png",
            "ela_original.jpg",
            "fruits.jpg",
            "graf1.png",
            "home.jpg",
            "left.jpg",
            "left03.jpg",
            "leuvenA.jpg",
            "messi5.jpg",
            "orange.jpg",
            "rubberwhale1.png",
            "squirrel_cls.jpg",
            "stuff.jpg",
            "sudoku.png",
            "home.png",
            "scenetext01.jpg",
            "scenetext02.jpg",
            "scenetext03.jpg",
            "scenetext04.jpg",
            "scenetext05.jpg",
            "scenetext06.jpg",
            "scenetext_segmented_word01.jpg",
            "scenetext_segmented_word02.jpg",
            "scenetext_segmented_word03.jpg",
            "scenetext_segmented_word04.jpg",
            "scenetext_segmented_word05.jpg",
        ),
    ),
    "wallpapers": Packaged(
        "landscapes, plants, towns and animals by many photographers, JPEG and PNG of 500 to 6,000 "
        "pixels; Debian's budgie-backgrounds 3.0-1, gnome-backgrounds 3.38.0-1, lxqt-themes "
        "1.2.0-1, puzzle-jigsaw 1.0.2+git20201007, golang-github-disintegration-imaging-dev "
        "1.6.2-2 and golang-github-rwcarlsen-goexif-dev 0.0~git20190401",
        (
            "budgie-backgrounds/usr/share/backgrounds/budgie",
            "gnome-backgrounds/usr/share/backgrounds/gnome",
            "lxqt-themes/usr/share/lxqt/wallpapers",
            "puzzle-jigsaw/usr/share/puzzle-jigsaw/samples",
            "golang-github-disintegration-imaging-dev/usr/share/gocode/src/github.com/"
            "disintegration/imaging/testdata",
            "golang-github-rwcarlsen-goexif-dev/usr/share/gocode/src/github.com/rwcarlsen/goexif/"
            "exif",
        ),
        (
            "abstract-spiral.jpg",
            "beacon-street-sunset.jpg",
            "blue-periwinkle.jpg",
            "canyon-wren.jpg",
            "casa-mila.jpg",
            "extreme-desert-hike.jpg",
            "high-trestle-trail.jpg",
            "lake-sherburne.jpg",
            "oakland-zoo-otters.jpg",
            "ocean-waves.jpg",
            "perched-osprey.jpg",
            "piazza-gae-aulenti.jpg",
            "roman-colosseum.jpg",
            "saturnian-profile.jpg",
            "singaporean-cityscape.jpg",
            "tea-gardens.jpg",
            "ColdWarm.jpg",
            "Dark_Ivy.jpg",
            "Icetwigs.jpg",
            "LightWaves.jpg",
            "Road.jpg",
            "SeaSunset.jpg",
            "Butterfly-Kenneth-Wimer.jpg",
            "Valendas.png",
            "after-the-rain.jpg",
            "appleflower.png",
            "beam.png",
            "butterfly.png",
            "cloud.png",
            "drop.png",
            "flowers.png",
            "fog.jpg",
            "this-is-not-windows.jpg",
            "pexels-photo-302304.jpeg",
            "cat-animal-cat-portrait-mackerel.jpg",
            "branches.jpg",
            "sample1.jpg",
        ),
    ),
}
HELD_OUT_DESCRIPTIONS = {
    "afhq": "heads of animals, cropped and scaled to 512 pixels by the collection",
    "dreambooth-objects": "objects and pets by several cameras",
    "unsplash-flickr-inpaint-src": "photographs of Unsplash and Flickr",
    "ml72-stock": "stock photographs",
    "clip-retrieval-test": "test photographs of an image search",
}


def collect(corpus: Path, packages: Path, folder: Path) -> dict[str, int]:
    """Copy the photographs of all collections; return how many each has.

    Raises FileNotFoundError where a listed one is missing, because the recipe would be another.
    """
    counts = {}
    for name, packaged in PACKAGED.items():
        counts[name] = _copy_packaged(packages, packaged, folder / name)
    for name in HELD_OUT_COLLECTIONS:
        found = sorted((corpus / "real" / name).iterdir())
        counts[name] = _write_large_enough(
            ((path.name, path.read_bytes()) for path in found), folder / name
        )
    described = {name: packaged.description for name, packaged in PACKAGED.items()} | {
        name: f"{HELD_OUT_DESCRIPTIONS[name]}; from a public repository, not part of this package"
        for name in HELD_OUT_COLLECTIONS
    }
    write_json(folder / COLLECTIONS_FILE, described)
    return counts


def _copy_packaged(packages: Path, packaged: Packaged, folder: Path) -> int:
    found = dict[tuple[str, str], bytes]()
    for part in packaged.folders:
        place = packages / part
        if not place.exists():
            raise FileNotFoundError(f"{place} is missing: unpack the package there")
        members = (
            read_resources(place.read_bytes())
            if place.suffix == ".rcc"
            else (
                (path.name, path.read_bytes()) for path in sorted(place.iterdir()) if path.is_file()
            )
        )
        listed = packaged.names
        found |= {
            (place.stem, name): data
            for name, data in members
            if (listed is None or name in listed) and name not in packaged.leave_out
        }
    missing = sorted(set(packaged.names or ()) - {name for _, name in found})
    if missing:
        raise FileNotFoundError(f"{packages}: no photograph {missing[0]}")
    named = ((f"{part}-{name}", data) for (part, name), data in found.items())
    return _write_large_enough(named, folder)


def _write_large_enough(files: Iterator[tuple[str, bytes]], folder: Path) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    count = 0
    for name, data in files:
        with Image.open(io.BytesIO(data)) as image:
            if min(image.size) < SHORTEST_SIDE or image.mode == "RGBA":
                continue
        (folder / name).write_bytes(data)
        count += 1
    return count


def read_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each image in an archive of Qt resources (.rcc, as `rcc --binary`
    writes it; version 1 to 3). Compressed members are left out: no image is one.
    """
    _, version, tree, contents, names = struct.unpack_from(">4sIIII", data)
    node_bytes = 14 + (8 if version > 1 else 0)  # from version 2 on, with the date of the file

    def read_node(number: int) -> Iterator[tuple[str, bytes]]:
        at = tree + number * node_bytes
        name_at, flags = struct.unpack_from(">IH", data, at)
        if flags & 2:  # a folder
            count, first = struct.unpack_from(">II", data, at + 6)
            for child in range(first, first + count):
                yield from read_node(child)
            return
        (length,) = struct.unpack_from(">H", data, names + name_at)
        start = names + name_at + 6  # after the length and a hash
        name = data[start : start + 2 * length].decode("utf-16-be")
        (content_at,) = struct.unpack_from(">I", data, at + 10)
        (size,) = struct.unpack_from(">I", data, contents + content_at)
        first_byte = contents + content_at + 4
        if flags == 0 and name.endswith((".webp", ".jpg", ".png")):
            yield name, data[first_byte : first_byte + size]

    return read_node(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    counts = collect(arguments.corpus, arguments.packages, arguments.out)
    for name, count in counts.items():
        print(f"{count:4} {name}")
    print(f"{sum(counts.values()):4} photographs of {len(counts)} collections")


if __name__ == "__main__":
    main()
