"""The set digest: one number for "exactly these members", whatever their order of arrival.

The sum modulo 2**256 of sha256(entry id as 8 bytes little-endian + vector bytes) over the live
members of one embedding space. Adding and removing are one addition each, so it rolls with the
change log, and it can be computed from SQL alone. It finds damage and drift; it is no signature:
whoever can write both rows and log can forge it. Source: Bellare and Micciancio, "A New Paradigm
for Collision-Free Hashing" (AdHash), 1997.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

MODULUS = 1 << 256
EMPTY = 0
DIGEST_BYTES = 32


def member_digest(entry_id: int, vector: bytes) -> int:
    """Return what one member adds to the digest of its set."""
    return int.from_bytes(hashlib.sha256(entry_id.to_bytes(8, "little") + vector).digest(), "big")


def add_member(digest: int, entry_id: int, vector: bytes) -> int:
    """Return the digest of the set with one member more."""
    return (digest + member_digest(entry_id, vector)) % MODULUS


def add_members(digest: int, entry_ids: Iterable[int], vectors: Iterable[bytes]) -> int:
    """Return the digest of the set with more members, which come as two sequences."""
    return (digest + sum(map(member_digest, entry_ids, vectors))) % MODULUS


def remove_member(digest: int, entry_id: int, vector: bytes) -> int:
    """Return the digest of the set with one member less."""
    return (digest - member_digest(entry_id, vector)) % MODULUS


def digest_bytes(digest: int) -> bytes:
    """Return the 32 bytes in which SQL stores a digest."""
    return digest.to_bytes(DIGEST_BYTES, "big")


def digest_from_bytes(stored: bytes) -> int:
    """Return the digest of its stored bytes."""
    return int.from_bytes(stored, "big")


def digest_hex(digest: int) -> str:
    """Return the 64 hex digits in which a manifest and an answer print a digest."""
    return digest_bytes(digest).hex()
