"""Copies: the stages of a look-up that find edited versions of stored pictures.

`stages` are their names and reports. `choosing` finds the copy descriptor of an installation,
`spaces` keeps its copy space open, and `searching` finds candidates there. `verifying` compares
candidates by their local features, `stored_features` and `kept` find what is stored of their
pictures, and `running` runs the verification. `json` lists descriptors. How a look-up uses all this
is in `api.lookups`.
"""
