"""Copies: the stages that find an edited version of a stored picture, one module for each."""
