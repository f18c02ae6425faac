"""The HTTP skin: each module is one resource, each body calls a function that a command can call too."""
