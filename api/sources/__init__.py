"""Sources of a bulk ingest: folders, lists of paths, archives, tables and manifests.

`item` defines what every source offers. `opening` chooses the kind of source for a location.
`locations` reads local paths and URLs in the same way. `sidecars` reads the files beside an image
that declare something about it. Every other module is one kind of source. Nothing here decodes an
image, knows a corpus or writes a file.
"""
