"""One module of routes for each feature. A route calls a function that a command can call too."""
