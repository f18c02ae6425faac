"""Where the images of a bulk ingest come from: folders, lists of paths, archives, tables and
manifests.

`item` says what every source gives, `opening` chooses the source by what lies at a location,
`locations` reads local paths and URLs alike, `sidecars` finds what is told of an image in the files
beside it; the other modules are one kind of source each. Nothing here decodes an image, knows a
corpus or writes a file.
"""
