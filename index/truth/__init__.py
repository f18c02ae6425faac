"""The rows and the rules of rows.

What is committed here is true; nothing here imports the cache.
"""
