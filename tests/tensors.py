"""The memory of tensors, counted on any device; beside `tests.work`, which needs no torch."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.work import Measured


class _Counting(TorchDispatchMode):
    """Follows the storages of tensors that are made while it is entered."""

    def __init__(self, measured: Measured) -> None:
        super().__init__()
        self._measured = measured
        self._live: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {id(storage) for storage in _storages_of((args, kwargs))}
        for storage in _storages_of(result):
            if id(storage) not in self._live and id(storage) not in given:
                self._live[id(storage)] = storage.nbytes()
                weakref.finalize(storage, self._live.pop, id(storage))
        self._measured.peak_bytes = max(self._measured.peak_bytes, sum(self._live.values()))
        return result


@contextmanager
def measure_tensors() -> Iterator[Measured]:
    """Measure the largest amount of memory of the tensors that are made in the block.

    It counts what any device would allocate, without the workspaces of its libraries.
    """
    measured = Measured()
    with _Counting(measured):
        yield measured


def _storages_of(tree: Any) -> Iterator[torch.UntypedStorage]:
    for leaf in tree_leaves(tree):
        if isinstance(leaf, torch.Tensor):
            yield leaf.untyped_storage()
