"""The set digest: one number that identifies a set of members, independent of their order.

It is the sum modulo 2**256 of sha256(entry id as 8 bytes little-endian + vector bytes) over the
live members of one embedding space. Adding or removing a member costs one addition, so the digest
follows the change log; it can also be computed from the rows alone. It detects damage and drift.
It is not a signature: an attacker who can write both rows and log can forge it. Source: Bellare and
Micciancio, "A New Paradigm for Collision-Free Hashing" (AdHash), 1997.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

MODULUS = 1 << 256
EMPTY = 0
DIGEST_BYTES = 32


def member_digest(entry_id: int, vector: bytes) -> int:
    """Return the number that one member adds to the digest of its set."""
    return int.from_bytes(hashlib.sha256(entry_id.to_bytes(8, "little") + vector).digest(), "big")


def add_member(digest: int, entry_id: int, vector: bytes) -> int:
    """Return the digest of the set with this member added."""
    return (digest + member_digest(entry_id, vector)) % MODULUS


def add_members(digest: int, entry_ids: Iterable[int], vectors: Iterable[bytes]) -> int:
    """Return the digest of the set with these members added: ids and vectors in equal order."""
    return (digest + sum(map(member_digest, entry_ids, vectors))) % MODULUS


def remove_member(digest: int, entry_id: int, vector: bytes) -> int:
    """Return the digest of the set with this member removed."""
    return (digest - member_digest(entry_id, vector)) % MODULUS


def digest_bytes(digest: int) -> bytes:
    """Return the 32 bytes in which SQL stores a digest."""
    return digest.to_bytes(DIGEST_BYTES, "big")


def digest_from_bytes(stored: bytes) -> int:
    """Return the digest that these stored bytes hold."""
    return int.from_bytes(stored, "big")


def digest_hex(digest: int) -> str:
    """Return the 64 hex digits by which manifests and answers show a digest."""
    return digest_bytes(digest).hex()
