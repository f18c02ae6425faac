"""Training of the built-in ViT: a logit for "re-synthesised", and a CLS token whose cosine
similarity distinguishes decoders.

The loss is binary cross-entropy of the logit, and cross-entropy of a cosine classifier over
photograph and decoders on the L2-normalised CLS token. That classifier is not shipped. Three things
make half an hour on two cores enough:

- The patch embedding starts from second-order statistics (`compute_patch_filters`) and stays as it
  is. A decoder's trace is a change of variance in faint high-frequency directions; a random
  projection would bury it under the picture.
- Each batch contains the same places as photograph and as fake (`fakes.make_paired_batch`).
- Most steps see a random part of the tokens (as in Liu et al. 2022, "PatchDropout"), the last steps
  all of them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from embedder.network.architecture import TIMM_LAYER_NORM_EPS, Architecture
from embedder.network.patches import PatchProjection
from embedder.network.vit import Tokens, ViT
from embedder.training.fakes import CROP_SIDE, CropBatch, Scene, make_paired_batch
from embedder.training.files import write_whole
from embedder.training.schedule import warm_up_then_cosine

MEAN = STD = 0.5  # of each channel: pixels in [-1, 1]
PEAK_LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
WARM_UP_FRACTION = 0.05
PAIRS_PER_BATCH = 24
INITIAL_STD = 0.02  # of weights, positions and CLS; transformers' `initializer_range`
KEPT_SHARE = 0.4  # of the patch tokens
# Logits of the generator head per unit of cosine; 10 to 30 is usual for cosine classifiers.
COSINE_SCALE = 16.0
COSINE_MARGIN = 0.15  # space between the clusters; Wang et al. 2018, "CosFace"
CHECKPOINT_SECONDS = 120.0
STATISTICS_BATCHES = 40  # of 48 crops of 100 patches: 24,000 patches a decoder for 768 dimensions


class TrainedViT(nn.Module):
    def __init__(self, vit: ViT, decoder_count: int) -> None:
        super().__init__()
        self.vit = vit
        self.decoder_count = decoder_count
        self.generator_head = nn.Parameter(
            torch.randn(1 + decoder_count, vit.architecture.hidden_size)
        )

    def forward(self, pixels: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(b, 3, h, w) -> CLS tokens (b, d) after the final LayerNorm, logits (b,).

        `kept` are patch numbers.
        """
        tokens = self.vit.vit.embeddings(pixels)  # (b, 1 + n, d)
        if kept is not None:
            tokens = torch.cat([tokens[:, :1], tokens[:, 1 + kept]], dim=1)
        for layer in self.vit.vit.layers:
            tokens = layer(tokens)
        cls = self.vit.vit.layernorm(tokens[:, 0])  # (b, d)
        return cls, self.vit.classifier(cls)[:, 0]

    def generator_logits(self, cls: Tensor, generators: Tensor) -> Tensor:
        """(b, d), the right generators (b,) int64 -> (b, 1 + decoders).

        COSINE_MARGIN makes the right one harder.
        """
        cosines: Tensor = (
            functional.normalize(cls, dim=1) @ functional.normalize(self.generator_head, dim=1).T
        )
        margins = COSINE_MARGIN * functional.one_hot(generators, 1 + self.decoder_count)
        return COSINE_SCALE * (cosines - margins)


BUILTIN_ARCHITECTURE = Architecture(
    hidden_size=192,
    num_hidden_layers=6,
    num_attention_heads=3,
    intermediate_size=768,
    image_size=CROP_SIDE,
    patch_size=16,
    layer_norm_eps=TIMM_LAYER_NORM_EPS,
)


def build_vit(
    decoder_count: int, seed: int = 0, architecture: Architecture = BUILTIN_ARCHITECTURE
) -> TrainedViT:
    torch.manual_seed(seed)
    vit = ViT(architecture)
    vit.apply(_initialise)
    return TrainedViT(vit, decoder_count)


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    """Draw the first weights as Dosovitskiy et al. 2021 do, and transformers too."""
    match module:
        case nn.Linear() | PatchProjection():
            nn.init.normal_(module.weight, std=INITIAL_STD)
            nn.init.zeros_(module.bias)
        case Tokens():
            nn.init.trunc_normal_(module.cls_token, std=INITIAL_STD)
            nn.init.trunc_normal_(module.position_embeddings, std=INITIAL_STD)


def to_pixels(crops: NDArray[np.uint8]) -> Tensor:
    """(b, h, w, 3) uint8 -> (b, 3, h, w) float32, as `embedder.pictures.preprocess` computes it."""
    return (torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255.0 - MEAN) / STD


def compute_patch_filters(
    batches: Sequence[CropBatch], patch: int, count: int, decoder_count: int
) -> Tensor:
    """Return the (count, 3 * patch * patch) filters whose variance a decoder changes most.

    They have unit variance on photographs and solve `C_decoder v = lambda (C_photograph + noise)
    v`: half have the largest lambda and half the smallest, the same number for each decoder. An
    eighth are random whitened directions, for everything else.
    """
    covariances = compute_patch_covariances(batches, patch, decoder_count)
    # The variance of one grey level: weaker directions stay weak.
    noise = (2.0 / 255.0) ** 2 * torch.eye(covariances.shape[1])
    values, vectors = torch.linalg.eigh((covariances[0] + noise).double())
    whitening = vectors / values.sqrt()  # (3pp, 3pp); columns have unit variance on photographs
    share = count * 7 // 8 // decoder_count
    filters = []
    for covariance in covariances[1:].double():
        _, directions = torch.linalg.eigh(whitening.T @ (covariance + noise) @ whitening)
        filters += [directions[:, : share // 2], directions[:, -(share - share // 2) :]]
    rest = count - share * decoder_count
    filters.append(torch.linalg.qr(torch.randn(whitening.shape[0], rest, dtype=torch.float64))[0])
    chosen: Tensor = whitening @ torch.cat(filters, dim=1)  # (3pp, count)
    return chosen.T.float()


def compute_patch_covariances(
    batches: Sequence[CropBatch], patch: int, decoder_count: int
) -> Tensor:
    """Return (1 + decoders, 3pp, 3pp).

    These are the second moments of the patches of photographs and of each decoder.
    """
    size = 3 * patch * patch
    moments, counts = torch.zeros(1 + decoder_count, size, size), torch.zeros(1 + decoder_count)
    for batch in batches:
        patches = functional.unfold(to_pixels(batch.pixels), patch, stride=patch).transpose(
            1, 2
        )  # (b, n, 3pp)
        for generator in range(1 + decoder_count):
            rows = patches[torch.from_numpy(batch.generators == generator)].flatten(
                0, 1
            )  # (b*n, 3pp)
            moments[generator] += rows.T @ rows
            counts[generator] += rows.shape[0]
    return moments / counts[:, None, None].clamp(min=1.0)


def start_from_patch_filters(
    model: TrainedViT, scenes: Sequence[Scene], batch_count: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    batches = [make_paired_batch(scenes, random, PAIRS_PER_BATCH) for _ in range(batch_count)]
    projection = model.vit.vit.embeddings.patch_embeddings.projection
    filters = compute_patch_filters(
        batches, projection.side, len(projection.weight), model.decoder_count
    )
    with torch.no_grad():
        projection.weight.copy_(filters.reshape(projection.weight.shape))
        projection.bias.zero_()


def compute_batch_loss(
    model: TrainedViT, batch: CropBatch, kept: Tensor | None, generator_weight: float
) -> Tensor:
    generators = torch.from_numpy(batch.generators)
    cls, logits = model(to_pixels(batch.pixels), kept)
    synthetic = functional.binary_cross_entropy_with_logits(logits, (generators > 0).float())
    return synthetic + generator_weight * functional.cross_entropy(
        model.generator_logits(cls, generators), generators
    )


@torch.inference_mode()
def predict(model: TrainedViT, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the logits (n,) of the centre crops of pictures (h, w, 3)."""
    crops = np.stack([cut_centre(picture) for picture in pictures])
    parts = [model(to_pixels(crops[start : start + 64]))[1] for start in range(0, len(crops), 64)]
    return torch.cat(parts).numpy()


def cut_centre(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left = ((side - CROP_SIDE) // 2 for side in picture.shape[:2])
    return picture[top : top + CROP_SIDE, left : left + CROP_SIDE]


@dataclass(slots=True)
class Progress:
    seconds: float = 0.0
    step: int = 0
    smoothed: float = 0.0

    def add_loss(self, loss: float) -> None:
        self.smoothed = loss if self.step == 0 else 0.95 * self.smoothed + 0.05 * loss
        self.step += 1


@dataclass(frozen=True, slots=True)
class Learning:
    """How one round is trained. For a `fresh` model, the scenes first set the patch embedding."""

    fresh: bool = True
    seed: int = 0
    pairs: int = PAIRS_PER_BATCH
    peak_learning_rate: float = PEAK_LEARNING_RATE
    generator_weight: float = 1.0
    all_tokens_from: float = 0.8  # share of the budget; before that, some of the tokens
    statistics_batches: int = STATISTICS_BATCHES
    max_steps: int = 2**31


def train_vit(
    model: TrainedViT,
    scenes: Sequence[Scene],
    checkpoint: Path,
    learning: Learning,
    *,
    minutes: float,
    report: Callable[[TrainedViT], str] = lambda _: "",
) -> Progress:
    """Train in place for a time budget, continuing from `checkpoint` where there is one.

    The learning rate follows the spent share of the budget.
    """
    model.vit.vit.embeddings.patch_embeddings.requires_grad_(False)
    trained = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    optimiser = torch.optim.AdamW(
        group_parameters(trained), lr=learning.peak_learning_rate, betas=(0.9, 0.99)
    )
    if checkpoint.exists():
        progress = read_checkpoint(checkpoint, model, trained, optimiser)
    else:
        if learning.fresh:
            start_from_patch_filters(model, scenes, learning.statistics_batches, learning.seed)
        progress = Progress()
    random = np.random.default_rng((learning.seed, progress.step))
    saved = now = time.monotonic()
    while (
        spent := max(progress.seconds / (60 * minutes), progress.step / learning.max_steps)
    ) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = learning.peak_learning_rate * warm_up_then_cosine(spent, WARM_UP_FRACTION)
        kept = None if spent >= learning.all_tokens_from else choose_tokens(model, random)
        batch = make_paired_batch(scenes, random, learning.pairs)
        loss = compute_batch_loss(model, batch, kept, learning.generator_weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimiser.step()
        progress.add_loss(loss.item())
        before, now = now, time.monotonic()
        progress.seconds += now - before
        if now - saved > CHECKPOINT_SECONDS:
            write_checkpoint(checkpoint, model, trained, optimiser, progress)
            print(
                f"  step {progress.step}  {spent:.0%}  loss {progress.smoothed:.3f}  "
                f"{report(model)}",
                flush=True,
            )
            saved = now = time.monotonic()
    write_checkpoint(checkpoint, model, trained, optimiser, progress)
    return progress


def average_with(model: TrainedViT, earlier: Mapping[str, Tensor]) -> None:
    """Average the weights with those of an earlier round (Wortsman et al. 2022, "Model soups")."""
    for name, tensor in model.state_dict().items():
        tensor.lerp_(earlier[name], 0.5)


def choose_tokens(model: TrainedViT, random: np.random.Generator) -> Tensor:
    count = model.vit.architecture.token_count
    return torch.from_numpy(random.permutation(count)[: round(KEPT_SHARE * count)])


def group_parameters(trained: dict[str, nn.Parameter]) -> list[dict[str, object]]:
    """Group parameters: weight decay on matrices only, as is usual for transformers."""
    matrices = [parameter for name, parameter in trained.items() if parameter.ndim == 2]
    others = [parameter for name, parameter in trained.items() if parameter.ndim != 2]
    return [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]


def write_checkpoint(
    target: Path,
    model: TrainedViT,
    trained: dict[str, nn.Parameter],
    optimiser: torch.optim.AdamW,
    progress: Progress,
) -> None:
    tensors = {f"model/{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
    for name, parameter in trained.items():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"adamw/{key}/{name}"] = value.contiguous()
    tensors["progress"] = torch.tensor(
        [progress.seconds, progress.step, progress.smoothed], dtype=torch.float64
    )
    write_whole(target, lambda path: save_file(tensors, path))


def read_checkpoint(
    source: Path, model: TrainedViT, trained: dict[str, nn.Parameter], optimiser: torch.optim.AdamW
) -> Progress:
    tensors = load_file(source)
    model.load_state_dict(
        {n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")}
    )
    for name, parameter in trained.items():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            if (stored := tensors.get(f"adamw/{key}/{name}")) is not None:
                optimiser.state[parameter][key] = stored
    seconds, step, smoothed = tensors["progress"].tolist()
    return Progress(seconds, int(step), smoothed)
