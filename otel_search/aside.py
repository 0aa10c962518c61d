"""Work beside the event loop: in a thread of its own, and without telemetry.

Not in a pool: the application's own work may fill it, and what waits behind that cannot tell how it
goes. Not in threads that Python waits for at its end either: what hangs would hold the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context as Variables
from random import getrandbits
from typing import TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

from otel_search.context import EXCLUDED

T = TypeVar("T")


def context_without_telemetry() -> otel_context.Context:
    """A context in which instrumentations do nothing, and spans made by hand are not recorded."""
    unsampled = trace.SpanContext(getrandbits(128) or 1, getrandbits(64) or 1, is_remote=False)
    context = trace.set_span_in_context(trace.NonRecordingSpan(unsampled))
    return otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, EXCLUDED, context)


def in_thread(function: Callable[[], T], name: str) -> Future[T]:
    """Call `function` in a daemon thread of its own, without telemetry.

    Args:
        function: What to call.
        name: The thread's name, after `otel-search`.

    Returns:
        What will have come of it.
    """
    future: Future[T] = Future()

    def run() -> None:
        future.set_running_or_notify_cancel()
        try:
            otel_context.attach(context_without_telemetry())
            result = function()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=Variables().run, args=(run,), name=f"otel-search {name}", daemon=True).start()
    return future
