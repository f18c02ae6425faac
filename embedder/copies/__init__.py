"""Pictures to what shows that one is an edited version of another; no rows, no files, no verdicts.

`features` and `matching` find by local features how one picture lies in another. `inputs` says what
a copy descriptor reads, `descriptors` which there are, `onnx` runs them, and `normalisation` makes
their similarities comparable. OpenCV and ONNX Runtime are optional: without them, the functions
that need them say so.
"""
