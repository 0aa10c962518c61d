"""Who came, for how long, and what was asked: the KPIs that no metric can carry.

Without the extra `kpis` nothing is kept, and these KPIs are `null`.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from otel_search import semconv
from otel_search.context import Caller
from otel_search.kpis.stays import LONGEST, mean_length
from otel_search.query import shapes

_logger = logging.getLogger("otel_search.kpis")

_TOP = 10
_MISSING = "needs datasketches: pip install 'otel-search[kpis]'"
_NO_USER = "no request said who its user is (otel_search.identify, OTEL_SEARCH_CALLERS)"
_NO_SESSION = "no request said which session it belongs to (otel_search.identify, OTEL_SEARCH_CALLERS)"
_NO_SHAPE = "no search was traced or logged"
UNIQUE_USERS, SESSION_LENGTH, TOP_SHAPES, SLOWEST_SHAPES = (
    "unique_users",
    "session_length",
    "top_query_shapes",
    "slowest_query_shapes",
)
REASONS = {
    UNIQUE_USERS: _NO_USER,
    SESSION_LENGTH: _NO_SESSION,
    TOP_SHAPES: _NO_SHAPE,
    SLOWEST_SHAPES: _NO_SHAPE,
}


class Visits:
    """What one worker knows of its visitors.

    Args:
        clock: Seconds since the epoch.
        window: Seconds that are looked back.
    """

    def __init__(self, clock: Callable[[], float] = time.time, window: float = 3600.0) -> None:
        self._clock = clock
        self._window = window
        self._lock = threading.Lock()
        self._slots: dict[str, Any] = {}
        self._said = False
        if importlib.util.find_spec("datasketches") is not None:
            from otel_search.kpis.sketches import SESSIONS, SHAPES, USERS, Slots

            self._slots = {
                "users": Slots(USERS, window),
                "sessions": Slots(SESSIONS, window + LONGEST),
                "counts": Slots(SHAPES, window),
                "times": Slots(SHAPES, window),
            }
            # The library complains of what is there still when the interpreter ends.
            atexit.register(self.clear)

    @property
    def reasons(self) -> dict[str, str]:
        """Why a KPI is not known, if it is not."""
        return REASONS if self._slots else dict.fromkeys(REASONS, _MISSING)

    def watch_searches(self) -> None:
        """Be told of searches from now on."""
        if self._slots:
            shapes.listen(self.searched)

    def visited(self, caller: Caller) -> None:
        """A request of this caller has ended."""
        user, session = caller.attributes.get(semconv.ENDUSER_PSEUDO_ID), caller.attributes.get(semconv.SESSION_ID)
        now = self._clock()
        with self._lock:
            if not self._slots:
                return
            if user is not None:
                self._slots["users"].at(now).update(user)
            if session is not None:
                self._slots["sessions"].at(now).update(session, now)

    def searched(self, shape: str, summary: str, seconds: float) -> None:
        """A search has ended.

        Args:
            shape: The hash of its query without values.
            summary: What kind of query it is on what.
            seconds: How long it took.
        """
        key, now = f"{shape} {summary[:200]}", self._clock()
        with self._lock:
            if self._slots:
                self._slots["counts"].at(now).update(key)
                self._slots["times"].at(now).update(key, max(1, round(seconds * 1e6)))

    def dump(self) -> bytes:
        """All of it, for others and for later."""
        now = self._clock()
        with self._lock:
            return orjson.dumps({name: slots.dump(now) for name, slots in self._slots.items()})

    def load(self, data: bytes) -> None:
        """Add what `dump` has given; what cannot be read is left out, and that is said once."""
        try:
            self._add(data)
        except Exception as error:
            self._say(error, "")

    def _add(self, data: bytes) -> None:
        told = orjson.loads(data)
        with self._lock:
            for name, slots in self._slots.items():
                slots.load(told.get(name, {}))

    def _say(self, error: Exception, where: str) -> None:
        if not self._said:
            self._said = True
            what = f"{type(error).__name__}: {error}"
            _logger.warning(
                "what another worker knew of its visitors (<number>.carried%s) cannot be read, KPIs go without it: %s",
                where,
                what,
            )

    def report(self, others: Iterable[bytes] = (), directory: Path | None = None) -> dict[str, Any]:
        """The KPIs that are known, by name.

        Args:
            others: What other workers have dumped.
            directory: Where that lay.
        """
        if not self._slots:
            return {}
        everybody = Visits(self._clock, self._window)
        try:
            for data in (self.dump(), *others):
                try:
                    everybody._add(data)
                except Exception as error:
                    self._say(error, f" in {directory}" if directory is not None else "")
            return everybody._report()
        finally:
            everybody.clear()
            atexit.unregister(everybody.clear)

    def _report(self) -> dict[str, Any]:
        from otel_search.kpis.sketches import SESSIONS, SHAPES, USERS, frequent

        start = self._clock() - self._window
        found: dict[str, Any] = {}
        users = USERS.merged(self._slots["users"].since(start)).get_estimate()
        if users > 0:
            found[UNIQUE_USERS] = float(round(users))
        sessions = SESSIONS.merged(self._slots["sessions"].since(start - LONGEST))
        length = mean_length((stays for _, stays in sessions), start)
        if length is not None:
            found[SESSION_LENGTH] = length
        counts = dict(frequent(SHAPES.merged(self._slots["counts"].since(start))))
        times = dict(frequent(SHAPES.merged(self._slots["times"].since(start))))
        if counts:
            whole = sum(counts.values())
            seen = [_shape(key, count, whole, times.get(key)) for key, count in counts.items()]
            found[TOP_SHAPES] = sorted(seen, key=lambda each: -each["searches"])[:_TOP]
            timed = [each for each in seen if each["mean_seconds"] is not None]
            found[SLOWEST_SHAPES] = sorted(timed, key=lambda each: -each["mean_seconds"])[:_TOP]
        return found

    def clear(self) -> None:
        """Forget all of it, and keep nothing from now on."""
        shapes.unlisten(self.searched)
        with self._lock:
            for slots in self._slots.values():
                slots.clear()
            self._slots = {}


def _shape(key: str, count: int, whole: int, microseconds: int | None) -> dict[str, Any]:
    name, _, summary = key.partition(" ")
    return {
        "shape": None if name == "-" else name,
        "summary": summary,
        "searches": count,
        "share": round(count / whole, 6),
        "mean_seconds": None if microseconds is None else round(microseconds / count / 1e6, 6),
    }
