"""Rows of jobs: the `job`, the `chunks` of its work, the `items` that did not simply succeed."""
