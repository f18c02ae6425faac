"""One file for each schema revision, numbered from the oldest."""
