"""Copies: the stages of a look-up that find edited versions of stored pictures.

`stages` says which of them an installation has. `searching` finds candidates by copy descriptors,
`verifying` compares candidates by their local features, and `stored_features` finds the features of
stored pictures. How a look-up runs them is in `api.lookups`.
"""
