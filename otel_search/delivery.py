"""How telemetry leaves the process: what is lost is counted, a fork is survived, the end is bounded.

The SDK's exporters and batch processors do the work. Around them:

- Each failed batch and each item that found its queue full is counted in `search.telemetry.dropped`
  and said once when it begins and once when it is over, instead of line by line by the exporter.
- A forked child gets fresh connections: a keep-alive socket shared with the parent mixes up requests.
- `flush()` keeps its bound, which the SDK's own `force_flush` ignores, and keeps it once for all
  signals and all calls, since a server's end has several moments worth a flush.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import signal
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

import requests
from opentelemetry import context as otel_context
from opentelemetry import metrics
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from requests.adapters import HTTPAdapter

from otel_search import encoding, semconv

_logger = logging.getLogger("otel_search.delivery")


class Provider(Protocol):
    """What the three SDK providers have in common."""

    def force_flush(self, timeout_millis: int = ...) -> bool:
        """Export what is waiting."""

    def shutdown(self) -> None:
        """Export what is waiting and end."""


class Losses:
    """Counts what could not be delivered, and says it when a loss begins and when it is over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[tuple[str, str]] = Counter()
        self._failing: dict[str, int] = {}
        self._counter: Any = None

    def add(self, signal: str, reason: str, count: int, cause: str = "") -> None:
        """`count` items of `signal` (`traces`, `metrics`, `logs`) are lost because of `reason`."""
        with self._lock:
            self._totals[signal, reason] += count
            key = f"{signal} {reason}"
            first = key not in self._failing
            self._failing[key] = self._failing.get(key, 0) + count
            if self._counter is None:
                self._counter = semconv.TELEMETRY_DROPPED.on(metrics.get_meter(semconv.SCOPE))
        self._counter.add(count, {"search.telemetry.signal": signal, "search.telemetry.reason": reason})
        if first:
            _say(
                logging.WARNING,
                "telemetry is being lost",
                signal=signal,
                reason=reason,
                dropped=count,
                **({"cause": cause} if cause else {}),
            )

    def delivered(self, signal: str) -> None:
        """A batch of `signal` arrived: say what was lost before it, if anything was."""
        if not self._failing:  # the usual case, without the lock
            return
        with self._lock:
            lost = {key: self._failing.pop(key) for key in list(self._failing) if key.startswith(f"{signal} ")}
        if lost:
            _say(logging.INFO, "telemetry is delivered again", signal=signal, dropped=sum(lost.values()))

    def totals(self) -> dict[str, int]:
        """All losses of this process so far, by `signal reason`."""
        with self._lock:
            return {f"{signal} {reason}": count for (signal, reason), count in sorted(self._totals.items())}

    def after_fork(self) -> None:
        """A child starts with no losses of its own."""
        self.__init__()  # type: ignore[misc]


losses = Losses()


def _say(level: int, message: str, **fields: Any) -> None:
    # Marked as telemetry's own, so that the line is written and not exported: it would be lost as well.
    token = otel_context.attach(otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True))
    try:
        _logger.log(level, message, extra={"otel_search_fields": fields})
    finally:
        otel_context.detach(token)


class _LastWords(logging.Filter):
    """Keeps what an exporter says of a failure to its own thread, as the cause in our one line."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        self._heard.text = record.getMessage()
        return False

    def forget(self) -> None:
        self._heard.text = ""

    def heard(self) -> str:
        return str(getattr(self._heard, "text", ""))


_last_words = _LastWords()
_EXPORTERS_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.sdk._shared_internal",
)


def counted(exporter: Any, signal: str, size: Callable[[Any], int] = len) -> Any:
    """Let `exporter` count what it fails to deliver.

    Args:
        exporter: A span, metric or log exporter; its `export` is wrapped in place, since other code
            tells exporters apart by their class.
        signal: `traces`, `metrics` or `logs`.
        size: How many items a batch holds.
    """
    export = exporter.export

    def counting(batch: Any, *args: Any, **kwargs: Any) -> Any:
        _last_words.forget()
        try:
            result = export(batch, *args, **kwargs)
        except Exception as error:
            losses.add(signal, "export_failed", size(batch), f"{type(error).__name__}: {error}")
            raise
        if result.name == "SUCCESS":
            losses.delivered(signal)
        else:
            losses.add(signal, "export_failed", size(batch), _last_words.heard())
        return result

    exporter.export = counting
    return exporter


def _data_points(batch: Any) -> int:
    return sum(
        len(metric.data.data_points)
        for resource in batch.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


class _SpanBatches(BatchSpanProcessor):
    """The SDK's batch processor, counting the spans that its full queue pushes out."""

    def on_end(self, span: ReadableSpan) -> None:
        _count_if_full(self._batch_processor, "traces")
        super().on_end(span)


_NO_CONTEXT = otel_context.Context()
_NO_RESOURCE = Resource.get_empty()


class _LogBatches(BatchLogRecordProcessor):
    """The SDK's batch processor, counting the records that its full queue pushes out."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        _count_if_full(self._batch_processor, "logs")
        # As upstream, a copy without the context, which may be large and other processors still read;
        # but not by `copy`, which takes as long as all the rest of it.
        record = object.__new__(type(log_record.log_record))
        record.__dict__ = {**log_record.log_record.__dict__, "context": _NO_CONTEXT}
        self._batch_processor.emit(
            ReadableLogRecord(
                record, log_record.resource or _NO_RESOURCE, log_record.instrumentation_scope, log_record.limits
            )
        )
        if _current is not None and _current.draining:
            # The server's own last lines come after its lifespan has ended, and nothing comes after them.
            _current.flush("logs")


def _count_if_full(processor: Any, signal: str) -> None:
    if len(processor._queue) >= processor._max_queue_size:
        losses.add(signal, "queue_full", 1)


def span_batches(exporter: Any, *_: Any, **__: Any) -> BatchSpanProcessor:
    """A batch processor for a span exporter, both counting what they lose."""
    return _SpanBatches(counted(exporter, "traces"))


def log_batches(exporter: Any, *_: Any, **__: Any) -> BatchLogRecordProcessor:
    """A batch processor for a log exporter, both counting what they lose."""
    return _LogBatches(counted(exporter, "logs"))


class ForkSafeSession(requests.Session):
    """A session whose connections are never shared with a forked child."""

    def renew(self) -> None:
        """Take fresh connections; the old ones are the parent's."""
        for prefix in list(self.adapters):
            self.mount(prefix, HTTPAdapter())


_sessions: weakref.WeakSet[ForkSafeSession] = weakref.WeakSet()


def exporter_arguments() -> dict[type, dict[str, Any]]:
    """Constructor arguments of the OTLP/HTTP exporters, for the SDK's configurator."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    arguments: dict[type, dict[str, Any]] = {}
    for exporter in (OTLPSpanExporter, OTLPMetricExporter, OTLPLogExporter):
        session = ForkSafeSession()
        _sessions.add(session)
        arguments[exporter] = {"session": session}
    return arguments


class _Encoded:
    """Bytes in the place of the protobuf message that upstream's exporters would serialize."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """The bytes."""
        return self._data

    SerializePartialToString = SerializeToString


def encode_faster() -> None:
    """Let the OTLP/HTTP exporters use our encoder; a batch that it refuses goes to theirs."""
    from opentelemetry.exporter.otlp.proto.http import _log_exporter, trace_exporter

    for module, name, encode in (
        (trace_exporter, "encode_spans", encoding.spans),
        (_log_exporter, "encode_logs", encoding.log_records),
    ):
        upstream = getattr(module, name, None)
        if upstream is not None and not hasattr(upstream, "__wrapped__"):
            setattr(module, name, _or_upstream(encode, upstream))


def _or_upstream(encode: Callable[[Any], bytes], upstream: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(upstream)
    def encoding_batch(batch: Any) -> Any:
        try:
            return _Encoded(encode(batch))
        except Exception:
            return upstream(batch)

    return encoding_batch


class Delivery:
    """The end of this process's telemetry, in bounded time.

    Args:
        timeout: Seconds that the end of the process may wait for all signals together.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._left = timeout
        self._providers: dict[str, Provider] = {}
        self._lock = threading.RLock()
        self._ended = False
        self.draining = False

    def take_over(self, signal: str, provider: Any, *, end: bool = True) -> None:
        """Flush an SDK provider when the server stops.

        Args:
            signal: `traces`, `metrics` or `logs`.
            provider: The SDK's provider.
            end: Whether its end, too, is our business, and not its owner's.
        """
        self._providers[signal] = provider
        if not end:
            return
        for name in ("_atexit_handler", "_at_exit_handler"):  # each of the SDK's three has no time limit
            handler = getattr(provider, name, None)
            if handler is not None:
                atexit.unregister(handler)
                setattr(provider, name, None)
        if signal == "metrics":
            for reader in getattr(provider, "_metric_readers", ()) or getattr(
                getattr(provider, "_sdk_config", None), "metric_readers", ()
            ):
                exporter = getattr(reader, "_exporter", None)
                if exporter is not None:
                    counted(exporter, "metrics", _data_points)

    def drain(self) -> None:
        """The server has stopped serving: flush now, and let what is still logged leave at once."""
        self.draining = True
        self.flush()

    def flush(self, only: str | None = None) -> bool:
        """Export everything that is waiting, all signals at once, within the time that is left.

        Args:
            only: The one signal to flush.

        Returns:
            Whether everything left in time. Time that was waited in vain is not waited again.
        """
        with self._lock:
            if self._left <= 0 or not self._providers:
                return not self._providers
            started = time.monotonic()
            done = _all_within(
                self._left,
                [(name, provider.force_flush) for name, provider in self._providers.items() if only in (None, name)],
            )
            self._left = self._timeout if done else max(0.0, self._left - (time.monotonic() - started))
            return done

    def end(self) -> None:
        """Flush, end the providers, and say what was lost in the life of this process."""
        if self._ended:
            return
        self._ended = True
        in_time = self.flush()
        if not in_time:
            for name, waiting in self._waiting().items():
                losses.add(name, "shutdown_timeout", waiting)
        lost = losses.totals()
        if lost:
            _say(logging.WARNING, "telemetry was lost", dropped=sum(lost.values()), **lost)

    def _waiting(self) -> dict[str, int]:
        waiting: dict[str, int] = {}
        for name, multi in (("traces", "_active_span_processor"), ("logs", "_multi_log_record_processor")):
            processors = getattr(self._providers.get(name), multi, None)
            queued = sum(
                len(processor._batch_processor._queue)
                for field in ("_span_processors", "_log_record_processors")
                for processor in getattr(processors, field, ())
                if isinstance(processor, (_SpanBatches, _LogBatches))
            )
            if queued:
                waiting[name] = queued
        return waiting

    def after_fork(self) -> None:
        """The child has its own time, locks, connections and losses."""
        self._lock = threading.RLock()
        self._left = self._timeout
        self._ended = self.draining = False
        losses.after_fork()
        for session in list(_sessions):
            session.renew()


def _all_within(seconds: float, calls: list[tuple[str, Callable[[], Any]]]) -> bool:
    """Make all calls at once, each on a thread that is abandoned when the time is over."""
    outcomes: dict[str, bool] = {}

    def call(name: str, function: Callable[[], Any]) -> None:
        try:
            outcomes[name] = function() is not False
        except Exception as error:
            outcomes[name] = True  # it has ended, and an error will not get better by waiting
            _say(
                logging.WARNING, "telemetry could not be flushed", signal=name, cause=f"{type(error).__name__}: {error}"
            )

    threads = [threading.Thread(target=call, args=pair, name=f"flush {pair[0]}", daemon=True) for pair in calls]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads) and all(outcomes.values())


def end_on_sigterm() -> None:
    """End the telemetry before SIGTERM ends the process, which by its default action would skip `atexit`.

    Servers put their own handler before ours and, like uvicorn, raise the signal again when they have
    stopped. A handler of the application's own is left alone.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end_and_die)


def _end_and_die(number: int, _frame: FrameType | None) -> None:
    if _current is not None:
        _current.end()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


_current: Delivery | None = None


def start(timeout: float) -> Delivery:
    """The delivery of this process, made at the first call; it ends when the process ends."""
    global _current
    if _current is None:
        _current = Delivery(timeout)
        for name in _EXPORTERS_LOGGERS:
            logging.getLogger(name).addFilter(_last_words)
        atexit.register(_current.end)
    return _current


def current() -> Delivery | None:
    """The delivery of this process, if our configurator set one up."""
    return _current


def _after_fork() -> None:
    if _current is not None:
        _current.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
