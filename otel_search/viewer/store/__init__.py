"""The viewer's store: telemetry in one SQLite file, written by a thread of its own.

Receivers put export requests into a bounded queue, and the writer empties it in batches, each one
transaction. Pages read through connections of their own, which write-ahead logging lets run beside
the writer. Age and size are bounded: the oldest goes first.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from otel_search.viewer.store.retention import Retention
from otel_search.viewer.store.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_search.viewer.otlp import ExportRequest

SCHEMA_VERSION = 1
MAX_QUEUE = 64 * 1024 * 1024
"""Bytes of export requests that may wait to be written."""

DEFAULT_MAX_SIZE = 512 * 1024 * 1024
DEFAULT_MAX_AGE = 24 * 3600.0

_BATCH = 4 * 1024 * 1024
_RETENTION_INTERVAL = 5.0
_SHRINKING = 0.5
_OVERRUN = 2
"""From how many times what may be kept nothing more is taken until the oldest has gone."""

_BUSY = 30.0

logger = logging.getLogger(__name__)


class StoreError(RuntimeError):
    """The file cannot be used; the message names it and says why."""


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
        max_size: Bytes to keep in it: beyond, the oldest goes, and beyond twice as many nothing more is taken meanwhile.
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
        self._lock = _locked(path)
        try:
            self._connection = _open(path)
        except StoreError:
            os.close(self._lock)
            raise
        self._rows = Rows(self._connection)
        self._retention = Retention(self._connection, max_size=max_size, max_age=max_age)
        self._changed = threading.Condition()
        self._queue: deque[tuple[int, ExportRequest]] = deque()
        self._waiting = 0
        self._version = 0
        self._lost = 0
        self._size = self._retention.size()
        self._clear = False
        self._deleted = False
        self._stopping = False
        self._readers = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._thread = threading.Thread(target=self._run, name="viewer-store", daemon=True)
        self._thread.start()

    # -- for receivers --------------------------------------------------------------------------

    def add(self, request: ExportRequest) -> bool:
        """Take an export request to be written soon.

        Returns:
            False if too much is waiting, or has yet to be deleted: the sender has to come again.
        """
        size = request.ByteSize()
        with self._changed:
            full = self._waiting and self._waiting + size > self._max_queue
            if self._stopping or full or self._size > self.max_size * _OVERRUN:
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
        while True:
            with self._changed:
                pause = 0.0 if self._size > self.max_size else _RETENTION_INTERVAL
                self._changed.wait_for(lambda: self._queue or self._clear or self._stopping, pause)
                if self._stopping and not self._queue:
                    return
                batch, size = self._take()
                clear = self._clear
            if clear:
                self._transaction(self._retention.clear)
            if batch:
                self._write(batch)
            if time.monotonic() - checked > _RETENTION_INTERVAL:
                self._shrink(self._retention.delete_old)
                self._transaction(self._retention.delete_orphans)
                checked = time.monotonic()
            if self._retention.is_too_large:
                self._shrink(self._retention.delete_oldest)
            with self._changed:
                self._size = self._retention.size()
                self._waiting -= size
                self._clear = self._clear and not clear
                self._version += bool(batch) or clear
                self._changed.notify_all()

    def _take(self) -> tuple[list[ExportRequest], int]:
        batch: list[ExportRequest] = []
        taken = 0
        while self._queue and taken < _BATCH:
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

    def _shrink(self, delete: Callable[[], bool]) -> None:
        """Delete portion after portion, for as long as writing may be held up."""
        end = time.monotonic() + _SHRINKING
        while time.monotonic() < end and not self._stopping:
            error = self._transaction(delete)
            if error is not None:
                logger.warning("nothing can be deleted from %s: %s", self.path, error)
                return
            if not self._deleted or (delete == self._retention.delete_oldest and not self._retention.is_too_large):
                return

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


def _locked(path: Path) -> int:
    """The file, for this process alone: two writers would hold up each other."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        # Not the kind of lock that SQLite takes, which this neither gives nor loses.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreError(f"{path} is in use by another viewer: take another file, or end that one") from error
    return descriptor


def _open(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, timeout=1.0, check_same_thread=False, isolation_level=None)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if version != SCHEMA_VERSION and tables:
            raise StoreError(f"{path} is not a file of this version of the viewer: take another file, or delete it")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA temp_store = MEMORY")
        if not tables:
            schema = resources.files(__name__).joinpath("schema.sql").read_text(encoding="utf-8")
            connection.executescript(f"BEGIN; {schema} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be used: {error}") from error
    return connection
