"""What waits in the spool is sent again by a thread of its own: no new record is needed for that, and none waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import Context as Variables

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

from otel_search.log_exporter.bulk import Bulk, UnavailableError
from otel_search.log_exporter.spool import Spool

_logger = logging.getLogger("otel_search.log_exporter")

_OTHERS_SECONDS = 1.0
"""How long to leave the spool to another worker that replays it."""


class Replay:
    """Empties the spool whenever there is something in it and Elasticsearch takes it.

    Args:
        spool: Where records wait.
        bulk: What sends them.
        ended: Set when there is no time left.
    """

    def __init__(self, spool: Spool, bulk: Bulk, ended: threading.Event) -> None:
        self._spool = spool
        self._bulk = bulk
        self._ended = ended
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Something waits: see that it is sent, unless that is being done already."""
        with self._lock:
            if self._thread is not None or self._ended.is_set():
                return
            self._thread = threading.Thread(
                target=Variables().run, args=(self._run,), name="otel-search spool", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is ending: the next process finds the spool
                self._thread = None

    def _run(self) -> None:
        # As the batch processor's own thread: what HTTP libraries do and say here is no telemetry.
        otel_context.attach(otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True))
        sent = 0

        def send(body: bytes) -> None:
            nonlocal sent
            sent += self._bulk.send_spooled(body)

        while not self._ended.wait(self._bulk.rests_for):
            if not self._attempt(send):
                continue
            with self._lock:
                if self._spool.is_waiting:  # since the attempt
                    continue
                self._thread = None
            if sent:
                _logger.info("the spool is empty again, %d log records have been sent from it", sent)
            return

    def _attempt(self, send: Callable[[bytes], None]) -> bool:
        """Whether nothing was left to send."""
        try:
            if self._spool.replay(send):
                return True
            self._ended.wait(_OTHERS_SECONDS)
        except (UnavailableError, OSError) as error:
            self._bulk.rest(error)
        return False
