import numpy as np
import torch

from embedder.training.deliveries import source_of
from embedder.training.fakes import CropBatch
from embedder.training.filters import (
    WhitenedFilters,
    choose_filters,
    compute_log_energies,
    list_least_needed,
    make_cosine_filters,
    whitening_of,
)
from embedder.training.spectrum import SpectrumBaseline, compute_radial_spectrum
from embedder.training.vit import to_pixels
from tests.embedder.training.corpora import noisy

PATCH = 8


def batch_of(seeds: range) -> CropBatch:
    """Photographs and pictures with a wave of 4 pixels from left to right, in turn."""
    pixels = [source_of(noisy(seed, 160, striped=bool(seed % 2)), "PNG").pixels for seed in seeds]
    return CropBatch(np.stack(pixels), np.array([seed % 2 for seed in seeds], np.int64))


def test_whitened_coordinates_give_the_filters_back() -> None:
    whitened = WhitenedFilters(whitening_of([batch_of(range(8))], PATCH))
    filters = torch.randn(5, 3, PATCH, PATCH)

    assert torch.allclose(whitened(whitened.right_inverse(filters)), filters, atol=1e-3)


def test_a_unit_filter_in_whitened_coordinates_has_unit_variance_on_photographs() -> None:
    batch = batch_of(range(12))
    whitened = WhitenedFilters(whitening_of([batch], PATCH))

    filters = whitened(torch.eye(3 * PATCH * PATCH)[[0, 100, -1]])

    pixels = to_pixels(batch.pixels[batch.generators == 0])
    power = (torch.nn.functional.conv2d(pixels, filters, stride=PATCH) ** 2).mean((0, 2, 3))
    assert (power < 1.05).all()
    assert power[-1] > 0.9


def test_cosine_filters_of_one_colour_are_orthonormal() -> None:
    rows = make_cosine_filters(PATCH).reshape(3, PATCH * PATCH, -1)
    products = rows[0] @ rows[0].T

    assert torch.allclose(products, products[0, 0] * torch.eye(PATCH * PATCH), atol=1e-5)


def test_the_filter_at_the_frequency_that_fakes_carry_is_chosen() -> None:
    batch = batch_of(range(40))

    (chosen,) = choose_filters([batch], PATCH, 1)

    energies = compute_log_energies(batch.pixels, chosen[None])[:, 0]
    assert energies[batch.generators == 1].min() > energies[batch.generators == 0].max()
    assert chosen.std(dim=1).abs().max() < chosen.std(dim=2).max()  # it changes from left to right


def test_as_many_filters_are_replaced_as_are_random_and_of_least_use() -> None:
    replaced = list_least_needed(192, 4)

    assert len(set(replaced)) == 64
    assert set(range(168, 192)) <= set(replaced)
    assert not {0, 41, 42, 83} & set(replaced)  # the most telling of the first two decoders


def test_the_spectrum_of_a_wave_has_its_peak_at_its_frequency() -> None:
    wave = np.round(128 + 60 * np.cos(2 * np.pi * np.arange(160) * 20 / 160)).astype(np.uint8)
    crop = np.repeat(np.tile(wave, (160, 1))[..., None], 3, axis=2)

    assert int(compute_radial_spectrum(crop).argmax()) + 1 == 20


def test_a_flat_crop_has_a_finite_spectrum() -> None:
    assert np.isfinite(compute_radial_spectrum(np.full((160, 160, 3), 7, np.uint8))).all()


def test_the_baseline_learns_what_a_spectrum_shows() -> None:
    baseline = SpectrumBaseline.fit([batch_of(range(20))])

    logits = baseline.logits(
        [np.asarray(noisy(seed, 200, striped=bool(seed % 2))) for seed in range(100, 110)]
    )

    assert logits[1::2].min() > logits[::2].max()
