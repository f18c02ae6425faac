"""Pictures to what shows that one is an edited version of another; no rows, no files, no verdicts.

Local features: `features` extracts them, and `matching` finds how one picture lies in another, by
the pairs of `pairing`, the `transforms` that they fit, and the `agreement` of the overlap.

Copy descriptors: `inputs` says what one reads, `descriptors` which there are, and `opening` loads
one. `onnx` runs networks, whose files `graphs` checks and `declared` describes; `aggregated` is the
one that comes with Lineup.

OpenCV and ONNX Runtime are optional: without them, the functions that need them say so.
"""
