"""Small convolutional autoencoders that re-synthesise a photograph: the demonstration fakes.

Owns the architecture and the loading of the shipped weights (`models/decoders.safetensors`);
`embedder.training.autoencoders` trains them. All four share one encoder shape and differ in how the
decoder upsamples, because upsampling leaves a generator's periodic trace in a picture (Odena et al.
2016, "Deconvolution and checkerboard artifacts"; Zhang et al. 2019, "Detecting and simulating
artifacts in GAN fake images"). They replace generators in demonstrations and tests. They add
nothing that was not in the photograph.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS_FILE = Path(__file__).parents[1] / "models" / "decoders.safetensors"

DOWNSAMPLING = 4
LATENT_CHANNELS = 12
TILE_SIDE = 512  # pixels of output of one forward: about 200 MB of activations
# A multiple of DOWNSAMPLING that covers the receptive field (36): tiles join without a seam.
TILE_MARGIN = 40
# A multiple of DOWNSAMPLING: the image is mirrored at its edge, so that no decoder sees the black
# beyond it.
BORDER = 16


class Upsampling(StrEnum):
    TRANSPOSED = "transposed"
    NEAREST = "nearest"
    BILINEAR = "bilinear"
    PIXELSHUFFLE = "pixelshuffle"


UPSAMPLING_BY_GENERATOR = {f"demo-{upsampling}": upsampling for upsampling in Upsampling}
DECODERS: tuple[str, ...] = tuple(UPSAMPLING_BY_GENERATOR)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(functional.gelu(self.first(functional.gelu(x))))
        return x + change


class Encoder(nn.Module):
    """(b, 3, h, w) in [-1, 1] -> (b, LATENT_CHANNELS, h/4, w/4); h and w are multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Conv2d(3, LATENT_CHANNELS, DOWNSAMPLING, stride=DOWNSAMPLING)
        self.at_half = nn.Conv2d(3, 24, 4, stride=2, padding=1)
        self.at_quarter = nn.Conv2d(24, 48, 4, stride=2, padding=1)
        self.block = ResidualBlock(48)
        self.latent = nn.Conv2d(48, LATENT_CHANNELS, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.at_quarter(functional.gelu(self.at_half(pixels)))  # (b, 48, h/4, w/4)
        latent: Tensor = self.linear(pixels) + self.latent(functional.gelu(self.block(features)))
        return latent  # (b, c, h/4, w/4)


class Decoder(nn.Module):
    """(b, LATENT_CHANNELS, h/4, w/4) -> (b, 3, h, w), approximately in [-1, 1]."""

    def __init__(self, upsampling: Upsampling) -> None:
        super().__init__()
        self.at_quarter = nn.Conv2d(LATENT_CHANNELS, 48, 3, padding=1)
        self.block = ResidualBlock(48)
        self.to_half = build_upsampling(upsampling, 48, 32)
        self.at_half = nn.Conv2d(32, 32, 3, padding=1)
        self.to_full = build_upsampling(upsampling, 32, 16)
        self.at_full = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        features = functional.gelu(self.block(self.at_quarter(latent)))
        features = self.to_half(features)  # (b, 32, h/2, w/2)
        features = features + self.at_half(functional.gelu(features))
        features = self.to_full(functional.gelu(features))  # (b, 16, h, w)
        pixels: Tensor = self.at_full(functional.gelu(features))
        return pixels  # (b, 3, h, w)


def build_upsampling(upsampling: Upsampling, channels_in: int, channels_out: int) -> nn.Module:
    """Build a module (b, channels_in, h, w) -> (b, channels_out, 2h, 2w)."""
    match upsampling:
        case Upsampling.TRANSPOSED:
            return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
        case Upsampling.PIXELSHUFFLE:
            return nn.Sequential(
                nn.Conv2d(channels_in, 4 * channels_out, 3, padding=1), nn.PixelShuffle(2)
            )
        case Upsampling.NEAREST:
            up = nn.Upsample(scale_factor=2, mode="nearest")  # "resize-convolution" of Odena et al.
        case Upsampling.BILINEAR:
            up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    # Interpolation weakens what lies between two pixels. A single 3 x 3 convolution after it is
    # 1 dB worse than this pair.
    first = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    return nn.Sequential(up, first, nn.GELU(), nn.Conv2d(channels_out, channels_out, 3, padding=1))


class Autoencoder(nn.Module):
    def __init__(self, upsampling: Upsampling) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder(upsampling)

    def forward(self, pixels: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(self.encoder(pixels))
        return reconstruction


class Resynthesiser:
    """Passes an image through one autoencoder.

    Deterministic; thread-safe, because it keeps no state between calls.
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        self._autoencoder = autoencoder.eval().requires_grad_(False)

    @classmethod
    def load(cls, generator: str, weights: Path = WEIGHTS_FILE) -> Self:
        """Load one of DECODERS.

        Raises ValueError for another name, OSError where the file is missing.
        """
        if generator not in UPSAMPLING_BY_GENERATOR:
            raise ValueError(
                f"{generator!r} is not a demonstration decoder: use one of {', '.join(DECODERS)}"
            )
        autoencoder = Autoencoder(UPSAMPLING_BY_GENERATOR[generator])
        with safe_open(weights, framework="pt") as stored:
            tensors = {
                name: stored.get_tensor(f"{generator}/{name}").float()
                for name in autoencoder.state_dict()
            }
        autoencoder.load_state_dict(tensors)
        return cls(autoencoder)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Re-synthesise an image of any size as RGB of the same size: the same bytes on any number
        of cores.
        """
        with _one_thread():
            return self._resynthesise(image)

    def _resynthesise(self, image: Image.Image) -> Image.Image:
        source = np.asarray(image.convert("RGB"))
        padded = pad_by_reflection(source)
        result = np.empty_like(source)
        for top in range(0, source.shape[0], TILE_SIDE):
            for left in range(0, source.shape[1], TILE_SIDE):
                target = result[top : top + TILE_SIDE, left : left + TILE_SIDE]
                target[:] = self._resynthesise_tile(padded, top, left)[
                    : target.shape[0], : target.shape[1]
                ]
        return Image.fromarray(result)

    def _resynthesise_tile(
        self, padded: NDArray[np.uint8], top: int, left: int
    ) -> NDArray[np.uint8]:
        """Return the tile whose first pixel is (top, left), made with its surroundings."""
        first_row, first_column = (max(0, BORDER + first - TILE_MARGIN) for first in (top, left))
        last_row, last_column = (BORDER + first + TILE_SIDE + TILE_MARGIN for first in (top, left))
        with torch.inference_mode():
            pixels = self._autoencoder(
                to_signed(padded[first_row:last_row, first_column:last_column])
            )
        below, right = BORDER + top - first_row, BORDER + left - first_column
        return to_uint8(pixels)[below : below + TILE_SIDE, right : right + TILE_SIDE]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread. Sums depend on how they are split among threads, and one that is
    rounded to the next level of a pixel moves the embedding in its fourth decimal.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pad_by_reflection(source: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pad (h, w, 3) on each side, and on the far sides also to a multiple of DOWNSAMPLING.

    The border is a multiple of DOWNSAMPLING too, so the decoder's grid starts at the image's first
    pixel.
    """
    borders = [(BORDER, BORDER + -side % DOWNSAMPLING) for side in source.shape[:2]]
    return np.pad(source, (*borders, (0, 0)), mode="symmetric")


def to_signed(pixels: NDArray[np.uint8]) -> Tensor:
    """(h, w, 3) uint8 -> (1, 3, h, w) float32 in [-1, 1]."""
    return (
        torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 127.5 - 1.0
    )


def to_uint8(pixels: Tensor) -> NDArray[np.uint8]:
    """(1, 3, h, w) float32, approximately in [-1, 1] -> (h, w, 3) uint8, rounded and clipped."""
    scaled = ((pixels[0].permute(1, 2, 0) + 1.0) * 127.5).round().clamp(0.0, 255.0)
    return scaled.to(torch.uint8).numpy()
