"""The viewer's file: who may write to it, and how it is opened."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
import time
from importlib import resources
from pathlib import Path

SCHEMA_VERSION = 1

_PREFIX = "otel-search-viewer-"
_NAME = "telemetry.db"
_NEW = 60.0
"""Seconds in which a file may be there and not yet locked."""


class StoreError(RuntimeError):
    """The file cannot be used; the message names it and says why."""


def temporary() -> Path:
    """A file in a new directory of its own; what viewers that were killed have left is deleted."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_NAME}"):
        with contextlib.suppress(OSError, StoreError):
            if left.parent.lstat().st_uid == os.getuid() and time.time() - left.stat().st_mtime > _NEW:
                descriptor = locked(left)
                try:
                    shutil.rmtree(left.parent)
                finally:
                    os.close(descriptor)
    return Path(tempfile.mkdtemp(prefix=_PREFIX)) / _NAME


def locked(path: Path) -> int:
    """The file, for this process alone: two writers would hold up each other.

    Returns:
        A descriptor, which holds the lock until it is closed.

    Raises:
        StoreError: The file cannot be opened, or another process has it.
    """
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


def opened(path: Path, log: int) -> sqlite3.Connection:
    """A connection that may write; a file that is not there yet gets its tables.

    Args:
        path: The file.
        log: Bytes that SQLite's log beside it may keep.

    Raises:
        StoreError: It is no such file, or cannot be used.
    """
    try:
        connection = sqlite3.connect(path, timeout=1.0, check_same_thread=False, isolation_level=None)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if version != SCHEMA_VERSION and tables:
            raise StoreError(f"{path} is not a file of this version of the viewer: take another file, or delete it")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {log}")
        # Written back in time: the transaction that comes after makes it longer, too.
        connection.execute(f"PRAGMA wal_autocheckpoint = {max(1, log // 4 // 4096)}")
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA temp_store = MEMORY")
        if not tables:
            schema = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
            connection.executescript(f"BEGIN; {schema} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be used: {error}") from error
    return connection
