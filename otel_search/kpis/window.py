"""A rolling window over sums: samples once a minute, as many as the window has minutes.

All workers share the samples, in one file beside their places, so that it makes no difference which
of them is asked, nor that it has only just started. What cannot be read of it is said once, and the
window goes on with what this worker knows.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from otel_search.kpis.totals import Totals

Sample = tuple[float, Totals]

_logger = logging.getLogger("otel_search.kpis")


class Window:
    """The last hour, or less as long as there is less.

    Args:
        seconds: Its length.
        step: Seconds between samples.
        clock: Seconds since the epoch.
    """

    def __init__(self, seconds: float = 3600.0, step: float = 60.0, clock: Callable[[], float] = time.time) -> None:
        self.seconds = seconds
        self.step = step
        self._clock = clock
        self._lock = threading.Lock()
        self._samples: list[Sample] = []
        self._said = ""

    def sample(self, totals: Totals, shared: Path | None = None) -> None:
        """Keep what is counted now, if the last sample is old enough.

        Args:
            totals: The sums now.
            shared: The file that all workers share, if there are several.
        """
        with self._lock:
            self._read(shared)
            now = self._clock()
            if self._samples and now - self._samples[-1][0] < self.step * 0.9:
                return
            # One that is as old as the window is kept, to begin with.
            old = [sample for sample in self._samples if sample[0] <= now - self.seconds]
            self._samples = [
                *old[-1:],
                *(each for each in self._samples if each[0] > now - self.seconds),
                (now, totals),
            ]
            if shared is not None:
                fresh = shared.with_suffix(f".{threading.get_native_id()}.new")
                fresh.write_bytes(orjson.dumps([(when, _finite(sums)) for when, sums in self._samples]))
                fresh.replace(shared)

    def start(self, shared: Path | None = None) -> Sample | None:
        """Where the window begins: a moment and the sums then."""
        with self._lock:
            self._read(shared)
            begin = self._clock() - self.seconds
            old = [sample for sample in self._samples if sample[0] <= begin]
            return old[-1] if old else next(iter(self._samples), None)

    def _read(self, shared: Path | None) -> None:
        if shared is None:
            return
        try:
            told = orjson.loads(shared.read_bytes())
            self._samples = [
                (float(when), {str(name): float(value) for name, value in totals.items()}) for when, totals in told
            ]
        except FileNotFoundError:
            return
        except (AttributeError, OSError, TypeError, ValueError) as error:
            said = f"{type(error).__name__}: {error}"
            if said != self._said:
                self._said = said
                _logger.warning("the samples of KPIs in %s cannot be read, their window begins anew: %s", shared, said)


def _finite(totals: Totals) -> Totals:
    """What JSON has numbers for."""
    return {name: value for name, value in totals.items() if math.isfinite(value)}
