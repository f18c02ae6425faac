"""Bytes -> pixels -> embedding and logit. Knows torch and Pillow; no SQL, FAISS, HTTP, environment.

The rooms: `pictures` makes pixels of bytes, `network` makes an embedding and a logit of pixels,
`file_metadata` reads what a file says of itself, `demonstration` makes the fakes of `lineup demo`,
`training` makes the built-in model.
"""
