"""Many probes at once: sent together, read from a folder, or waiting at the same time."""
