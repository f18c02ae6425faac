"""Calibrations as jobs.

`request` is what is asked for, `task` embeds delivered images, `measuring` measures and stores the
result, `json` and `catalogue` show it.
"""
