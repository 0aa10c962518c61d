"""Repetitive lines: of each event and level the first ones of a second, then one of many, with the number of those left out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from otel_search.settings.values import Sampling

_MAX_KEYS = 1_000
_SECOND = 1.0


class Sampler:
    """Decides which lines are kept. Bounded: of more events than it remembers, those without a line for longest are forgotten.

    Args:
        chosen: How many of a second, and one of how many then.
        left_out: Told how many lines were left out, a second's together.
        clock: Seconds that never go backwards.
    """

    def __init__(
        self, chosen: Sampling, left_out: Callable[[int], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first = chosen.first
        self._then = chosen.then
        self._up_to = chosen.level
        self._told = left_out
        self._clock = clock
        # Reentrant: a signal handler may log in the midst of a log call.
        self._lock = threading.RLock()
        self._second = -_SECOND
        # By logger, event and level: how many came in this second, and how many were left out since the last line.
        self._seen: dict[tuple[str, str, int], list[int]] = {}
        self._untold = 0

    def admits(self, logger: str, event: str, level: int) -> int | None:
        """Whether a line is kept.

        Args:
            logger: The logger's name.
            event: What happened, without what differs from one time to the next.
            level: As in `logging`.

        Returns:
            How many like it were left out before it, or `None` if it is left out itself.
        """
        if level > self._up_to:
            return 0
        with self._lock:
            now = self._clock()
            if now - self._second >= _SECOND:
                self._second = now
                self._begin()
            key = (logger, event, level)
            counts = self._seen.pop(key, None) or [0, 0]
            if len(self._seen) >= _MAX_KEYS:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = counts
            counts[0] += 1
            if counts[0] > self._first and (counts[0] - self._first) % self._then:
                counts[1] += 1
                self._untold += 1
                return None
            left_out, counts[1] = counts[1], 0
            return left_out

    def _begin(self) -> None:
        """A new second; what was left out stays known until the next line says it."""
        self._seen = {key: [0, left_out] for key, (_, left_out) in self._seen.items() if left_out}
        self.settle()

    def settle(self) -> None:
        """Tell what has not been told yet."""
        untold, self._untold = self._untold, 0
        if untold:
            self._told(untold)
