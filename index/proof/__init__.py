"""Checks that truth and cache agree (`fsck`), and finds entries that deserve a look
(`inspection`).
"""
