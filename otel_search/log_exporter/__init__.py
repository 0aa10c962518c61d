"""Log records straight to Elasticsearch: `OTEL_LOGS_EXPORTER=elasticsearch`, alone or beside `otlp`.

Records become the documents that the Collector's Elasticsearch exporter writes in its OTel mapping.
They go by `_bulk` over `elastic_transport` alone, which makes no spans, so that nothing feeds itself.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from otel_search import settings
from otel_search.delivery import losses
from otel_search.log_exporter.bulk import Bulk, UnavailableError
from otel_search.log_exporter.documents import Action, Target, actions
from otel_search.log_exporter.replay import Replay
from otel_search.log_exporter.spool import Spool
from otel_search.logs.file import LogFile
from otel_search.settings import Settings
from otel_search.settings.values import Rotation

__all__ = ["ElasticsearchLogExporter"]

_logger = logging.getLogger("otel_search.log_exporter")
_exporters: weakref.WeakSet[ElasticsearchLogExporter] = weakref.WeakSet()


class ElasticsearchLogExporter(LogRecordExporter):
    """Writes log records to a data stream, or to a daily index.

    Args:
        effective: The settings; by default those of the process.

    Attributes:
        cause: Why the last export failed.
    """

    def __init__(self, effective: Settings | None = None) -> None:
        chosen = effective or settings.current()
        self._settings = chosen
        self._endpoint = _shown(chosen)
        self._target = Target(chosen.logs_index, chosen.logs_dataset, chosen.logs_namespace)
        self._spool = (
            Spool(Path(chosen.logs_spool), chosen.logs_spool_megabytes * 1_000_000) if chosen.logs_spool else None
        )
        self._failures = (
            LogFile(Path(chosen.logs_failure_file).absolute(), Rotation(), 5) if chosen.logs_failure_file else None
        )
        self._start()
        _exporters.add(self)

    def _start(self) -> None:
        self.cause = ""
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._replay: Replay | None = None
        try:
            self._bulk: Bulk | None = Bulk(self._settings, self._target, self._refused, self._ended)
        except (ImportError, ValueError) as error:
            self._bulk = None
            self.cause = str(error)
            _logger.error("log records cannot go to Elasticsearch at %s: %s", self._endpoint, error)
            return
        if self._spool is not None:
            self._replay = Replay(self._spool, self._bulk, self._ended)
            if self._spool.is_waiting:  # since an earlier life of the service
                self._replay.wake()

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Send a batch; what is only put off, with a spool, is a success."""
        with self._lock:
            left = 0
            try:
                self._send(actions(batch, self._target))
            except UnavailableError as error:
                left, self.cause = len(error.actions), str(error)
            if left == len(batch):
                return LogRecordExportResult.FAILURE
            if left:
                losses.add("logs", "export_failed", left, endpoint=self._endpoint, cause=self.cause)
            return LogRecordExportResult.SUCCESS

    def _send(self, waiting: list[Action]) -> None:
        if self._bulk is None:
            raise UnavailableError(self.cause, waiting)
        if self._spool is None or self._replay is None:
            self._bulk.send(waiting)
            return
        # Behind what waits already, so that all are sent in their order.
        if not self._spool.is_waiting:
            try:
                # With a spool there is no need to wait for a server that is not there.
                self._bulk.send(waiting, patient=False)
                return
            except UnavailableError as error:
                waiting = error.actions
                self._bulk.rest(error)
        try:
            self._spool.add(waiting)
        except OSError as error:
            raise UnavailableError(str(error), waiting) from error
        finally:
            self._replay.wake()

    def _refused(self, document: dict[str, Any], error: str) -> None:
        """A document that the mapping refuses, twice."""
        losses.add("logs", "refused", 1, endpoint=self._endpoint, cause=error[:300])
        if self._failures is not None:
            import orjson

            try:
                self._failures.write(orjson.dumps({"error": error, "document": document}) + b"\n")
            except OSError as failure:
                _logger.warning("the failure file cannot be written: %r", failure)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the interface's
        """Nothing is held back here but the spool, which may wait.

        Args:
            timeout_millis: Not needed.
        """
        return True

    def shutdown(self) -> None:
        """Wait no longer for a server that does not answer."""
        self._ended.set()

    def _after_fork(self) -> None:
        """A child has connections of its own."""
        self._start()


def _shown(chosen: Settings) -> str:
    urls = (url.rpartition("@")[2] if "@" in url else url for url in chosen.logs_elasticsearch_url)
    return chosen.logs_elasticsearch_cloud_id.partition(":")[0] or ",".join(urls)


def _after_fork() -> None:
    for exporter in list(_exporters):
        exporter._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
