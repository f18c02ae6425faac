"""Further training of the ViT on mixed batches, from weights that know the demonstration decoders.

The patch embedding is trained too, slowly. The generator head starts from the mean CLS token of
each class. The result is a moving average of the weights (Izmailov et al. 2018, "Averaging weights
leads to wider optima").
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from embedder.network.architecture import Architecture
from embedder.network.weights import load_vit
from embedder.training.fakes import CropBatch
from embedder.training.files import write_whole
from embedder.training.schedule import warm_up_then_cosine
from embedder.training.vit import (
    CHECKPOINT_SECONDS,
    WARM_UP_FRACTION,
    Progress,
    TrainedViT,
    choose_tokens,
    group_parameters,
    to_pixels,
)

MakeBatch = Callable[[np.random.Generator], CropBatch]
AVERAGE_DECAY = 0.99


@dataclass(frozen=True, slots=True)
class FurtherLearning:
    seed: int = 0
    peak_learning_rate: float = 7e-4
    patch_learning_rate: float = 4e-4  # of whitened filters: `filters.WhitenedFilters`
    generator_weight: float = 1.0
    all_tokens_from: float = 0.8
    head_batches: int = 4  # from which the generator head starts; 0 keeps it
    max_steps: int = 2**31


def load_trained(weights: Path, architecture: Architecture, classes: int) -> TrainedViT:
    vit = load_vit(weights, architecture)
    for parameter in vit.parameters():
        parameter.data = parameter.data.clone()  # a memory map is read-only
        parameter.requires_grad_(True)
    return TrainedViT(vit, classes - 1)


@torch.no_grad()
def start_generator_head(model: TrainedViT, batches: Iterator[CropBatch], count: int) -> None:
    """Set the weight of each class to the mean of its normalised CLS tokens."""
    sums = torch.zeros_like(model.generator_head)
    for _ in range(count):
        batch = next(batches)
        cls, _logits = model(to_pixels(batch.pixels))
        generators = torch.from_numpy(batch.generators)
        known = generators >= 0
        sums.index_add_(0, generators[known], functional.normalize(cls[known], dim=1))
    model.generator_head.copy_(sums)


def compute_mixed_loss(
    model: TrainedViT, batch: CropBatch, kept: Tensor | None, generator_weight: float
) -> Tensor:
    """Compute the loss of a mixed batch.

    Class 0 is a photograph, any other class is synthetic. A negative class belongs to no known
    generator.
    """
    generators = torch.from_numpy(batch.generators)
    cls, logits = model(to_pixels(batch.pixels), kept)
    synthetic = functional.binary_cross_entropy_with_logits(logits, (generators != 0).float())
    known = generators >= 0
    named = functional.cross_entropy(
        model.generator_logits(cls[known], generators[known]), generators[known]
    )
    return synthetic + generator_weight * named


def prefetch_batches(make_batch: MakeBatch, random: np.random.Generator) -> Iterator[CropBatch]:
    """Make the next batches in another thread while one is used for training.

    The order is fixed, so a seed gives the same batches again.
    """
    with ThreadPoolExecutor(1) as maker:
        waiting = [maker.submit(make_batch, random) for _ in range(2)]
        while True:
            waiting.append(maker.submit(make_batch, random))
            yield waiting.pop(0).result()


def train_further(
    model: TrainedViT,
    make_batch: MakeBatch,
    checkpoint: Path,
    learning: FurtherLearning,
    *,
    minutes: float,
    report: Callable[[TrainedViT], str] = lambda _: "",
) -> Progress:
    """Train in place for a time budget; at the end `model` contains the moving average."""
    patches = {name: p for name, p in model.named_parameters() if "patch_embeddings" in name}
    trained = {name: p for name, p in model.named_parameters() if name not in patches}
    groups = [
        *({**group, "peak": learning.peak_learning_rate} for group in group_parameters(trained)),
        {
            "params": list(patches.values()),
            "weight_decay": 0.0,
            "peak": learning.patch_learning_rate,
        },
    ]
    optimiser = torch.optim.AdamW(groups, lr=learning.peak_learning_rate, betas=(0.9, 0.99))
    progress, average = Progress(), deepcopy(model)
    if checkpoint.exists():
        progress = read_further(checkpoint, model, average, optimiser)
    batches = prefetch_batches(make_batch, np.random.default_rng((learning.seed, progress.step)))
    random = np.random.default_rng((learning.seed, progress.step, 1))
    if progress.step == 0 and learning.head_batches:
        start_generator_head(model, batches, learning.head_batches)
        average.load_state_dict(model.state_dict())
    saved = now = time.monotonic()
    while (
        spent := max(progress.seconds / (60 * minutes), progress.step / learning.max_steps)
    ) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * warm_up_then_cosine(spent, WARM_UP_FRACTION)
        kept = None if spent >= learning.all_tokens_from else choose_tokens(model, random)
        loss = compute_mixed_loss(model, next(batches), kept, learning.generator_weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        move_average(average, model, min(AVERAGE_DECAY, (1 + progress.step) / (10 + progress.step)))
        progress.add_loss(loss.item())
        before, now = now, time.monotonic()
        progress.seconds += now - before
        if now - saved > CHECKPOINT_SECONDS:
            write_further(checkpoint, model, average, optimiser, progress)
            print(
                f"  step {progress.step}  {spent:.0%}  loss {progress.smoothed:.3f}  "
                f"{report(average)}",
                flush=True,
            )
            saved = now = time.monotonic()
    write_further(checkpoint, model, average, optimiser, progress)
    batches.close()  # type: ignore[attr-defined]
    model.load_state_dict(average.state_dict())
    return progress


@torch.no_grad()
def move_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, now in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(now, 1.0 - decay)


def write_further(
    target: Path,
    model: TrainedViT,
    average: TrainedViT,
    optimiser: torch.optim.AdamW,
    progress: Progress,
) -> None:
    tensors = {f"model/{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
    tensors |= {
        f"average/{name}": tensor.contiguous() for name, tensor in average.state_dict().items()
    }
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"adamw/{key}/{name}"] = value.contiguous()
    tensors["progress"] = torch.tensor(
        [progress.seconds, progress.step, progress.smoothed], dtype=torch.float64
    )
    write_whole(target, lambda path: save_file(tensors, path))


def read_further(
    source: Path, model: TrainedViT, average: TrainedViT, optimiser: torch.optim.AdamW
) -> Progress:
    tensors = load_file(source)
    for each, prefix in ((model, "model/"), (average, "average/")):
        each.load_state_dict(
            {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        )
    for name, parameter in model.named_parameters():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            if (stored := tensors.get(f"adamw/{key}/{name}")) is not None:
                optimiser.state[parameter][key] = stored
    seconds, step, smoothed = tensors["progress"].tolist()
    return Progress(seconds, int(step), smoothed)
