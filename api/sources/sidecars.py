"""Sidecars: files that declare something about the image beside them, as in WebDataset shards.

Files of one folder whose names agree up to the first dot form a sample
(github.com/webdataset/webdataset). In a sample, files ending in `.json`, `.txt` or `.cls` are
sidecars; the others are images. Names may continue with dots (`frame.0001.png`). So a sidecar
belongs to the images that its name matches best, and never to one that it contradicts:
`frame.0001.json` does not belong to `frame.0002.png`. A sidecar without an image is an item like
any other file, so that it fails under its own name: nothing is dropped silently.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from api.sources.item import UnreadableItem, make_printable
from api.sources.json_values import JSON, require_storable

T = TypeVar("T")

SUFFIXES = ("json", "txt", "cls")  # also the order in which they are read
MAX_SIDECAR_BYTES = 2**20
MAX_SAMPLE_FILES = 1000  # held in memory at a time; by its names, a whole archive can be one sample
MAX_DOTS = 16  # of a name with more dots, only this many of its longest beginnings are compared


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """A file of a source: its relative name with forward slashes, and its place in the source."""

    name: str
    place: T


@dataclass(frozen=True, slots=True)
class Sample(Generic[T]):
    """An item and its sidecars."""

    file: Listed[T]
    sidecars: Sequence[Listed[T]] = ()


def sample_key(name: str) -> str:
    """Return the folder and the name up to the first dot, which files of one sample share."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def group_samples(files: Iterable[Listed[T]]) -> Iterator[Sample[T]]:
    """Return every file as an item or as a sidecar of one, in order. Groups only adjacent files.

    Of more than `MAX_SAMPLE_FILES` adjacent files with the same key, those whose names agree up to
    the last dot stay together.
    """
    held: list[Listed[T]] = []
    for file in files:
        if held and _ends_before(file, held):
            yield from _assign_sidecars(held)
            held = []
        held.append(file)
    yield from _assign_sidecars(held)


def read_sidecars(sidecars: Iterable[tuple[str, Callable[[int], bytes]]]) -> dict[str, JSON]:
    """Return the fields that sidecars declare. Each sidecar is its name and its `read`.

    If two sidecars declare different values for a field, the first has the field's name, the other
    one `file name:field`. What cannot be read or stored becomes the field `sidecar_error`.
    """
    declared: dict[str, JSON] = {}
    for name, read in sorted(sidecars, key=lambda sidecar: SUFFIXES.index(_suffix(sidecar[0]))):
        base = make_printable(name.rpartition("/")[2])
        for field, value in _read_fields(base, read).items():
            is_contradiction = declared.get(field, value) != value
            declared[f"{base}:{field}" if is_contradiction else field] = value
    return declared


def _ends_before(file: Listed[T], held: Sequence[Listed[T]]) -> bool:
    if sample_key(file.name) != sample_key(held[0].name):
        return True
    full = len(held) >= MAX_SAMPLE_FILES
    return full and (len(held) >= 2 * MAX_SAMPLE_FILES or _stem(file.name) != _stem(held[-1].name))


def _stem(name: str) -> str:
    """Return the name without its last suffix."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + (base.rpartition(".")[0] or base)


def _suffix(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2].lower()


def _is_sidecar(file: Listed[T]) -> bool:
    return "." in file.name.rpartition("/")[2] and _suffix(file.name) in SUFFIXES


def _assign_sidecars(sample: Sequence[Listed[T]]) -> Iterator[Sample[T]]:
    if len(sample) == 1:
        yield Sample(sample[0])
        return
    images = _Images([place for place, file in enumerate(sample) if not _is_sidecar(file)], sample)
    sidecars: dict[int, list[Listed[T]]] = {}
    taken = set()
    for place, file in enumerate(sample):
        for image in images.best_for(file.name) if _is_sidecar(file) else ():
            sidecars.setdefault(image, []).append(file)
            taken.add(place)
    for place, file in enumerate(sample):
        if place not in taken:
            yield Sample(file, sidecars.get(place, ()))


class _Images:
    """The images of one sample by name, by stem, and by every beginning of the stem that ends at a
    dot.
    """

    def __init__(self, places: Iterable[int], sample: Sequence[Listed[T]]) -> None:
        self.by_name: dict[str, list[int]] = {}
        self.by_stem: dict[str, list[int]] = {}
        self.by_beginning: dict[str, list[int]] = {}
        for place in places:
            name = sample[place].name
            self.by_name.setdefault(name, []).append(place)
            self.by_stem.setdefault(_stem(name), []).append(place)
            for beginning in _list_beginnings(_stem(name)):
                self.by_beginning.setdefault(beginning, []).append(place)

    def best_for(self, sidecar: str) -> Sequence[int]:
        """Return the images of a sidecar: for `a.jpg.json` the image `a.jpg`; else all images whose
        names continue its stem; else those whose names its stem continues, the longest first
        (`a.b.jpg` before `a.jpg` for `a.b.c.json`).
        """
        stem = _stem(sidecar)
        nearest = (
            self.by_stem[beginning]
            for beginning in _list_beginnings(stem)
            if beginning in self.by_stem
        )
        return self.by_name.get(stem) or self.by_beginning.get(stem) or next(nearest, ())


def _list_beginnings(stem: str) -> Iterator[str]:
    """Return the stem, then the stem without its last part, and so on down to the sample's key."""
    key = sample_key(stem)
    for _ in range(MAX_DOTS):
        if len(stem) <= len(key):
            break
        yield stem
        stem = stem.rpartition(".")[0]
    yield key


def _read_fields(name: str, read: Callable[[int], bytes]) -> dict[str, JSON]:
    try:
        content = read(MAX_SIDECAR_BYTES)
    except UnreadableItem as err:
        return {"sidecar_error": f"{name}: {err.reason}: {err}"}
    is_cut = len(content) > MAX_SIDECAR_BYTES
    try:
        text = _decode_text(content[:MAX_SIDECAR_BYTES], is_cut=is_cut)
    except ValueError as err:
        return {"sidecar_error": f"{name}: {err}"}
    fields = _parse_object(text) if _suffix(name) == "json" and not is_cut else None
    if fields is None:
        fields = _wrap_text(_suffix(name), text)
    if is_cut:
        fields["sidecar_error"] = f"{name}: only its first {MAX_SIDECAR_BYTES:,} bytes are kept"
    return fields


def _decode_text(content: bytes, *, is_cut: bool) -> str:
    """Decode UTF-8; of a text that was cut, its complete characters. Raises ValueError."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        if not (is_cut and err.end == len(content)):
            raise ValueError(f"not UTF-8 text at byte {err.start:,}") from err
        text = content[: err.start].decode("utf-8-sig")
    if "\x00" in text or "\\u0000" in text:
        raise ValueError("contains a NUL character, which cannot be stored")
    return text


def _parse_object(text: str) -> dict[str, JSON] | None:
    """Parse a JSON object; None for any other text, and for values that cannot be stored."""
    try:
        value = json.loads(text)
        require_storable(value)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _wrap_text(suffix: str, text: str) -> dict[str, JSON]:
    match suffix:
        case "txt":
            return {"caption": text}
        case "cls":
            name = text.strip()
            return {
                "class": int(name)
                if name.isdecimal() and name.isascii() and len(name) < 19
                else name
            }
        case _:
            return {suffix: text}
