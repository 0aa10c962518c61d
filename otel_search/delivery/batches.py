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
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_search.delivery.losses import last_words, losses

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
    """The SDK's batch processor, counting the spans that its full queue pushes out."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that has ended."""
        processor = self._batch_processor
        if processor._shutdown or len(processor._queue) >= processor._max_queue_size:
            with _one_lost("traces", processor):
                super().on_end(span)
        else:
            super().on_end(span)


class LogBatches(BatchLogRecordProcessor):
    """The SDK's batch processor, counting the records that its full queue pushes out."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Queue a log record."""
        # As upstream, a copy without the context, which may be large and other processors still read;
        # but not by `copy`, which takes as long as all the rest of it.
        record = object.__new__(type(log_record.log_record))
        record.__dict__ = {**log_record.log_record.__dict__, "context": _NO_CONTEXT}
        readable = ReadableLogRecord(
            record, log_record.resource or _NO_RESOURCE, log_record.instrumentation_scope, log_record.limits
        )
        processor = self._batch_processor
        if processor._shutdown or len(processor._queue) >= processor._max_queue_size:
            with _one_lost("logs", processor):
                processor.emit(readable)
        else:
            processor.emit(readable)
        if on_log_record is not None:
            on_log_record()


@contextlib.contextmanager
def _one_lost(signal: str, processor: Any) -> Iterator[None]:
    """Count what the SDK is about to drop, and keep its own line on it."""
    if processor._shutdown:
        losses.count(signal, "after_shutdown", 1)
    else:
        losses.add(signal, "queue_full", 1)
    with last_words:
        yield


def span_batches(exporter: Any, *_: Any, **__: Any) -> BatchSpanProcessor:
    """A batch processor for a span exporter, both counting what they lose."""
    processor = SpanBatches(counted(exporter, "traces"))
    batches.add(processor._batch_processor, "traces")
    return processor


def log_batches(exporter: Any, *_: Any, **__: Any) -> BatchLogRecordProcessor:
    """A batch processor for a log exporter, both counting what they lose."""
    processor = LogBatches(counted(exporter, "logs"))
    batches.add(processor._batch_processor, "logs")
    return processor
