"""Several workers answer as one.

How: the workers of one server share a directory, in which each holds a numbered place by a lock of
the kernel, for as long as it lives. Into its place it writes what it has counted: once a second, when
it ends, and whenever another worker, which is being scraped, asks it to by a socket beside. Who is
scraped adds up all places. A worker that takes a place over from one that has ended keeps the counts
it finds there and begins beside them: so the sum never goes backwards, and there are never more files
than there were workers at once.

Why that way: a lock ends with its process, however it ends, so nobody has to notice a death, and no
process id is ever taken for another's. What is not answered in time was written at most a second or
so ago, so a worker that hangs delays a scrape by a bound and is missed for nothing. A `kill -9` loses
that second at most. There is no server beside the workers, and no write to a file in a request:
prometheus_client's way, values in memory-mapped files, pays for each measurement, grows by a file for
each process that ever was, and holds no metrics of the SDK. One process alone has no directory.

The workers of a server are the children of one process: a group is named after that process and the
moment of its start.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import multiprocessing
import os
import selectors
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import orjson
import psutil

from otel_search.metrics import merging
from otel_search.metrics.merging import Merged
from otel_search.metrics.snapshot import Snapshot

_logger = logging.getLogger("otel_search.metrics")

_ORIGIN = os.getpid()
_MAX_PLACES = 512
_ASK_SECONDS = 0.5
_WRITE_SECONDS = 1.0
_MAX_SHARE = 0.02
"""Of the time, for writing: a worker with a great many series writes less often."""


class Workers:
    """The workers of this server, this process among them.

    Args:
        snapshot: Reads what this process has measured.
        gauges: Patterns of names of gauges and their aggregations.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], gauges: Iterable[tuple[str, str]] = ()) -> None:
        self._snapshot = snapshot
        self._gauges = tuple(gauges)
        self._lock = threading.Lock()
        self._place: _Place | None = None
        self._pid: int | None = None

    def join(self) -> None:
        """Take a place among the workers of this server; a second call in a process does nothing."""
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            group = _group()
            if group is None:
                return
            try:
                self._place = _Place(_directory(group), self._snapshot)
            except OSError as error:
                _logger.warning("/metrics tells of one worker alone: there is no directory to share: %s", error)

    @property
    def directory(self) -> Path | None:
        """The directory that the workers share, or `None` if this process serves alone."""
        return None if self._place is None else self._place.directory

    def merged(self) -> Merged:
        """The metrics of all workers; takes half a second at most beyond what this process needs itself."""
        merged = Merged(self._gauges)
        if self._place is None:
            merged.add(self._snapshot())
        else:
            self._place.read_all(merged)
        return merged

    def leave(self) -> None:
        """Write what has been counted, once more, before the process ends."""
        if self._place is not None:
            self._place.write()


class _Place:
    """The place of this process.

    Args:
        directory: The group's.
        snapshot: Reads what this process has measured.
    """

    def __init__(self, directory: Path, snapshot: Callable[[], Snapshot]) -> None:
        self.directory = directory
        self._snapshot = snapshot
        self._writing = threading.Lock()
        self._number, self._held = _take(directory)
        # What the one before has left is kept apart from what is counted here.
        self._before = merging.of(_parts(directory / f"{self._number}.json"))
        self._took = 0.0
        self.write()
        self._listener = self._listen()
        threading.Thread(target=self._serve, name="otel-search metrics", daemon=True).start()

    def write(self) -> Snapshot:
        """Write what has been counted up to now."""
        with self._writing:
            began = time.monotonic()
            now = self._snapshot()
            path = self.directory / f"{self._number}.json"
            fresh = path.with_suffix(".new")
            fresh.write_bytes(orjson.dumps([self._before, now]))
            fresh.replace(path)
            self._took = time.monotonic() - began
            return now

    def read_all(self, merged: Merged) -> None:
        """Add up all places."""
        numbers = sorted(int(path.stem) for path in self.directory.glob("*.lock") if path.stem.isdigit())
        others = [number for number in numbers if number != self._number and _is_held(self.directory, number)]
        asked = _ask(self.directory, others)
        own = self.write()
        asked.wait(_ASK_SECONDS)
        for number in numbers:
            if number == self._number:
                before, now = self._before, own
            else:
                parts = _parts(self.directory / f"{number}.json")
                if len(parts) != 2:
                    continue
                before, now = parts
            merged.add(before, living=False)
            merged.add(now, living=number == self._number or number in others, worker=str(number))

    def _listen(self) -> socket.socket | None:
        path = self.directory / f"{self._number}.sock"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.listen(16)
        except OSError as error:
            listener.close()
            _logger.debug("other workers read what this one has written last: %s", error)
            return None
        return listener

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            if self._listener is not None:
                selector.register(self._listener, selectors.EVENT_READ)
            while True:
                asked = selector.select(max(_WRITE_SECONDS, self._took / _MAX_SHARE))
                try:
                    connections = [self._listener.accept()[0]] if asked and self._listener is not None else []
                    self.write()
                    for connection in connections:
                        with connection:
                            connection.send(b".")
                except Exception as error:
                    _logger.debug("metrics could not be written: %s", error)
                    time.sleep(_WRITE_SECONDS)


class _Asked:
    """Workers that were asked to write."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._open: list[socket.socket] = []

    def add(self, connection: socket.socket) -> None:
        self._open.append(connection)
        self._selector.register(connection, selectors.EVENT_READ)

    def wait(self, seconds: float) -> None:
        """Until all have written, or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        waiting = len(self._open)
        while waiting and (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                self._selector.unregister(key.fileobj)
                waiting -= 1
        self._selector.close()
        for connection in self._open:
            connection.close()


def _ask(directory: Path, numbers: Iterable[int]) -> _Asked:
    asked = _Asked()
    for number in numbers:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(str(directory / f"{number}.sock"))
        except OSError:
            connection.close()
        else:
            asked.add(connection)
    return asked


def _take(directory: Path) -> tuple[int, IO[bytes]]:
    for number in range(_MAX_PLACES):
        held = (directory / f"{number}.lock").open("ab")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            held.close()
        else:
            return number, held
    raise OSError(f"{_MAX_PLACES} workers are there already")


def _is_held(directory: Path, number: int) -> bool:
    with contextlib.suppress(OSError), (directory / f"{number}.lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _parts(path: Path) -> list[Any]:
    try:
        parts = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    return parts if isinstance(parts, list) else []


def shared_directory() -> Path | None:
    """What the workers of this server share, made if it is not there; `None` if this process serves alone.

    Raises:
        OSError: It cannot be made, or is open to others.
    """
    group = _group()
    return None if group is None else _directory(group)


def _group() -> str | None:
    """The name of the group that this process is a worker of, or `None` if it serves alone."""
    spawned = multiprocessing.parent_process() is not None or "--multiprocessing-fork" in sys.orig_argv
    forked = os.getpid() != _ORIGIN or "gunicorn.arbiter" in sys.modules
    if not spawned and not forked:
        return None
    return f"{os.getppid()}-{_started(os.getppid())}"


def _started(pid: int) -> str:
    try:
        # In ticks since the machine's start: seconds since the epoch would move with its clock.
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return f"{psutil.Process(pid).create_time():.0f}"


def _directory(group: str) -> Path:
    base = Path(tempfile.gettempdir()) / f"otel-search-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    status = base.lstat()
    if status.st_uid != os.getuid() or not base.is_dir() or base.is_symlink() or status.st_mode & 0o077:
        raise PermissionError(f"{base} belongs to somebody else, or is open to others")
    _sweep(base)
    directory = base / f"{group.partition('-')[0]}-{hashlib.sha256(group.encode()).hexdigest()[:12]}"
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / "group").write_text(group, encoding="ascii")
    return directory


def _sweep(base: Path) -> None:
    """Remove what servers have left that are no more."""
    for directory in base.iterdir():
        try:
            pid, _, started = (directory / "group").read_text(encoding="ascii").partition("-")
            gone = not psutil.pid_exists(int(pid)) or _started(int(pid)) != started
        except (OSError, ValueError, psutil.Error):
            continue  # it is just being made
        locks = [int(path.stem) for path in directory.glob("*.lock") if path.stem.isdigit()]
        if gone and not any(_is_held(directory, number) for number in locks):
            shutil.rmtree(directory, ignore_errors=True)
