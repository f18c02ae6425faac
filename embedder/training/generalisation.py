"""Figures on real generators: what the logit says about pictures that training never saw, by
condition and generator.

Photographs are those of the held-out collections. Fakes are the test part of seen generators, and
whole generators that were held out. Both sides are delivered alike. A spectral baseline is measured
beside the model.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.training.deliveries import recompress_image
from embedder.training.fakes import recompress
from embedder.training.figures import FloatArray, area_under_curve
from embedder.training.generators import FAMILY_BY_GENERATOR, GRIDS, Part, read_pictures
from embedder.training.photographs import HELD_OUT_COLLECTIONS, cut_tiles, read_photographs
from embedder.training.probes import REAL, TILE_SIDE

Picture = NDArray[np.uint8]  # (h, w, 3)
Logits = Callable[[Sequence[Picture]], FloatArray]

SCALE = 0.75  # of a tile of 224 pixels: a little over the crop of 160 is left
WEBP_QUALITY = 60  # about that of the seen grids of Stable Diffusion, by their bits per pixel
TILES_EACH = 2  # of one picture; of a grid, one of each of its four
RESAMPLINGS = 1000
INTERVAL = (2.5, 97.5)  # percentiles


def scale(picture: Picture) -> Picture:
    side = round(picture.shape[0] * SCALE)
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


CONDITIONS: Mapping[str, Callable[[Picture], Picture]] = {
    "clean": lambda picture: picture,
    "jpeg90": lambda picture: recompress(picture, 90),
    "jpeg75": lambda picture: recompress(picture, 75),
    "webp60": lambda picture: np.asarray(
        recompress_image("WEBP", Image.fromarray(picture), WEBP_QUALITY)
    ),
    "scaled75-jpeg90": lambda picture: recompress(scale(picture), 90),
}


@dataclass(frozen=True, slots=True, eq=False)
class CorpusProbe:
    """A tile as it is. Tiles that are not independent have the same `group`."""

    generator: str  # REAL, or the generator
    group: str
    pixels: Picture

    @property
    def seen(self) -> bool:
        return self.generator in FAMILY_BY_GENERATOR


def make_corpus_probes(corpus: Path) -> Iterator[CorpusProbe]:
    for photograph in read_photographs(corpus, HELD_OUT_COLLECTIONS):
        for tile in cut_tiles(photograph.image, TILE_SIDE, TILES_EACH):
            yield CorpusProbe(REAL, photograph.name, np.asarray(tile))
    for picture in read_pictures(corpus, (Part.TEST, Part.UNSEEN)):
        for tile in cut_tiles(
            picture.image, TILE_SIDE, 1 if picture.source.startswith(GRIDS) else TILES_EACH
        ):
            yield CorpusProbe(picture.source, picture.group, np.asarray(tile))


def measure_real_generators(
    probes: Sequence[CorpusProbe], classifiers: Mapping[str, Logits]
) -> dict[str, object]:
    """Return what `measured.json` contains under `real_generators`."""
    delivered = {
        name: [deliver(probe.pixels) for probe in probes] for name, deliver in CONDITIONS.items()
    }
    logits = {
        name: {condition: classify(pictures) for condition, pictures in delivered.items()}
        for name, classify in classifiers.items()
    }
    sides = {"seen": select_side(probes, seen=True), "unseen": select_side(probes, seen=False)}
    real = np.array([probe.generator == REAL for probe in probes])
    return {
        "photographs": count_probes(probes, real),
        "fakes": {name: count_probes(probes, side) for name, side in sides.items()},
        "auc": {
            name: {
                side: {
                    c: round(area_under_curve(each[real], each[mask]), 4)
                    for c, each in found.items()
                }
                for side, mask in sides.items()
            }
            for name, found in logits.items()
        },
        "auc_interval_clean": {
            name: {
                side: bootstrap_interval(probes, found["clean"], real, mask)
                for side, mask in sides.items()
            }
            for name, found in logits.items()
        },
        "by_generator": measure_by_generator(probes, real, next(iter(logits.values()))),
        "share_called_synthetic": {
            condition: {
                "photographs": round(float(np.mean(each[real] > 0)), 4),
                **{side: round(float(np.mean(each[mask] > 0)), 4) for side, mask in sides.items()},
            }
            for condition, each in next(iter(logits.values())).items()
        },
    }


def select_side(probes: Sequence[CorpusProbe], *, seen: bool) -> NDArray[np.bool_]:
    return np.array([probe.generator != REAL and probe.seen is seen for probe in probes])


def count_probes(probes: Sequence[CorpusProbe], mask: NDArray[np.bool_]) -> dict[str, int]:
    found = [probe for probe, taken in zip(probes, mask, strict=True) if taken]
    return {
        "generators": len({probe.generator for probe in found} - {REAL}),
        "groups": len({probe.group for probe in found}),
        "tiles": len(found),
    }


def measure_by_generator(
    probes: Sequence[CorpusProbe], real: NDArray[np.bool_], logits: Mapping[str, FloatArray]
) -> dict[str, dict[str, object]]:
    """Measure each generator against all held-out photographs, seen generators first."""
    names = np.array([probe.generator for probe in probes])
    ordered = sorted(
        set(names[~real].tolist()), key=lambda name: (name not in FAMILY_BY_GENERATOR, name)
    )
    return {
        name: {
            "seen": name in FAMILY_BY_GENERATOR,
            **{
                key: n
                for key, n in count_probes(probes, names == name).items()
                if key != "generators"
            },
            "auc": {
                c: round(area_under_curve(each[real], each[names == name]), 3)
                for c, each in logits.items()
            },
        }
        for name in ordered
    }


def bootstrap_interval(
    probes: Sequence[CorpusProbe],
    logits: FloatArray,
    real: NDArray[np.bool_],
    fake: NDArray[np.bool_],
) -> list[float]:
    """Return the 95 % interval of the AUC by bootstrap over groups.

    Tiles of one picture are not independent.
    """
    random = np.random.default_rng(0)
    sides = [group_logits(probes, logits, mask) for mask in (real, fake)]
    areas = []
    for _ in range(RESAMPLINGS):
        drawn = [
            np.concatenate([side[i] for i in random.integers(len(side), size=len(side))])
            for side in sides
        ]
        areas.append(area_under_curve(*drawn))
    return [round(float(each), 4) for each in np.percentile(areas, INTERVAL)]


def group_logits(
    probes: Iterable[CorpusProbe], logits: FloatArray, mask: NDArray[np.bool_]
) -> list[FloatArray]:
    groups = np.array([probe.group for probe in probes])[mask]
    return [logits[mask][groups == group] for group in np.unique(groups)]
