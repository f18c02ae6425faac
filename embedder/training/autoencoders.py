"""Training of the four demonstration autoencoders, and writing them to one safetensors file.

The loss is L1 on the pixels, and L1 on 8-pixel means so that no colour cast remains; in a second
cycle it is the PSNR itself. The encoder's linear path starts as the principal components of 4 x 4
patches, which are the best linear code of that size.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from embedder.demonstration.resynthesis import (
    DECODERS,
    DOWNSAMPLING,
    LATENT_CHANNELS,
    UPSAMPLING_BY_GENERATOR,
    Autoencoder,
    Upsampling,
)
from embedder.training.files import write_whole
from embedder.training.schedule import warm_up_then_cosine

CROP_SIDE = 64
BATCH_SIZE = 8
PEAK_LEARNING_RATE = 3e-3
WARM_UP_FRACTION = 0.1
COLOUR_POOL = 8
NO_LIMIT = 2**31  # steps
# In [-1, 1] squared, 46 dB: pictures that are already this close teach nothing.
MEAN_SQUARE_FLOOR = 1e-4


@dataclass(frozen=True, slots=True)
class Cycle:
    """One rise and fall of the learning rate, for `share` of a decoder's average time."""

    name: str
    share: float
    loss: Callable[[Tensor, Tensor], Tensor]


Pictures = Sequence[NDArray[np.uint8]]  # each (h, w, 3)


def crop_batch(
    sources: Pictures, random: np.random.Generator, side: int = CROP_SIDE, count: int = BATCH_SIZE
) -> Tensor:
    """Cut random crops, mirrored at random: (count, 3, side, side) float32 in [-1, 1]."""
    crops = np.empty((count, side, side, 3), np.uint8)
    for row in range(count):
        source = sources[int(random.integers(len(sources)))]
        top = random.integers(source.shape[0] - side + 1)
        left = random.integers(source.shape[1] - side + 1)
        crop = source[top : top + side, left : left + side]
        crops[row] = crop[:, ::-1] if random.random() < 0.5 else crop
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def start_from_principal_components(autoencoder: Autoencoder, crops: Tensor) -> None:
    """Set the encoder's linear path to the whitened principal components of 4 x 4 patches."""
    patches = functional.unfold(crops, DOWNSAMPLING, stride=DOWNSAMPLING)  # (b, 3*4*4, n)
    rows = patches.transpose(1, 2).reshape(-1, patches.shape[1])  # (b*n, 48)
    mean = rows.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(rows.T))  # ascending
    # Weak components are not amplified to unit variance: 0.1 is about the standard deviation of the
    # middle ones.
    basis = vectors[:, -LATENT_CHANNELS:] / (values[-LATENT_CHANNELS:].sqrt() + 0.1)  # (48, c)
    linear = autoencoder.encoder.linear
    with torch.no_grad():
        linear.weight.copy_(basis.T.reshape(linear.weight.shape))
        linear.bias.copy_(-(mean @ basis))  # type: ignore[union-attr]  # this convolution has a bias


def train_cycle(
    autoencoder: Autoencoder,
    sources: Pictures,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    random: np.random.Generator,
    *,
    seconds: float,
    max_steps: int = NO_LIMIT,
) -> int:
    """Train in place for a time budget and return the number of steps.

    The learning rate follows the share of the budget that is spent.
    """
    optimiser = torch.optim.AdamW(
        autoencoder.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-4
    )
    autoencoder.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    started, step, smoothed = time.monotonic(), 0, 0.0
    while (spent := max((time.monotonic() - started) / seconds, step / max_steps)) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = PEAK_LEARNING_RATE * warm_up_then_cosine(spent, WARM_UP_FRACTION)
        batch = crop_batch(sources, random).contiguous(memory_format=torch.channels_last)
        loss = loss_of(autoencoder(batch), batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
        optimiser.step()
        smoothed = loss.item() if step == 0 else 0.98 * smoothed + 0.02 * loss.item()
        step += 1
        if step % 200 == 0:
            print(f"  step {step}  {spent:.0%}  loss {smoothed:.4f}", flush=True)
    return step


def absolute_loss(output: Tensor, source: Tensor) -> Tensor:
    colour = functional.l1_loss(
        functional.avg_pool2d(output, COLOUR_POOL), functional.avg_pool2d(source, COLOUR_POOL)
    )
    return functional.l1_loss(output, source) + colour


def psnr_loss(output: Tensor, source: Tensor) -> Tensor:
    """Return the negative mean PSNR over the batch, up to a constant.

    Each picture has the same weight, flat or detailed.
    """
    mean_square = ((output - source) ** 2).mean(dim=(1, 2, 3))  # (b,)
    return (mean_square + MEAN_SQUARE_FLOOR).log().mean()


# Interpolating decoders take longer steps and learn more slowly: with more time all four reach a
# similar PSNR.
CYCLES = {
    Upsampling.TRANSPOSED: (Cycle("first", 0.6, absolute_loss), Cycle("second", 0.6, psnr_loss)),
    Upsampling.NEAREST: (
        Cycle("first", 1.3, absolute_loss),
        Cycle("second", 0.8, psnr_loss),
        Cycle("third", 1.0, psnr_loss),
    ),
    Upsampling.BILINEAR: (
        Cycle("first", 1.6, absolute_loss),
        Cycle("second", 1.7, psnr_loss),
        Cycle("third", 1.0, psnr_loss),
        Cycle("fourth", 1.6, psnr_loss),
    ),
    Upsampling.PIXELSHUFFLE: (Cycle("first", 0.5, absolute_loss), Cycle("second", 0.6, psnr_loss)),
}


def train_all(
    sources: Pictures, work: Path, *, minutes_each: float, seed: int = 0, max_steps: int = NO_LIMIT
) -> Path:
    """Train what `work` does not contain yet, and return the file with all decoders.

    The tensors are float16 and have names like `generator/tensor`.
    """
    tensors: dict[str, Tensor] = {}
    for generator in DECODERS:
        autoencoder = train_or_load(
            generator, sources, work, minutes_each=minutes_each, seed=seed, max_steps=max_steps
        )
        for name, tensor in autoencoder.state_dict().items():
            tensors[f"{generator}/{name}"] = tensor.to(torch.float16).contiguous()
    target = work / "decoders.safetensors"
    write_whole(target, lambda path: save_file(tensors, path))
    return target


def train_or_load(
    generator: str,
    sources: Pictures,
    work: Path,
    *,
    minutes_each: float,
    seed: int,
    max_steps: int = NO_LIMIT,
) -> Autoencoder:
    """Continue after the last cycle that `work` contains."""
    seed += DECODERS.index(generator)
    torch.manual_seed(seed)
    upsampling = UPSAMPLING_BY_GENERATOR[generator]
    autoencoder = Autoencoder(upsampling)
    start_from_principal_components(
        autoencoder, crop_batch(sources, np.random.default_rng(seed), count=256)
    )
    print(f"{generator}: {sum(p.numel() for p in autoencoder.parameters())} parameters", flush=True)
    for number, cycle in enumerate(CYCLES[upsampling]):
        stored = work / f"{generator}-{cycle.name}.safetensors"
        if stored.exists():
            autoencoder.load_state_dict(load_file(stored))
            continue
        seconds = 60 * minutes_each * cycle.share
        random = np.random.default_rng((seed, number))
        steps = train_cycle(
            autoencoder, sources, cycle.loss, random, seconds=seconds, max_steps=max_steps
        )
        print(f"{generator}: {cycle.name} cycle, {steps} steps", flush=True)
        save_weights(autoencoder, stored)
    return autoencoder


def save_weights(autoencoder: Autoencoder, target: Path) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in autoencoder.state_dict().items()}
    write_whole(target, lambda path: save_file(tensors, path))
