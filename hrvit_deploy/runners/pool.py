"""A pool of objects that only one thread may use at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from hrvit_deploy.errors import RunnerError, UsageError

Item = TypeVar("Item")


class Pool(Generic[Item]):
    """A limited number of items, each made only when all others are in use.

    The item that was returned last is lent first, so that a single caller always gets the
    same item, which is warm.
    """

    def __init__(
        self, name: str, most: int, make: Callable[[], Item], drop: Callable[[Item], None]
    ) -> None:
        """Create an empty pool.

        Args:
            name: Name of the runner that owns the pool, for messages.
            most: The largest number of items.
            make: Makes another item; two threads never call it at the same time.
            drop: Frees an item.

        Raises:
            UsageError: ``most`` is less than one.
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
    def borrowed(self) -> Iterator[Item]:
        """Lend an item to the caller until the block ends; wait while all are in use.

        Raises:
            RunnerError: The pool is closed, or was closed during the wait.
        """
        item = self._take()
        try:
            yield item
        finally:
            with self._changed:
                self._idle.append(item)
                self._changed.notify_all()

    def close(self) -> None:
        """Lend no more items, wait for those in use, and free all.

        A second call does nothing.
        """
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
    """Refuse a concurrency below one.

    Raises:
        UsageError: ``most`` is less than one.
    """
    if most < 1:
        raise UsageError(
            f"{most} runs at a time run nothing", "give a concurrency of 1 or more"
        )
