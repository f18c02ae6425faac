"""Corpora and entries: listing, changing, exporting, and finding the original bytes again."""
