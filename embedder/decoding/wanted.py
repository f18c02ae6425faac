"""One file that waits for a decoder: its orders, and the futures of those who wait for pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

from embedder.decoding.picture import Picture, PictureOrder


class Wanted:
    """What is wanted of one file. `begin`, `deliver` and `fail` belong to whoever makes it."""

    def __init__(self, data: bytes, orders: Sequence[PictureOrder]) -> None:
        self.data = data
        self.futures: list[Future[Picture]] = [Future() for _ in orders]
        self.has_begun = False
        self._left = deque(zip(orders, self.futures, strict=True))

    @property
    def orders(self) -> list[PictureOrder]:
        """The orders whose pictures are not there yet."""
        return [order for order, _ in self._left]

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for a picture any more."""
        return all(future.cancelled() for _, future in self._left)

    def begin(self) -> bool:
        """Leave out what was cancelled: the rest cannot be any more. False if nothing is left."""
        if not self.has_begun:
            begun = [each for each in self._left if each[1].set_running_or_notify_cancel()]
            self._left, self.has_begun = deque(begun), True
        return bool(self._left)

    def deliver(self, made: Picture | BaseException) -> None:
        """Hand over what the next order made, or why it made nothing."""
        _, future = self._left.popleft()
        if isinstance(made, Picture):
            future.set_result(made)
        else:
            future.set_exception(made)

    def fail(self, err: BaseException) -> None:
        """Tell all who still wait that nothing more is made."""
        while self._left:
            self.deliver(err)

    def cancel(self) -> None:
        """Cancel what has not begun."""
        for _, future in self._left:
            future.cancel()
