"""The index in memory and on disk: a view of the change log that can be rebuilt from
`index.truth`.
"""
