"""The viewer's store: telemetry in one SQLite file, written by a thread of its own.

Receivers put export requests into a bounded queue, and the writer empties it in batches, each one
transaction. Pages read through connections of their own, which write-ahead logging lets run beside
the writer. Age and size are bounded: the oldest goes first.
"""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otel_search.viewer.store.file import StoreError, locked, opened
from otel_search.viewer.store.retention import Retention
from otel_search.viewer.store.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_search.viewer.otlp import ExportRequest

__all__ = ["DEFAULT_MAX_AGE", "DEFAULT_MAX_SIZE", "MAX_QUEUE", "State", "Store", "StoreError"]

MAX_QUEUE = 64 * 1024 * 1024
"""Bytes of export requests that may wait to be written."""

DEFAULT_MAX_SIZE = 512 * 1024 * 1024
DEFAULT_MAX_AGE = 24 * 3600.0

_BATCH = 4 * 1024 * 1024
_SHARE = 64
"""A batch is at most this part of what may be kept, and a request more."""

_GROWTH = 4
"""Bytes in the file, at most as a rule, for each byte that was sent: rows, indices and words."""

_MOST_ROOM = 8
"""No more than this part of what may be kept is made free at once."""

_SHARE_OF_LOG, _MOST_LOG = 6, 32 * 1024 * 1024
"""What the log beside the file may take of what may be kept: this part, and no more than so many bytes."""

_RETENTION_INTERVAL = 5.0
_DELETING = 0.5

_BUSY = 30.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """What the store has done since it was opened, and what it holds.

    Attributes:
        version: Grows with each batch that was written.
        spans, logs, points: How many were written.
        lost: Export requests that could not be written.
        waiting: Bytes in the queue.
        size: Bytes in use in the file.
    """

    version: int
    spans: int
    logs: int
    points: int
    lost: int
    waiting: int
    size: int


class Store:
    """Keeps telemetry in an SQLite file.

    Args:
        path: The file; it is made if it is not there.
        max_size: Bytes to keep in it: the oldest goes before more is written.
        max_age: Seconds that something is kept.
        max_queue: Bytes of export requests that may wait to be written.

    Raises:
        StoreError: If the file cannot be opened, is not such a store, or is in use by another one.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_size: int = DEFAULT_MAX_SIZE,
        max_age: float = DEFAULT_MAX_AGE,
        max_queue: int = MAX_QUEUE,
    ) -> None:
        self.path = path
        self.max_size = max_size
        self.max_age = max_age
        self._max_queue = max_queue
        self._lock = locked(path)
        log = min(max_size // _SHARE_OF_LOG, _MOST_LOG)
        try:
            self._connection = opened(path, log)
        except StoreError:
            os.close(self._lock)
            raise
        self._rows = Rows(self._connection)
        self._retention = Retention(self._connection, max_size=max_size - log, max_age=max_age)
        self._changed = threading.Condition()
        self._queue: deque[tuple[int, ExportRequest]] = deque()
        self._waiting = 0
        self._version = 0
        self._lost = 0
        self._size = self._retention.size()
        self._clear = False
        self._deleted = False
        self._stuck = False
        self._stopping = False
        self._readers = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._thread = threading.Thread(target=self._run, name="viewer-store", daemon=True)
        self._thread.start()

    # -- for receivers --------------------------------------------------------------------------

    def add(self, request: ExportRequest) -> bool:
        """Take an export request to be written soon.

        Returns:
            False if too much is waiting, or nothing can be deleted to make room: the sender has to come again.
        """
        size = request.ByteSize()
        with self._changed:
            full = self._waiting and self._waiting + size > self._max_queue
            if self._stopping or full or self._stuck:
                return False
            self._queue.append((size, request))
            self._waiting += size
            self._changed.notify_all()
        return True

    # -- for pages ------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """How much there is now."""
        rows = self._rows
        return State(self._version, rows.spans, rows.logs, rows.points, self._lost, self._waiting, self._size)

    def read(self) -> sqlite3.Connection:
        """The connection for reading that belongs to the calling thread."""
        connection: sqlite3.Connection | None = getattr(self._readers, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, timeout=_BUSY, check_same_thread=False, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA cache_size = -4096")
            connection.execute("PRAGMA mmap_size = 268435456")
            self._readers.connection = connection
            with self._changed:
                self._opened.append(connection)
        return connection

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one moment of the store, however many queries are made."""
        connection = self.read()
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.rollback()

    def clear(self) -> None:
        """Delete all that is stored or waiting; returns when it is gone."""
        with self._changed:
            self._waiting -= sum(size for size, _ in self._queue)
            self._queue.clear()
            self._clear = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._clear or self._stopping, _BUSY)

    def flush(self, timeout: float = _BUSY) -> bool:
        """Wait until all that was taken is written; whether that was so within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout)

    def close(self) -> None:
        """Write what is waiting, and close the file."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        for connection in [*self._opened, self._connection]:
            connection.close()
        os.close(self._lock)

    # -- the writer's thread --------------------------------------------------------------------

    def _run(self) -> None:
        checked = 0.0
        goes_on = True  # the file may be of a viewer that was allowed more
        while True:
            with self._changed:
                pause = 0.0 if goes_on else _RETENTION_INTERVAL
                self._changed.wait_for(lambda: self._queue or self._clear or self._stopping, pause)
                if self._stopping and not self._queue:
                    return
                batch, size = self._take()
                clear = self._clear
            if clear:
                self._transaction(self._retention.clear)
            self._make_room(min(size * _GROWTH, self.max_size // _MOST_ROOM))
            if batch:
                self._write(batch)
            if time.monotonic() - checked > _RETENTION_INTERVAL:
                self._delete_old()
                checked = time.monotonic()
            with self._changed:
                self._size = self._retention.size()
                goes_on = not self._stuck and not self._retention.has_room(0)
                self._waiting -= size
                self._clear = self._clear and not clear
                self._version += bool(batch) or clear
                self._changed.notify_all()

    def _take(self) -> tuple[list[ExportRequest], int]:
        batch: list[ExportRequest] = []
        taken = 0
        while self._queue and taken < min(_BATCH, self.max_size // _SHARE):
            size, request = self._queue.popleft()
            batch.append(request)
            taken += size
        return batch, taken

    def _write(self, batch: list[ExportRequest]) -> None:
        if self._transaction(lambda: self._rows.write(batch)) is None:
            return
        # One of them may be the reason: the others need not be lost with it.
        for request in batch:
            self._rows.forget()
            error = self._transaction(functools.partial(self._rows.write, [request]))
            if error is not None:
                self._lost += 1
                logger.warning("an export request cannot be written to %s: %s", self.path, error)

    def _make_room(self, wanted: int) -> None:
        """Delete the oldest until so many bytes fit: what is sent faster than that waits in the queue.

        Of a file that was allowed to be larger a part goes at a time, and more than comes.
        """
        enough = self._retention.size() - 2 * wanted
        while not self._retention.has_room(wanted):
            if not self._deletes(self._retention.delete_oldest):
                self._stuck = not self._retention.has_room(0)
                return
            if self._retention.size() <= enough:
                break
        self._stuck = False

    def _delete_old(self) -> None:
        """Delete what is too old, portion after portion, for as long as writing may be held up."""
        end = time.monotonic() + _DELETING
        while self._deletes(self._retention.delete_old) and time.monotonic() < end and not self._stopping:
            pass
        self._transaction(self._retention.delete_orphans)

    def _deletes(self, delete: Callable[[], bool]) -> bool:
        """Whether a portion has gone."""
        error = self._transaction(delete)
        if error is not None:
            logger.warning("nothing can be deleted from %s: %s", self.path, error)
        return error is None and self._deleted

    def _transaction(self, work: Callable[[], object]) -> Exception | None:
        """Do `work` in a transaction; the error if it was rolled back."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._deleted = bool(work())
            self._connection.execute("COMMIT")
        except Exception as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._rows.forget()
            return error
        if self._deleted:
            self._rows.forget()
        return None
