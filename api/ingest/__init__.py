"""Ingesting sources into a corpus: the request, its patterns and provenance, and the task
itself.
"""
