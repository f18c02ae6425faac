"""Staying at the newest state: `current` catches up with the log, `folding` moves what grew into
the sealed segment, `upkeep` writes snapshots, `maintenance` does both beside the searches.
"""
