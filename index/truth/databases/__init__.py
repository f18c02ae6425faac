"""The `database`, opened with `options` on `sqlite` or `postgresql`, at one of its `revisions`;
and what `damage` looks like.
"""
