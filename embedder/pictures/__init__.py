"""Bytes to pixels: decoding, orientation, colour, preprocessing, delivery and perceptual hash."""
