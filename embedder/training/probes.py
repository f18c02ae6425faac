"""The probes that measure the built-in model: tiles of photographs at native resolution, and what
decoders make of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.demonstration.resynthesis import Resynthesiser
from embedder.training.figures import compute_psnr
from embedder.training.photographs import cut_tiles

TILE_SIDE = 224  # pixels: the crop of 160 and a border that the decoders' padding cannot reach
REAL = "photograph"


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    photograph: str
    generator: str  # REAL, or one of DECODERS
    pixels: NDArray[np.uint8]  # (h, w, 3)

    @property
    def is_real(self) -> bool:
        return self.generator == REAL


def make_probes(
    photographs: Iterable[tuple[str, Image.Image]],
    decoders: dict[str, Resynthesiser],
    *,
    max_tiles: int,
) -> Iterator[Probe]:
    """Yield up to `max_tiles` tiles of each (name, photograph), each also as every decoder makes
    it.
    """
    for name, image in photographs:
        for tile in cut_tiles(image, TILE_SIDE, max_tiles):
            yield Probe(name, REAL, np.asarray(tile))
            for generator, decoder in decoders.items():
                yield Probe(name, generator, np.asarray(decoder(tile)))


def compute_median_psnr(probes: Sequence[Probe]) -> dict[str, float]:
    """Return the median PSNR in dB of each decoder's tiles, compared with the original tiles."""
    found: dict[str, list[float]] = {}
    source = probes[0]
    for probe in probes:
        if probe.generator == REAL:
            source = probe
        else:
            found.setdefault(probe.generator, []).append(compute_psnr(source.pixels, probe.pixels))
    return {generator: round(float(np.median(values)), 2) for generator, values in found.items()}
