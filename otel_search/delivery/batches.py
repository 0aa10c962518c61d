"""Batch processors and exporters that count what they lose."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_search.delivery.fast_encoding import Encode, encoder_of
from otel_search.delivery.losses import last_words, losses
from otel_search.encoding import Encoded

Hide = Callable[[ReadableSpan], None]
"""Takes the secrets out of an ended span; never raises."""

_NO_CONTEXT = otel_context.Context()
_NO_RESOURCE = Resource.get_empty()

on_log_record: Callable[[], None] | None = None
"""Called after each record that went into a queue, while the server is ending."""


class _Batches:
    """The batch processors and exporters of this process, and what exporters hold at this moment."""

    def __init__(self) -> None:
        self._processors: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self.in_flight: Counter[str] = Counter()

    def add(self, processor: Any, signal: str) -> None:
        self._processors[processor] = signal

    def waiting(self) -> dict[str, int]:
        """Items that have not left yet, by signal: in a queue, or in a batch that is being exported."""
        waiting = Counter({signal: count for signal, count in self.in_flight.items() if count > 0})
        for processor, signal in list(self._processors.items()):
            waiting[signal] += len(processor._queue)
        return {signal: count for signal, count in waiting.items() if count}

    def after_fork(self) -> None:
        """What was in flight is the parent's."""
        self.in_flight.clear()


batches = _Batches()


def counted(exporter: Any, signal: str, size: Callable[[Any], int] = len) -> Any:
    """Let `exporter` count what it fails to deliver.

    Args:
        exporter: A span, metric or log exporter; its `export` is wrapped in place, since other code
            tells exporters apart by their class.
        signal: `traces`, `metrics` or `logs`.
        size: How many items a batch holds.
    """
    export = exporter.export
    last_words.listen()
    client: Any = getattr(exporter, "_client", None)
    if hasattr(client, "export"):
        client.export = _remembered(client.export)

    def counting(batch: Any, *args: Any, **kwargs: Any) -> Any:
        count = size(batch)
        batches.in_flight[signal] += count
        result, cause = None, ""
        with last_words:
            try:
                _outcome.text = ""
                result = export(batch, *args, **kwargs)
                cause = _outcome.text or getattr(exporter, "cause", "") or last_words.heard()
            except Exception as error:
                cause = f"{type(error).__name__}: {error}"
                raise
            finally:
                batches.in_flight[signal] -= count
                if result is not None and result.name == "SUCCESS":
                    losses.delivered(signal)
                else:
                    endpoint = str(getattr(exporter, "_endpoint", ""))
                    losses.add(signal, "export_failed", count, endpoint=endpoint, cause=cause)
        return result

    exporter.export = counting
    return exporter


_outcome = threading.local()


def _remembered(post: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Keep what came of the last attempt to post a batch, which the exporter itself tells nobody."""

    def posting(data: bytes) -> Any:
        outcome = post(data)
        status = getattr(outcome, "status_code", None)
        error = getattr(outcome, "error", None)
        _outcome.text = str(error or "") if status is None else f"status {status} {outcome.reason or ''}".strip()
        return outcome

    return posting


def data_points(batch: Any) -> int:
    """How many data points a batch of metrics holds."""
    return sum(
        len(metric.data.data_points)
        for resource in batch.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


class SpanBatches(BatchSpanProcessor):
    """The SDK's batch processor, counting the spans that its full queue pushes out.

    Args:
        exporter: The exporter.
        encode: Encodes a span when it ends, if the exporter takes that.
        hide: Takes the secrets out of a span that is encoded here.
    """

    # What `lean` asks: only reading spans when they end, and keeping none, it needs no copies.
    reads_at_end = False

    def __init__(self, exporter: Any, encode: Encode | None = None, hide: Hide | None = None) -> None:
        super().__init__(exporter)
        self._encode = encode
        self._hide = hide
        self.reads_at_end = encode is not None

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that has ended, if it is sampled."""
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        item: Any = span
        if self._encode is not None:
            if self._hide is not None:
                self._hide(span)
            try:
                item = self._encode(span)
            except Exception:
                # Left to upstream's encoder, as a copy if the span is still the application's.
                item = span._readable_span() if isinstance(span, Span) else span
        _emit(self._batch_processor, "traces", item)


class LogBatches(BatchLogRecordProcessor):
    """The SDK's batch processor, counting the records that its full queue pushes out.

    Args:
        exporter: The exporter.
        encode: Encodes a record when it is emitted, if the exporter takes that.
    """

    def __init__(self, exporter: Any, encode: Encode | None = None) -> None:
        super().__init__(exporter)
        self._encode = encode
        self.takes_encoded = encode is not None

    def put(self, record: Encoded) -> None:
        """Queue a record that is encoded already, if this processor takes such (`takes_encoded`)."""
        _emit(self._batch_processor, "logs", record)
        if on_log_record is not None:
            on_log_record()

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Queue a log record."""
        item: Any = None
        if self._encode is not None and log_record.resource is not None:
            # Raises for what upstream's encoder has to serve.
            with contextlib.suppress(Exception):
                item = self._encode(log_record)
        _emit(self._batch_processor, "logs", item or _without_context(log_record))
        if on_log_record is not None:
            on_log_record()


def _without_context(log_record: ReadWriteLogRecord) -> ReadableLogRecord:
    # As upstream, a copy without the context, which may be large and other processors still read;
    # but not by `copy`, which takes as long as all the rest of it.
    record = object.__new__(type(log_record.log_record))
    record.__dict__ = {**log_record.log_record.__dict__, "context": _NO_CONTEXT}
    return ReadableLogRecord(
        record, log_record.resource or _NO_RESOURCE, log_record.instrumentation_scope, log_record.limits
    )


def _emit(processor: Any, signal: str, item: Any) -> None:
    if processor._shutdown or len(processor._queue) >= processor._max_queue_size:
        with _one_lost(signal, processor):
            processor.emit(item)
    else:
        processor.emit(item)


@contextlib.contextmanager
def _one_lost(signal: str, processor: Any) -> Iterator[None]:
    """Count what the SDK is about to drop, and keep its own line on it."""
    if processor._shutdown:
        losses.count(signal, "after_shutdown", 1)
    else:
        losses.add(signal, "queue_full", 1)
    with last_words:
        yield


def span_batches(exporter: Any, *_: Any, hide: Hide | None = None, **__: Any) -> BatchSpanProcessor:
    """A batch processor for a span exporter, both counting what they lose.

    Args:
        exporter: The exporter.
        hide: Takes the secrets out of an ended span, so that it can be encoded at once; without it the
            exporter is expected to do so.
    """
    encode = None if hide is None else encoder_of(exporter)
    processor = SpanBatches(counted(exporter, "traces"), encode, hide)
    batches.add(processor._batch_processor, "traces")
    return processor


def log_batches(exporter: Any, *_: Any, **__: Any) -> BatchLogRecordProcessor:
    """A batch processor for a log exporter, both counting what they lose."""
    encode = encoder_of(exporter)
    processor = LogBatches(counted(exporter, "logs"), encode)
    batches.add(processor._batch_processor, "logs")
    return processor
