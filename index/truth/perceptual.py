"""The perceptual hash of an image (PDQ), and when two hashes belong to the same picture.

Owns the thresholds of distance and quality. `embedder.pictures.perceptual` computes hashes.
Source: "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", Facebook, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

from index.errors import InvalidImageFacts

HASH_BYTES = 32
# A "confident match" in the paper's section on thresholds, and ThreatExchange's default for PDQ.
MAX_HAMMING_DISTANCE = 31
# The paper advises to discard hashes of lower quality: the hash of a flat picture is noise, which
# can resemble the noise of another one.
MIN_QUALITY = 50
MAX_QUALITY = 100


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """A PDQ hash of 256 bits and its quality, from 0 (flat) to 100.

    `bits.hex()` is the usual notation with 64 hex digits.
    """

    bits: bytes
    quality: int

    @property
    def reliable(self) -> bool:
        """Whether the picture has enough structure for its hash to be comparable."""
        return self.quality >= MIN_QUALITY

    def check(self) -> None:
        """Require 32 bytes and a possible quality.

        Raises:
            InvalidImageFacts: the number of bytes or the quality is impossible.

        """
        if len(self.bits) != HASH_BYTES or not 0 <= self.quality <= MAX_QUALITY:
            raise InvalidImageFacts("a PDQ hash must have 32 bytes and a quality from 0 to 100")


def hamming_distance(one: PerceptualHash, other: PerceptualHash) -> int:
    """Return the number of differing bits, 0 to 256."""
    return (int.from_bytes(one.bits) ^ int.from_bytes(other.bits)).bit_count()


def near_duplicate(one: PerceptualHash | None, other: PerceptualHash | None) -> bool | None:
    """Return whether two hashes belong to the same picture.

    Returns None if a hash is missing or its quality is too low to decide.
    """
    if one is None or other is None or not one.reliable or not other.reliable:
        return None
    return hamming_distance(one, other) <= MAX_HAMMING_DISTANCE
