"""The labelled images of a source, and which of them are measured.

The label comes from a manifest's column `label` or from the pattern; if neither gives one, from the
folders `real/**` and `fake/<generator>/**`. Sources are read as for an ingest (`api.sources`,
`api.ingest.provenance`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from api.errors import NothingToEvaluate
from api.fields import FailedItem
from api.ingest.patterns import Pattern
from api.ingest.provenance import join_provenance
from api.sources.item import Item, Source, UnreadableItem
from index.errors import InvalidProvenance
from index.truth.provenance import Provenance, normalise_generator

SPAN_ITEMS = 1000
# The words of Lineup and its corpora, and `fake` for folders. Other words are not guessed.
SYNTHETIC = {
    "synthetic": True,
    "known_fake": True,
    "fake": True,
    "real": False,
    "known_real": False,
}
NO_PROVENANCE = Provenance()


@dataclass(frozen=True, slots=True)
class Labelled:
    """An image that can be measured. `number` is its position in the source of items.

    Images with the same `source` are resampled together: those of one collection or photograph. If
    none is declared, it is the image's own name, and `source_is_declared` is False.
    """

    number: int
    name: str
    location: str | None
    synthetic: bool
    generator: str | None
    source: str
    source_is_declared: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source holds: `found` items. The failures have no usable label."""

    found: int
    images: tuple[Labelled, ...]
    failures: tuple[FailedItem, ...]


class Unlabelled(Exception):
    """An item without a usable label; `reason` is machine-readable."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def list_labelled(source: Source, pattern: Pattern | None) -> Listing:
    """Read the label of each item, without its image.

    Raises `UnusableSource`, `NothingToEvaluate`.
    """
    images, failures = list[Labelled](), list[FailedItem]()
    number = -1
    for number, item in enumerate(_list_items(source)):
        try:
            images.append(read_label(number, item, pattern))
        except Unlabelled as err:
            failures.append(FailedItem(name=item.name, reason=err.reason, detail=str(err)))
    require_both(images, failures)
    return Listing(number + 1, tuple(images), tuple(failures))


def read_label(number: int, item: Item, pattern: Pattern | None) -> Labelled:
    """Read the label of an item. Raises `Unlabelled`."""
    try:
        declared = join_provenance(
            item.name, item.declared, NO_PROVENANCE, pattern=pattern
        ).normalise()
    except InvalidProvenance as err:
        raise Unlabelled("invalid_provenance", str(err)) from err
    word, generator = declared.label, declared.generator
    if word is None:
        word, generator = _read_folders(
            item.name, generator
        )  # a name is printable, so it can be stored
    if word is None:
        raise Unlabelled(
            "unlabelled", "no column, pattern or folder says whether it is real or synthetic"
        )
    synthetic = SYNTHETIC.get(word.casefold())
    if synthetic is None:
        raise Unlabelled("unknown_label", f"label {word!r} is not one of {', '.join(SYNTHETIC)}")
    source = declared.source or item.name
    return Labelled(
        number, item.name, item.location, synthetic, generator, source, declared.source is not None
    )


def require_both(images: Sequence[Labelled], failures: Sequence[FailedItem]) -> None:
    """Raise `NothingToEvaluate` unless there are real and synthetic images.

    The message gives the most frequent reason of failures.
    """
    kinds = {image.synthetic for image in images}
    if len(kinds) == 2:
        return
    reasons = [failure.reason for failure in failures]
    why = ""
    if reasons:
        most = max(sorted(set(reasons)), key=reasons.count)
        example = next(failure for failure in failures if failure.reason == most)
        why = f"; {len(reasons):,} items left out, such as {example.name}: {example.detail}"
    if not images:
        raise NothingToEvaluate(f"no image has a label{why}")
    only = "synthetic" if images[0].synthetic else "real"
    raise NothingToEvaluate(
        f"all {len(images):,} labelled images are {only}; figures need both kinds{why}"
    )


def sample_images(images: Sequence[Labelled], most: int | None, seed: int) -> list[Labelled]:
    """Return at most `most` of the images, in order: half of each kind, or more of one kind if the
    other has fewer.

    Drawn at random; the same images and seed give the same sample. A sample of two or more holds
    both kinds.
    """
    if most is None or len(images) <= most:
        return list(images)
    drawn = np.random.default_rng(seed)
    reals, fakes = (
        [image for image in images if image.synthetic is kind] for kind in (False, True)
    )
    n_reals = min(len(reals), max(most // 2, most - len(fakes)))
    n_fakes = min(len(fakes), most - n_reals)
    kept = {
        kind[place].number
        for kind, count in ((reals, n_reals), (fakes, n_fakes))
        for place in drawn.permutation(len(kind))[:count]
    }
    return [image for image in images if image.number in kept]


def read_images(
    source: Source,
    wanted: Sequence[Labelled],
    max_bytes: int,
    failures: list[FailedItem],
) -> Iterator[tuple[Labelled, bytes]]:
    """Yield the bytes of the wanted images, in the order of the source.

    Appends to `failures` what cannot be read.
    """
    by_number: Mapping[int, Labelled] = {image.number: image for image in wanted}
    for number, item in enumerate(_list_items(source)):
        image = by_number.get(number)
        if image is None:
            continue
        try:
            data = item.read(max_bytes)
        except UnreadableItem as err:
            failures.append(FailedItem(name=item.name, reason=err.reason, detail=str(err)))
            continue
        yield image, data


def _list_items(source: Source) -> Iterator[Item]:
    for span in source.spans(SPAN_ITEMS):
        yield from source.items(span)


def _read_folders(name: str, generator: str | None) -> tuple[str | None, str | None]:
    """Read label and generator from `real/**` or `fake/<generator>/**`; None without a label."""
    folders = PurePosixPath(name).parts[:-1]
    if not folders or folders[0].casefold() not in SYNTHETIC:
        return None, generator
    if generator is None and len(folders) > 1 and SYNTHETIC[folders[0].casefold()]:
        generator = normalise_generator(folders[1]) or None
    return folders[0], generator
