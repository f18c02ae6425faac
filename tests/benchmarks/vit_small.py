"""A full ViT-S/16 at 384 pixels whose weights were trained: random weights say nothing about what a
precision does to traces in the low bits.

`widen_builtin` makes one of the built-in model without training. Its 192 dimensions, 3 heads and
768 hidden units stand twice beside each other, so that every LayerNorm sees the same mean and
variance; six of the twelve layers add nothing. It computes what the built-in model computes, on 576
patches instead of 100. `train_further` trains it for some minutes to tell photographs from their
re-synthesis, which needs a GPU.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedder.demonstration.photographs import load_bundled_photographs
from embedder.demonstration.resynthesis import DECODERS, Resynthesiser
from embedder.network.architecture import VIT_SMALL_384
from embedder.network.download import locate_model
from embedder.network.registry import BUILTIN
from embedder.network.vit import ViT
from embedder.network.weights import build_empty_vit, load_vit

SIDE = VIT_SMALL_384.image_size
PAIRS = 16  # photographs and fakes in one step
PEAK_LEARNING_RATE = 1e-4


def widen_builtin() -> ViT:
    """Return the built-in model in the shape of ViT-S/384; native crops, mean and std 0.5."""
    files = locate_model(BUILTIN, offline=True)
    small = load_vit(files.weights, files.architecture, files.head).state_dict()
    model = build_empty_vit(VIT_SMALL_384).to_empty(device="cpu")
    wide = {name: _widen(name, small, target.shape) for name, target in model.state_dict().items()}
    model.load_state_dict(wide, strict=True)
    return model.eval()


def _widen(name: str, small: dict[str, Tensor], shape: torch.Size) -> Tensor:
    if name not in small:  # a further layer
        return _make_idle(name, shape)
    values = small[name]
    if name.endswith("position_embeddings"):
        return _enlarge_positions(values, shape)
    for axis, length in enumerate(shape):
        if values.shape[axis] != length:
            values = torch.cat([values, values], dim=axis)
    # A product reads every input twice.
    is_product = values.ndim == 2 and name.endswith("weight")
    return values / 2 if is_product else values


def _make_idle(name: str, shape: torch.Size) -> Tensor:
    """Return weights of a layer that adds nothing: its last products are zero."""
    if "layernorm" in name:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    if "o_proj" in name or "fc2" in name or name.endswith("bias"):
        return torch.zeros(shape)
    generator = torch.Generator().manual_seed(len(name))
    return torch.randn(shape, generator=generator) * 0.02


def _enlarge_positions(positions: Tensor, shape: torch.Size) -> Tensor:
    """(1, 1 + n, d) -> (1, 1 + m, 2 d), by bicubic interpolation."""
    first, rest = positions[:, :1], positions[:, 1:]
    before, after = int(rest.shape[1] ** 0.5), int((shape[1] - 1) ** 0.5)
    square = rest.reshape(1, before, before, -1).permute(0, 3, 1, 2)
    larger = torch.nn.functional.interpolate(square, size=(after, after), mode="bicubic")
    whole = torch.cat([first, larger.flatten(2).transpose(1, 2)], dim=1)
    return torch.cat([whole, whole], dim=2)


def train_further(model: ViT, minutes: float, device: str) -> int:
    """Train to tell photographs from their re-synthesis; return the number of steps."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # the halves are alike; noise lets them become different
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.01 * parameter.abs().mean() * noise)
    model.train().to(device)  # type: ignore[arg-type]
    scenes, random = make_scenes(), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), PEAK_LEARNING_RATE, weight_decay=0.05)
    ends, began, steps = time.monotonic() + 60 * minutes, time.monotonic(), 0
    while time.monotonic() < ends:
        spent = (time.monotonic() - began) / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LEARNING_RATE * min(1, 10 * spent) * (1 - spent)
        pixels, synthetic = draw_batch(scenes, PAIRS, random)
        logits = compute_logits(model, to_values(pixels).to(device))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, synthetic.to(device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
    model.eval().to("cpu")  # type: ignore[arg-type]
    return steps


def measure_accuracy(model: ViT, pairs: int = 24) -> float:
    """Return the share of pairs whose fake has the higher logit; the crops are others than those of
    training.
    """
    pixels, _ = draw_batch(make_scenes(), pairs, np.random.default_rng(99))
    with torch.inference_mode():
        logits = torch.cat([compute_logits(model, to_values(each[None])) for each in pixels])
    return float((logits[pairs:] > logits[:pairs]).float().mean())


def compute_logits(model: ViT, values: Tensor) -> Tensor:
    """(b, 3, h, w) -> (b,)."""
    logits: Tensor = model.classifier(model(values)[:, 0])  # (b, 1)
    return logits[:, 0]


def make_scenes() -> list[tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]]:
    """Return each photograph, (h, w, 3), with what each decoder makes of it."""
    decoders = [Resynthesiser.load(name) for name in DECODERS]
    scenes = []
    for photograph in load_bundled_photographs():
        image = photograph.image
        if min(image.size) < SIDE:
            scale = SIDE / min(image.size)
            image = image.resize((round(image.width * scale) + 1, round(image.height * scale) + 1))
        scenes.append((np.asarray(image), [np.asarray(decoder(image)) for decoder in decoders]))
    return scenes


def draw_batch(
    scenes: list[tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]],
    pairs: int,
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8], Tensor]:
    """Return crops (2 * pairs, h, w, 3), photographs first, and whether each is synthetic."""
    real, fake = [], []
    for _ in range(pairs):
        photograph, fakes = scenes[random.integers(len(scenes))]
        top = random.integers(photograph.shape[0] - SIDE + 1)
        left = random.integers(photograph.shape[1] - SIDE + 1)
        made = fakes[random.integers(len(fakes))]
        mirrored = -1 if random.random() < 0.5 else 1
        for picture, crops in ((photograph, real), (made, fake)):
            crops.append(picture[top : top + SIDE, left : left + SIDE][:, ::mirrored])
    return np.stack(real + fake), torch.tensor([0.0] * pairs + [1.0] * pairs)


def to_values(pixels: NDArray[np.uint8]) -> Tensor:
    """(b, h, w, 3) uint8 -> (b, 3, h, w) float32, mean and std 0.5."""
    values = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    return values / 127.5 - 1.0
