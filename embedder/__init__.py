"""Image bytes to pixels, and pixels to an embedding and a logit.

Knows torch and Pillow. Knows no SQL, no FAISS, no HTTP and no environment variables. The rooms:

- `pictures` turns bytes into pixels;
- `network` turns pixels into an embedding and a logit;
- `copies` finds what shows that a picture is an edited version of another;
- `file_metadata` reads what a file says about its own origin;
- `demonstration` holds the photographs and the fakes of `lineup demo`;
- `training` trains the built-in model; it is not part of the wheel.

Import from the module that defines a name. Nothing is imported here, so a command that needs no
model does not load torch.
"""
