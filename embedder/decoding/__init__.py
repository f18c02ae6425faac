"""Bytes from outside -> a `Picture`, in threads or in confined worker processes."""
