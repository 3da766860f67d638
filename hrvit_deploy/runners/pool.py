"""What only one thread may use at a time, a few of each, handed out in turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from hrvit_deploy.errors import RunnerError, UsageError

Item = TypeVar("Item")


class Pool(Generic[Item]):
    """At most so many items, each made when all others are in use.

    The item given back last is handed out first, so that a single caller always gets the
    same one, warm.
    """

    def __init__(
        self, name: str, most: int, make: Callable[[], Item], drop: Callable[[Item], None]
    ) -> None:
        """Make nothing yet.

        Args:
            name: Of the runner whose items these are, in messages.
            most: Items at once.
            make: Another item; never called by two threads at once.
            drop: Frees an item.

        Raises:
            UsageError: Fewer than one.
        """
        check_concurrency(most)
        self._name, self._most = name, most
        self._make, self._drop = make, drop
        self._changed = threading.Condition()
        self._making = threading.Lock()
        self._idle: list[Item] = []
        self._count = 0
        self._closed = False

    @contextmanager
    def taken(self) -> Iterator[Item]:
        """An item of one's own until the block ends; waits while all are in use.

        Raises:
            RunnerError: The pool is closed, or was while waiting.
        """
        item = self._take()
        try:
            yield item
        finally:
            with self._changed:
                self._idle.append(item)
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in, wait for those inside, and free every item; twice is harmless."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == self._count)
            items, self._idle, self._count = self._idle, [], 0
        for item in items:
            self._drop(item)

    def _take(self) -> Item:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._idle or self._count < self._most
            )
            if self._closed:
                raise RunnerError(f"{self._name} is closed", "open another runner")
            if self._idle:
                return self._idle.pop()
            self._count += 1
        try:
            with self._making:
                return self._make()
        except BaseException:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()
            raise


def check_concurrency(most: int) -> None:
    """Refuse fewer than one run at a time.

    Raises:
        UsageError: It is fewer.
    """
    if most < 1:
        raise UsageError(
            f"{most} runs at a time run nothing", "give a concurrency of 1 or more"
        )
