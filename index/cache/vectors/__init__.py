"""Vectors and what multiplies them: `rows` in files or memory, exact `products`, small `codes`."""
