"""Calibrations as jobs.

`request` is what is asked for, `task` embeds delivered images, `measuring` measures and stores the
result, with what `copies` measures of edited copies; `json` and `catalogue` show it.
"""
