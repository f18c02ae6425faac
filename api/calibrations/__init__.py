"""Calibrations as jobs: what is asked, what is measured, and the JSON of the result."""
