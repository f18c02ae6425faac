"""The recipe of the built-in model. It is not part of the wheel.

Run `python -m embedder.training --corpus DIR --out embedder/models`.
"""
