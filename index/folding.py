"""Folding: when the tail becomes part of a new base, and how a view that went on meanwhile moves onto it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from index.segments import BaseIndex
from index.tail import Tail
from index.view import Part, View


@dataclass(frozen=True, slots=True)
class FoldPolicy:
    """A snapshot is due when more than `minimum` positions, and more than `fraction` of the base, are not in it.

    Positions not in it: the tail, tombstones, and a base that was built in memory. 4,096 vectors of 384 are scanned in
    about a millisecond and replayed in a tenth of a second, so folding sooner would write more than it saves; a tenth
    keeps all writing together to some ten times the final size.
    """

    minimum: int = 4096
    fraction: float = 0.10

    def due(self, view: View, *, saved: bool) -> bool:
        """Whether to write a snapshot of a view whose base is `saved` or not."""
        unwritten = view.tail.size + view.dead + (0 if saved else view.base.size)
        return unwritten > max(self.minimum, self.fraction * view.base.size)


DEFAULT_FOLDING = FoldPolicy()


def rebased(current: View, *, folded: View, base: BaseIndex) -> View | None:
    """Return the current view standing on a base that holds exactly the members of an earlier view, `folded`.

    None where `current` does not descend from `folded`, because it was rebuilt in between.
    """
    if current.base is not folded.base or current.tail.size < folded.tail.size:
        return None
    written = folded.tail.size
    gone = []
    for before, now in zip(folded.parts, current.parts, strict=True):
        positions = before.positions()
        if now.live is not None:
            gone.append(before.segment.ids[positions[~now.live[positions]]])
    dead = base.find(np.concatenate(gone)) if gone else np.empty(0, np.int64)
    tail: Tail = current.tail.since(written)
    tail_live = None if current.tail_live is None else current.tail_live[written:]
    return View(current.generation, current.digest, base, Part(base, None).without(dead), tail, tail_live)
