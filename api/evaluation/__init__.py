"""Measure a model on labelled images of one's own: one JSON document and one HTML page.

`reading` finds the images and their labels, `embedding` embeds each once, the modules of figures
(`classification`, `retrieving`, `matching`, `attributing`) take arrays, `report` writes the two
files. Nothing here needs a database. ROC, its area and the Brier score are scikit-learn's, plots
are matplotlib's (both are optional, see `extra`); other statistics are
`index.calibration`'s.
"""
