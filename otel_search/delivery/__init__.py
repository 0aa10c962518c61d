"""Delivery: nothing is lost without being counted, nothing waits without a bound.

The SDK's exporters and batch processors do the work. Around them:

- Each failed batch and each item that found its queue full is counted in `search.telemetry.dropped`
  and said once when it begins and once when it is over, instead of line by line by the exporter.
- A forked child gets fresh connections: a keep-alive socket shared with the parent mixes up requests.
- The end of the process keeps its bound, which the SDK's own `force_flush` ignores, and keeps it once
  for all signals and all calls, since a server's end has several moments worth a flush.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable

from otel_search.delivery import forks
from otel_search.delivery.batches import counted, log_batches, span_batches
from otel_search.delivery.end import Delivery
from otel_search.delivery.end_by_signal import EndBySignal
from otel_search.delivery.fast_encoding import encode_faster
from otel_search.delivery.forks import exporter_arguments
from otel_search.delivery.losses import losses

__all__ = [
    "Delivery",
    "counted",
    "current",
    "encode_faster",
    "exporter_arguments",
    "log_batches",
    "losses",
    "span_batches",
    "start",
    "watch_process",
]

_current: Delivery | None = None


def start(timeout: float) -> Delivery:
    """The delivery of this process, made at the first call.

    Args:
        timeout: Seconds that the end of the process may wait for all signals together.
    """
    global _current
    if _current is None:
        _current = Delivery(timeout)
    return _current


def watch_process(delivery: Delivery, in_child: Callable[[], None] | None = None) -> None:
    """End the delivery when the process ends, and let it start anew in forked children.

    To be called when the providers are there: in a child their own hooks have to come first.

    Args:
        delivery: The delivery of this process.
        in_child: What else to do in each forked child.
    """
    atexit.register(delivery.end)
    EndBySignal(delivery).install()
    forks.after_fork(delivery.after_fork)
    if in_child is not None:
        forks.after_fork(in_child)


def current() -> Delivery | None:
    """The delivery of this process, if its telemetry was set up."""
    return _current
