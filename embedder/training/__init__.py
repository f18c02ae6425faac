"""The recipe of the built-in model:

`python -m embedder.training --corpus DIR --out embedder/models`.
"""
