"""Ids and times that are the same in each run of a test."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from unittest.mock import patch

from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs import _internal as sdk_logs
from opentelemetry.sdk.trace.id_generator import IdGenerator

START = datetime(2026, 1, 1, tzinfo=UTC)
"""When each test begins."""

TICK = 0.001
"""Seconds from one reading of the clock to the next."""


class FixedIds(IdGenerator):
    """Counts: the first trace of a test has the id 1, and so has its first span."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin with 1 again."""
        self._traces, self._spans = itertools.count(1), itertools.count(1)

    def generate_trace_id(self) -> int:
        """The next trace id."""
        return next(self._traces)

    def generate_span_id(self) -> int:
        """The next span id."""
        return next(self._spans)


class FixedClock:
    """The clock of a test's spans and log records: it moves by `tick` at each reading, and when it is told to.

    Attributes:
        tick: Seconds from one reading to the next.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.tick = TICK
        self._now = int(START.timestamp()) * 1_000_000_000

    @property
    def now(self) -> datetime:
        """What it shows, without moving it."""
        return datetime.fromtimestamp(self._now / 1e9, UTC)

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: How much.
        """
        with self._lock:
            self._now += round(seconds * 1e9)

    def read(self) -> int:
        """The time in nanoseconds since the epoch; each reading is later than the one before."""
        with self._lock:
            now = self._now
            self._now += round(self.tick * 1e9)
            return now

    @contextlib.contextmanager
    def in_charge(self) -> Iterator[None]:
        """Let the SDK read this clock in place of the system's."""
        with patch.object(sdk_trace, "time_ns", self.read), patch.object(sdk_logs, "time_ns", self.read):
            yield


class Stamp(LogRecordProcessor):
    """Gives log records the time of the clock that is in charge: libraries take theirs from the system's."""

    def __init__(self) -> None:
        self.clock: FixedClock | None = None

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Set the record's time."""
        if self.clock is not None:
            now = self.clock.read()
            log_record.log_record.timestamp = log_record.log_record.observed_timestamp = now

    def shutdown(self) -> None:
        """Nothing to do."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the interface's
        """Nothing waits."""
        return True
