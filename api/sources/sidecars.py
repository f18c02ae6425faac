"""Files that tell something of the image beside them, as WebDataset shards and many folders hold
them.

Files of one folder whose names agree up to the first dot form a sample
(github.com/webdataset/webdataset); what ends in `.json`, `.txt` or `.cls` is a sidecar there, the
rest are images. Names may go on with dots (`frame.0001.png`), so a sidecar belongs to the images
that its own name fits best, and never to one that it contradicts: `frame.0001.json` says nothing of
`frame.0002.png`. A sidecar without an image is an item like any other file, so that it ends as a
failure with a name: nothing is dropped silently.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from api.sources.item import UnreadableItem, printable
from api.sources.json_values import JSON, require_storable

T = TypeVar("T")

SUFFIXES = ("json", "txt", "cls")  # also the order in which they are told
MAX_SIDECAR_BYTES = 2**20
MAX_SAMPLE_FILES = (
    1000  # a whole archive may be one sample by its names; this is what is held of it at a time
)
MAX_DOTS = 16  # of a name with more, only so many of its longest beginnings are compared


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """A file of a source: its relative name with forward slashes, and whatever finds it again."""

    name: str
    place: T


@dataclass(frozen=True, slots=True)
class Sample(Generic[T]):
    """An item and the sidecars that are told of it."""

    file: Listed[T]
    sidecars: Sequence[Listed[T]] = ()


def sample_key(name: str) -> str:
    """The folder and the base name up to its first dot, which files of one sample share."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def samples(files: Iterable[Listed[T]]) -> Iterator[Sample[T]]:
    """Every file as an item or as a sidecar of one, in order. Only neighbours are taken together.

    Of more than `MAX_SAMPLE_FILES` neighbours with one key, those stay together whose names agree
    up to the last dot.
    """
    held: list[Listed[T]] = []
    for file in files:
        if held and _ends_before(file, held):
            yield from _assigned(held)
            held = []
        held.append(file)
    yield from _assigned(held)


def read_sidecars(sidecars: Iterable[tuple[str, Callable[[int], bytes]]]) -> dict[str, JSON]:
    """What sidecars say, each given as its name and its `read`.

    Of two that say different things of one field the first has the name, the other's is `file
    name:field`. What could not be read or taken over is declared as `sidecar_error`.
    """
    declared: dict[str, JSON] = {}
    for name, read in sorted(sidecars, key=lambda sidecar: SUFFIXES.index(_suffix(sidecar[0]))):
        base = printable(name.rpartition("/")[2])
        for field, value in _fields(base, read).items():
            is_declared_otherwise = declared.get(field, value) != value
            declared[f"{base}:{field}" if is_declared_otherwise else field] = value
    return declared


def _ends_before(file: Listed[T], held: Sequence[Listed[T]]) -> bool:
    if sample_key(file.name) != sample_key(held[0].name):
        return True
    full = len(held) >= MAX_SAMPLE_FILES
    return full and (len(held) >= 2 * MAX_SAMPLE_FILES or _stem(file.name) != _stem(held[-1].name))


def _stem(name: str) -> str:
    """The name without its last suffix."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + (base.rpartition(".")[0] or base)


def _suffix(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2].lower()


def _is_sidecar(file: Listed[T]) -> bool:
    return "." in file.name.rpartition("/")[2] and _suffix(file.name) in SUFFIXES


def _assigned(sample: Sequence[Listed[T]]) -> Iterator[Sample[T]]:
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
    """The images of one sample by their names, their stems, and every beginning of their stems that
    ends at a dot.
    """

    def __init__(self, places: Iterable[int], sample: Sequence[Listed[T]]) -> None:
        self.by_name: dict[str, list[int]] = {}
        self.by_stem: dict[str, list[int]] = {}
        self.by_beginning: dict[str, list[int]] = {}
        for place in places:
            name = sample[place].name
            self.by_name.setdefault(name, []).append(place)
            self.by_stem.setdefault(_stem(name), []).append(place)
            for beginning in _beginnings(_stem(name)):
                self.by_beginning.setdefault(beginning, []).append(place)

    def best_for(self, sidecar: str) -> Sequence[int]:
        """`a.jpg` for `a.jpg.json`; else all that go on from it, as from `a.json`; else what it
        goes on from.

        The nearest of the last: `a.b.jpg` before `a.jpg` for `a.b.c.json`.
        """
        stem = _stem(sidecar)
        nearest = (
            self.by_stem[beginning] for beginning in _beginnings(stem) if beginning in self.by_stem
        )
        return self.by_name.get(stem) or self.by_beginning.get(stem) or next(nearest, ())


def _beginnings(stem: str) -> Iterator[str]:
    """The stem itself, then without its last part, and so on; the sample's key at last."""
    key = sample_key(stem)
    for _ in range(MAX_DOTS):
        if len(stem) <= len(key):
            break
        yield stem
        stem = stem.rpartition(".")[0]
    yield key


def _fields(name: str, read: Callable[[int], bytes]) -> dict[str, JSON]:
    try:
        content = read(MAX_SIDECAR_BYTES)
    except UnreadableItem as err:
        return {"sidecar_error": f"{name}: {err.reason}: {err}"}
    is_cut = len(content) > MAX_SIDECAR_BYTES
    try:
        text = _text(content[:MAX_SIDECAR_BYTES], is_cut=is_cut)
    except ValueError as err:
        return {"sidecar_error": f"{name}: {err}"}
    fields = _object(text) if _suffix(name) == "json" and not is_cut else None
    if fields is None:
        fields = _as_field(_suffix(name), text)
    if is_cut:
        fields["sidecar_error"] = f"{name}: only its first {MAX_SIDECAR_BYTES:,} bytes are told"
    return fields


def _text(content: bytes, *, is_cut: bool) -> str:
    """UTF-8 as it is, of text that was cut all whole characters. Raises ValueError."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        if not (is_cut and err.end == len(content)):
            raise ValueError(f"no UTF-8 text at byte {err.start:,}") from err
        text = content[: err.start].decode("utf-8-sig")
    if "\x00" in text or "\\u0000" in text:
        raise ValueError("holds a NUL character, which cannot be stored")
    return text


def _object(text: str) -> dict[str, JSON] | None:
    """The JSON object that a text is;

    None for any other text, and for numbers and characters that cannot be stored.
    """
    try:
        value = json.loads(text)
        require_storable(value)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _as_field(suffix: str, text: str) -> dict[str, JSON]:
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
