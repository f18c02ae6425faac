"""Copies: the stages of a look-up that find edited versions of stored pictures.

`stages` are their names and reports. `choosing` finds the copy descriptor of an installation,
`verifying` compares candidates by their local features, `stored_features` and `kept` find what is
stored of their pictures, and `running` runs the stages. How a look-up uses them is in
`api.lookups`.
"""
