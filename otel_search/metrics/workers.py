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

Who the workers of a server are, and where they meet, is said in `group.py`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import orjson

from otel_search.metrics import merging
from otel_search.metrics.garbage import uncollected
from otel_search.metrics.group import is_held, shared_directory, take
from otel_search.metrics.merging import Merged
from otel_search.metrics.snapshot import Snapshot

_logger = logging.getLogger("otel_search.metrics")

_ASK_SECONDS = 0.5
_WRITE_SECONDS = 1.0
_CARRIED_SECONDS = 10.0
"""Between writings of what else a worker knows, if nobody asks."""
_WORD_SECONDS = 0.1
_METRICS, _ALL_OF_IT = b"m", b"a"
"""What a worker is asked to write."""
_MAX_SHARE = 0.02
"""Of the time, for writing: a worker with a great many series writes less often."""


class Carried(Protocol):
    """What else the workers tell each other, in a form that is none of this room's business."""

    def dump(self) -> bytes:
        """What this process knows, all of it."""

    def load(self, data: bytes) -> None:
        """Go on from what a worker that has ended had dumped."""


class Workers:
    """The workers of this server, this process among them.

    Args:
        snapshot: Reads what this process has measured.
        gauges: Patterns of names of gauges and their aggregations.
        carried: What else is told by the same road.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        gauges: Iterable[tuple[str, str]] = (),
        carried: Carried | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._gauges = tuple(gauges)
        self._carried = carried
        self._lock = threading.Lock()
        self._place: _Place | None = None
        self._pid: int | None = None

    def join(self) -> None:
        """Take a place among the workers of this server; a second call in a process does nothing."""
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            try:
                directory = shared_directory()
                if directory is not None:
                    self._place = _Place(directory, self._snapshot, self._carried)
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

    def carried_by_others(self) -> list[bytes]:
        """What all other workers have dumped, now, and those that have ended at their end; half a second at most."""
        return [] if self._place is None else self._place.carried_by_others()

    def leave(self) -> None:
        """Write what has been counted, once more, before the process ends."""
        if self._place is not None:
            self._place.write()


class _Place:
    """The place of this process.

    Args:
        directory: The group's.
        snapshot: Reads what this process has measured.
        carried: What else is told.
    """

    def __init__(self, directory: Path, snapshot: Callable[[], Snapshot], carried: Carried | None = None) -> None:
        self.directory = directory
        self._snapshot = snapshot
        self._carried = carried
        self._carry_at = 0.0
        self._writing = threading.Lock()
        self._number, self._held = take(directory)
        # What the one before has left is kept apart from what is counted here.
        self._before = merging.of(_parts(directory / f"{self._number}.json"))
        self._took = 0.0
        if carried is not None:
            with contextlib.suppress(OSError):
                carried.load(self._carried_file(self._number).read_bytes())
        self.write()
        self._listener = self._listen()
        threading.Thread(target=self._serve, name="otel-search metrics", daemon=True).start()

    def write(self, *, all_of_it: bool = True) -> Snapshot:
        """Write what has been counted up to now.

        Args:
            all_of_it: Also what is carried, which is written less often else.
        """
        with self._writing:
            began = time.monotonic()
            now = self._snapshot()
            _write(self.directory / f"{self._number}.json", orjson.dumps([self._before, now]))
            if self._carried is not None and (all_of_it or began >= self._carry_at):
                self._carry_at = began + _CARRIED_SECONDS
                _write(self._carried_file(self._number), self._carried.dump())
            self._took = time.monotonic() - began
            return now

    def read_all(self, merged: Merged) -> None:
        """Add up all places."""
        numbers, others = self._numbers()
        asked = _ask(self.directory, others, _METRICS)
        own = self.write(all_of_it=False)
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

    def _numbers(self) -> tuple[list[int], list[int]]:
        """The numbers of all places, and of those that other workers hold."""
        numbers = sorted(int(path.stem) for path in self.directory.glob("*.lock") if path.stem.isdigit())
        return numbers, [each for each in numbers if each != self._number and is_held(self.directory, each)]

    def carried_by_others(self) -> list[bytes]:
        """What is carried in all places but this one."""
        found = []
        _ask(self.directory, self._numbers()[1], _ALL_OF_IT).wait(_ASK_SECONDS)
        for path in self.directory.glob("*.carried"):
            if path != self._carried_file(self._number):
                with contextlib.suppress(OSError):
                    found.append(path.read_bytes())
        return found

    def _carried_file(self, number: int) -> Path:
        return self.directory / f"{number}.carried"

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
                    if asked and self._listener is not None:
                        with self._listener.accept()[0] as connection:
                            self._tell(all_of_it=_word(connection) == _ALL_OF_IT)
                            with contextlib.suppress(OSError):  # who asked has waited long enough
                                connection.send(b".")
                    else:
                        self._tell(all_of_it=False)
                except Exception as error:
                    _logger.debug("metrics could not be written: %s", error)
                    time.sleep(_WRITE_SECONDS)

    def _tell(self, *, all_of_it: bool) -> None:
        with uncollected():
            self.write(all_of_it=all_of_it)


def _word(connection: socket.socket) -> bytes:
    """What is asked for."""
    connection.settimeout(_WORD_SECONDS)
    try:
        return connection.recv(1)
    except OSError:
        return _METRICS


def _write(path: Path, data: bytes) -> None:
    fresh = path.with_suffix(f"{path.suffix}.new")
    fresh.write_bytes(data)
    fresh.replace(path)


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


def _ask(directory: Path, numbers: Iterable[int], what: bytes) -> _Asked:
    asked = _Asked()
    for number in numbers:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(str(directory / f"{number}.sock"))
            connection.send(what)
        except OSError:
            connection.close()
        else:
            asked.add(connection)
    return asked


def _parts(path: Path) -> list[Any]:
    """What a worker has written, or nothing if there is no such file yet."""
    try:
        parts = orjson.loads(path.read_bytes())
        if isinstance(parts, list):
            return parts
        why = "it is no array"
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
    _say_unreadable(why, path)
    return []


@functools.lru_cache(maxsize=64)
def _say_unreadable(why: str, path: Path) -> None:
    """Once for each file, as long as it is for the same reason."""
    _logger.warning("what a worker has counted cannot be read (%s), /metrics goes without it: %s", why, path)
