"""The end of a process's telemetry: everything leaves, within one bound for all signals together."""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from otel_search.delivery import batches as batching
from otel_search.delivery.batches import batches, counted, data_points
from otel_search.delivery.flush import Flushers
from otel_search.delivery.forks import renew_connections, start_metrics_anew
from otel_search.delivery.losses import losses, say


class Provider(Protocol):
    """What the three SDK providers have in common."""

    def force_flush(self, timeout_millis: int = ...) -> bool:
        """Export what is waiting."""

    def shutdown(self) -> None:
        """Export what is waiting and end."""


class Delivery:
    """The delivery of this process's telemetry when its server stops, and when it ends itself.

    Args:
        timeout: Seconds that the end of the process may wait for all signals together.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.before_flush: Callable[[], None] = lambda: None
        """Hands over what the providers do not know of yet."""
        self._providers: dict[str, Provider] = {}
        self._ours: set[str] = set()
        self._flushers = Flushers()
        self._start()

    def _start(self) -> None:
        self._lock = threading.RLock()
        self._left = self.timeout
        self._drained_at: float | None = None
        self._reported = False
        self.ending = self.ended = False
        batching.on_log_record = None

    def take_over(self, signal: str, provider: Any, *, end: bool = True) -> None:
        """Flush an SDK provider when the server stops.

        Args:
            signal: `traces`, `metrics` or `logs`.
            provider: The SDK's provider.
            end: Whether its end, too, is our business, and not its owner's.
        """
        self._providers[signal] = provider
        self._flushers.start(signal)
        if not end:
            return
        self._ours.add(signal)
        for name in ("_atexit_handler", "_at_exit_handler"):  # each of the SDK's three has no time limit
            handler = getattr(provider, name, None)
            if handler is not None:
                atexit.unregister(handler)
                setattr(provider, name, None)
        if signal == "metrics":
            for reader in _readers(provider):
                exporter = getattr(reader, "_exporter", None)
                if exporter is not None:
                    counted(exporter, "metrics", data_points)

    def drain(self) -> None:
        """The server has stopped serving: flush now, and let what is still logged leave at once."""
        self._drained_at = time.monotonic()
        batching.on_log_record = self._after_the_drain
        if not self.flush():
            self._report()

    def resume(self) -> None:
        """Another server starts in this process."""
        self._drained_at = None
        self._left = self.timeout
        self._reported = False
        batching.on_log_record = None

    def _after_the_drain(self) -> None:
        # The server's last lines come after its lifespan, and possibly nothing comes after them. But a
        # process that goes on without its server does not flush at each line for ever.
        drained_at = self._drained_at
        if drained_at is None or time.monotonic() - drained_at > self.timeout:
            batching.on_log_record = None
        elif not self._flushers.are_calling():
            self.flush("logs")

    def flush(self, only: str | None = None) -> bool:
        """Export everything that is waiting, all signals at once, within the time that is left.

        Args:
            only: The one signal to flush.

        Returns:
            Whether everything left in time. Time that was waited in vain is not waited again.
        """
        functions = {name: provider.force_flush for name, provider in self._providers.items() if only in (None, name)}
        return self._within_what_is_left(functions)

    def _within_what_is_left(self, functions: dict[str, Any]) -> bool:
        self.before_flush()
        with self._lock:
            if self._left <= 0 or not functions:
                return not functions
            started = time.monotonic()
            done = self._flushers.within(self._left, functions)
            self._left = self.timeout if done else max(0.0, self._left - (time.monotonic() - started))
            return done

    def end(self) -> None:
        """End the providers, which flushes them, and say what was lost in the life of this process.

        A second interrupt by the keyboard ends the waiting.
        """
        if self.ending:
            return
        self.ending = True
        losses.prepare()  # what is lost is known when the providers have ended
        functions = {
            name: provider.shutdown if name in self._ours else provider.force_flush
            for name, provider in self._providers.items()
        }
        with contextlib.suppress(KeyboardInterrupt):
            self._within_what_is_left(functions)
        self._report()
        self.ended = True

    def _report(self) -> None:
        """Count what is still waiting as lost, and say once what is lost."""
        if self._reported:
            return
        for signal, count in batches.waiting().items():
            losses.count(signal, "shutdown_timeout", count)
        lost = losses.totals()
        if lost:
            self._reported = True
            say(logging.WARNING, "telemetry was lost", dropped=sum(lost.values()), **lost)

    def after_fork(self) -> None:
        """The child has its own time, threads, locks, connections, counts and losses."""
        self._start()
        losses.after_fork()
        batches.after_fork()
        renew_connections()
        if "metrics" in self._ours:
            start_metrics_anew(self._providers["metrics"])
        self._flushers.restart()


def _readers(provider: Any) -> Any:
    return getattr(provider, "_metric_readers", ()) or getattr(
        getattr(provider, "_sdk_config", None), "metric_readers", ()
    )
