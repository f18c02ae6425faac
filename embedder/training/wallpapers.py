"""Further photographs from the wallpapers of some Debian packages, for shallow focus and large
lenses.

The corpus' photographs for training are mostly small and sharp all over. These are large and free;
their licences are in each package's `copyright` file. `--wallpapers DIR` is a folder into which
each package was unpacked under its name, for example by `dpkg-deb -x PACKAGE_*.deb DIR/PACKAGE`.
"""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from embedder.training.generators import CorpusPicture
from embedder.training.photographs import shrink_to

# By the end of their paths. Drawn and rendered pictures are left out.
PHOTOGRAPHS = {
    "lomiri-wallpapers-16.04": (
        "Bridge_by_Sander_Klootwijk.jpg",
        "Dragonfly_by_Bolly.jpg",
        "Picture_0B_by_freespace.jpg",
        "Picture_1A_by_freespace.jpg",
        "Wine_by_Jakkub_Mede.jpg",
        "aitzgorri_by_Aitzol_Berasategi.jpg",
        "free_by_Peter_Nerlich.jpg",
        "friends_by_Aitzol_Berasategi.jpg",
        "greentock_by_Peter_Nerlich.jpg",
        "life_by_Aitzol_Berasategi.jpg",
        "picosdeeuropa_by_Aitzol_Berasategi.jpg",
        "seeding_by_Clements_Engelhardt.jpg",
        "sunset_by_Aitzol_Berasategi.jpg",
    ),
    "lomiri-wallpapers-20.04": ("Kleiber_by_Lukas_Baubkus.jpg",),
    "palapeli-data": (
        "castle-maintenon.jpg",
        "cincinnati-bridge.jpg",
        "citrus-fruits.jpg",
        "european-honey-bee.jpg",
        "panther-chameleon-female.jpg",
    ),
    "plasma-workspace-wallpapers": tuple(
        f"{name}/contents/images/2560x1600.jpg"
        for name in (
            "BytheWater",
            "ColdRipple",
            "ColorfulCups",
            "DarkestHour",
            "EveningGlow",
            "FallenLeaf",
            "Grey",
            "Kite",
            "OneStandsOut",
            "Path",
            "summer_1am",
        )
    ),
    "mate-backgrounds": (
        "Dune.jpg",
        "FreshFlower.jpg",
        "Garden.jpg",
        "GreenMeadow.jpg",
        "LadyBird.jpg",
        "RainDrops.jpg",
        "Storm.jpg",
        "TwoWings.jpg",
        "Wood.jpg",
        "YellowFlower.jpg",
    ),
}
VALIDATION_PACKAGES = ("mate-backgrounds",)  # a whole collection that is never trained on
TRAINED_PACKAGES = tuple(package for package in PHOTOGRAPHS if package not in VALIDATION_PACKAGES)
LARGEST_EDGE = 2560
SMALLER_EDGES = (1280, 800)


def read_wallpapers(folder: Path | None, packages: tuple[str, ...]) -> Iterator[CorpusPicture]:
    """Yield each photograph as it is and scaled down, in the order of the list; none without a
    folder.

    Raises FileNotFoundError where one is missing, because the recipe would be another.
    """
    if folder is None:
        return
    for package in packages:
        unpacked = sorted((folder / package).rglob("*.jpg"))
        for name in PHOTOGRAPHS[package]:
            found = next((path for path in unpacked if path.as_posix().endswith(f"/{name}")), None)
            if found is None:
                raise FileNotFoundError(
                    f"{folder / package}: no photograph {name}; unpack the package there"
                )
            with Image.open(found) as stored:
                image = shrink_to(stored.convert("RGB"), LARGEST_EDGE)
            group = f"{package}/{name}"
            yield CorpusPicture(
                group, package, synthetic=False, group=group, image=image, container="JPEG"
            )
            for edge in SMALLER_EDGES:
                smaller = shrink_to(image, edge)
                if smaller.width < image.width:
                    yield CorpusPicture(f"{group}-{edge}", package, False, group, smaller, "PNG")
