"""The rows of the database and the rules about them.

Committed rows are the truth. Nothing in this package imports the cache.
"""
