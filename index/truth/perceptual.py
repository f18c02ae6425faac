"""The perceptual hash of an image (PDQ) as a value, and when two of them are of the same picture.

Owns the two constants. Hashes are computed by `embedder.pictures.perceptual`.
Source: "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", Facebook, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

from index.errors import InvalidImageFacts

HASH_BYTES = 32
# "Confident match" of the paper's section on thresholds, and the default of ThreatExchange's PDQ
# signal.
MAX_HAMMING_DISTANCE = 31
# The paper advises to discard hashes of lower quality: flat pictures hash to noise that is like any
# other noise.
MIN_QUALITY = 50
MAX_QUALITY = 100


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """A PDQ hash: 256 bits, `bits.hex()` as others print it, and its quality from 0 (flat) to
    100.
    """

    bits: bytes
    quality: int

    @property
    def reliable(self) -> bool:
        """Whether the picture has enough structure for its hash to mean anything."""
        return self.quality >= MIN_QUALITY

    def check(self) -> None:
        """Raise InvalidImageFacts on what cannot be one."""
        if len(self.bits) != HASH_BYTES or not 0 <= self.quality <= MAX_QUALITY:
            raise InvalidImageFacts("a PDQ hash has 32 bytes and a quality from 0 to 100")


def hamming_distance(one: PerceptualHash, other: PerceptualHash) -> int:
    """Return how many of the 256 bits differ."""
    return (int.from_bytes(one.bits) ^ int.from_bytes(other.bits)).bit_count()


def near_duplicate(one: PerceptualHash | None, other: PerceptualHash | None) -> bool | None:
    """Return whether two hashes are of the same picture;

    None where one is missing or of too low quality to tell.
    """
    if one is None or other is None or not one.reliable or not other.reliable:
        return None
    return hamming_distance(one, other) <= MAX_HAMMING_DISTANCE
