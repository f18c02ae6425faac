"""Corpora and entries: `catalogue` lists and changes them, `export` writes a corpus to a file,
`originals` finds the bytes of an image again, `json` holds the answers.
"""
