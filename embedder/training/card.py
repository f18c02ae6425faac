"""The model card beside the weights: what the built-in model is, what it was measured at, what it is not for."""

from pathlib import Path
from typing import Any

from embedder.training.files import write_whole

CARD = """# Model card: `builtin`

A small vision transformer (ViTForImageClassification: 192 dimensions, 6 layers, 3 heads, 160-pixel crops at native
resolution, 2.8 million parameters) that tells photographs from pictures re-synthesised by four small neural decoders,
and whose CLS token is similar, by cosine, for pictures of one decoder. It exists so that Lineup can be tried and
tested without a network. Licence: MIT.

## Not for casework

**Never use this model to judge a questioned image.** It knows only the four demonstration decoders beside it
({generators}). It has never seen a picture of a real generator (no diffusion model, no GAN), and its answer on one,
or on a photograph that was resized, filtered or edited, means nothing. Use `community-forensics` for real work, with
thresholds calibrated on your own material.

## Training

- Photographs: {trained}. Public collections; no file of them is part of this package. `reddit-human` holds paintings
  and drawings beside photographs.
- Demonstration fakes: each photograph through four convolutional autoencoders (4-fold downsampling, 12 latent
  channels) whose decoders upsample by transposed convolution, nearest neighbour, bilinear interpolation and pixel
  shuffle; they ship as `decoders.safetensors`.
- Both sides alike: the same places, flips, and JPEG re-encoding at quality 65 to 98 in half of the crops.
- Loss: cross-entropy of the logit, and of a cosine classifier over photograph and decoders that is not shipped.
- Repeat it: `python -m embedder.training --corpus DIR --out embedder/models`, under an hour on two cores. The weights
  that ship had more: rounds of 28, 9, 38 and 30 minutes (`--minutes 105`), the first two without `reddit-human` and
  without the cosine margin, then the average of the last two rounds. Expect less of the command's 37 minutes.
- The number of rounds and the average were chosen by the held-out figures below, among six candidates: they are a
  little optimistic.

## Figures

Measured on {date} with torch {torch} by
`python -m embedder.training --corpus DIR --out embedder/models --stage measure`, through `embedder.Embedder`, on
photographs of which training saw none: whole collections that were held out ({held_out}),
and those that scikit-image and scikit-learn ship. Tiles of 224 pixels; a fake's nearest reference is a fake of
another photograph.

| | required | held-out collections | bundled photographs |
|---|---|---|---|
{rows}

- Cosine similarity {similarity_threshold}: {threshold_source}. Fakes over it: {match_rate_of_fakes:.1%}, after JPEG
  quality 75 {match_rate_of_fakes_jpeg75:.1%}.
- Logits {authentic_logit} and {synthetic_logit}: {logit_source}. Between them the classifier is inconclusive.

## Limits

Resizing a fake removes most of what the model looks at; so does JPEG under quality 65. Only the central 160 pixels
are seen; smaller images are refused. Few faces were among the photographs. The counts above are small: a rate of 1 %
rests on a handful of tiles.
"""

ROWS = (
    ("photographs", "photographs", ""),
    ("photograph tiles", "photograph_tiles", ""),
    ("fake tiles", "fake_tiles", ""),
    ("AUC of the logit", "auc", ">= 0.97"),
    ("AUC after JPEG quality 75", "auc_jpeg75", ">= 0.88"),
    ("nearest fake has the right decoder", "nearest_generator_accuracy", ">= 0.90"),
    ("the same after JPEG quality 75", "nearest_generator_accuracy_jpeg75", ""),
)


def write_card(directory: Path, values: dict[str, Any], trained: dict[str, int], held_out: dict[str, int]) -> None:
    """`values` are those of `measured.json`; `trained` and `held_out` count photographs by collection."""
    text = CARD.format(
        **values | {"generators": ", ".join(values["generators"])},
        trained=counted(trained),
        held_out=counted(held_out),
        rows="\n".join(figure_rows(values["figures"])),
    )
    write_whole(directory / "MODEL_CARD.md", lambda path: path.write_text(text, encoding="utf-8"))


def counted(collections: dict[str, int]) -> str:
    return ", ".join(f"{count} of {name}" for name, count in collections.items())


def figure_rows(figures: dict[str, dict[str, Any]]) -> list[str]:
    sets = (figures["held_out"], figures["bundled"])
    rows = [f"| {title} | {required} | {sets[0][key]} | {sets[1][key]} |" for title, key, required in ROWS]
    for generator in sets[0]["psnr_median"]:
        medians = " | ".join(f"{each['psnr_median'][generator]} dB" for each in sets)
        rows.append(f"| median PSNR of `{generator}` | >= 29 dB | {medians} |")
    return rows
