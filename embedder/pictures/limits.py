"""What is refused of an image before a pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from embedder.errors import ImageTooLarge, ImageTooSmall


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before a pixel is decoded. Sides and pixels are those that the header
    declares.
    """

    max_image_bytes: int = 64 * 2**20
    max_image_pixels: int = 100_000_000
    min_image_side: int = 32

    def check(self, width: int, height: int) -> None:
        """Compare a size with the limits.

        Raises ImageTooLarge, ImageTooSmall.
        """
        if width * height > self.max_image_pixels:
            raise ImageTooLarge("pixels", width * height, self.max_image_pixels)
        if min(width, height) < self.min_image_side:
            raise ImageTooSmall(width, height, self.min_image_side)


DEFAULT_LIMITS = ImageLimits()
