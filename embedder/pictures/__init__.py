"""Bytes to pixels: decoding, orientation, colour, preprocessing, delivery, perceptual hash
and the hashes of a picture's views.
"""
