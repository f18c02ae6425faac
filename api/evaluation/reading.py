"""Labelled images of a source: which there are, what is told of each, and which of them are
measured.

The label comes from a manifest's column `label` or the pattern, and where neither says one from the
folders: `real/**` and `fake/<generator>/**`. Sources are read as for an ingest (`api.sources`,
`api.ingest.provenance`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from api.errors import NothingToEvaluate, SourceNotAllowed
from api.fields import FailedItem
from api.ingest.patterns import Pattern
from api.ingest.provenance import join_provenance
from api.sources.item import Item, Source, UnreadableItem
from api.sources.locations import require_within
from index.errors import InvalidProvenance
from index.truth.provenance import Provenance, normalise_generator

SPAN_ITEMS = 1000
# The words of Lineup and of its corpora, and `fake` for folders; anything else is not guessed at.
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
    """An image that can be measured; `number` is its place in the source.

    `source` is what it is resampled with: pictures of one collection or photograph. Where nobody
    tells one it is the image's own name, and `source_is_declared` is False.
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
    """What a source holds: `found` items, of which the failures have no usable label."""

    found: int
    images: tuple[Labelled, ...]
    failures: tuple[FailedItem, ...]


class Unlabelled(Exception):
    """An item of which nobody says whether it is real; `reason` is machine-readable."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def list_labelled(source: Source, pattern: Pattern | None) -> Listing:
    """Read what is told of each item, not its image.

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
    """Return what is told of an item. Raises `Unlabelled`."""
    try:
        told = join_provenance(item.name, item.declared, NO_PROVENANCE, pattern=pattern).normalise()
    except InvalidProvenance as err:
        raise Unlabelled("invalid_provenance", str(err)) from err
    word, generator = told.label, told.generator
    if word is None:
        word, generator = _read_folders(
            item.name, generator
        )  # a name is printable, so it can be stored
    if word is None:
        raise Unlabelled(
            "unlabelled", "neither a column, nor the pattern, nor its folder says real or synthetic"
        )
    synthetic = SYNTHETIC.get(word.casefold())
    if synthetic is None:
        raise Unlabelled("unknown_label", f"label {word!r} is none of {', '.join(SYNTHETIC)}")
    source = told.source or item.name
    return Labelled(
        number, item.name, item.location, synthetic, generator, source, told.source is not None
    )


def require_both(images: Sequence[Labelled], failures: Sequence[FailedItem]) -> None:
    """Raises `NothingToEvaluate` unless there are real and synthetic images, with the most frequent
    reason why not.
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
    """Return at most so many of the images, in their order: half of each kind, more of one where
    the other has fewer.

    Drawn at random; the same images and seed give the same sample. Asked for two or more, both
    kinds are in it.
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
    roots: Sequence[str] | None = None,
) -> Iterator[tuple[Labelled, bytes]]:
    """Give the bytes of the images that are wanted, in the order of the source; what cannot be read
    is a failure.

    So is what lies outside of the roots, if there are any.
    """
    by_number: Mapping[int, Labelled] = {image.number: image for image in wanted}
    for number, item in enumerate(_list_items(source)):
        image = by_number.get(number)
        if image is None:
            continue
        try:
            if item.location is not None:
                require_within(item.location, roots)
            data = item.read(max_bytes)
        except SourceNotAllowed as err:
            failures.append(FailedItem(name=item.name, reason="not_allowed", detail=str(err)))
            continue
        except UnreadableItem as err:
            failures.append(FailedItem(name=item.name, reason=err.reason, detail=str(err)))
            continue
        yield image, data


def _list_items(source: Source) -> Iterator[Item]:
    for span in source.spans(SPAN_ITEMS):
        yield from source.items(span)


def _read_folders(name: str, generator: str | None) -> tuple[str | None, str | None]:
    """Return label and generator by `real/**` or `fake/<generator>/**`, no label where the first
    folder is neither.
    """
    folders = PurePosixPath(name).parts[:-1]
    if not folders or folders[0].casefold() not in SYNTHETIC:
        return None, generator
    if generator is None and len(folders) > 1 and SYNTHETIC[folders[0].casefold()]:
        generator = normalise_generator(folders[1]) or None
    return folders[0], generator
