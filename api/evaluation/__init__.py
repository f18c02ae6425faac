"""Measuring a model on labelled images: one JSON document and one HTML page.

`reading` finds the images and their labels. `embedding` embeds each image once. The modules of
figures (`classification`, `retrieving`, `matching`, `attributing`, `ratios`) take arrays;
`measuring` calls them all. `report` writes the two files. Nothing here needs a database.
scikit-learn computes the Brier score, and matplotlib draws the plots (both are optional, see
`extra`); the other statistics are in `separation` and in `index.calibration`.
"""
