"""Entries that deserve a look, as pages of JSON: see `index.proof.inspection` for how they are
found.
"""
