"""Files that can run code when they are read: by name, and by how they start."""

from __future__ import annotations

UNSAFE_SUFFIXES = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5"}
)
# zip (torch >= 1.6, TorchScript, .npz), pickle protocols 2 to 5, gzip, HDF5; torch's old format is
# a pickle. Protocols 0 and 1 start with printable opcodes; the check of the wanted format refuses
# them.
UNSAFE_STARTS = (
    b"PK\x03\x04",
    b"\x80\x02",
    b"\x80\x03",
    b"\x80\x04",
    b"\x80\x05",
    b"\x1f\x8b",
    b"\x89HDF",
)
