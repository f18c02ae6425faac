"""The index in memory and on disk. It answers searches quickly, follows the change log, and can be
rebuilt from `index.truth` at any time.
"""
