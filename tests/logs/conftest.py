"""A fresh log chain for each test, its lines and its OTLP records."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import structlog
from opentelemetry import _logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from otel_search import logs
from otel_search.settings import Settings

_exporter = InMemoryLogRecordExporter()


@pytest.fixture(scope="session", autouse=True)
def _logger_provider() -> None:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(_exporter))
    _logs.set_logger_provider(provider)
    # Whoever set one first keeps it: then its records are ours to read as well.
    current = _logs.get_logger_provider()
    if current is not provider:
        current.add_log_record_processor(SimpleLogRecordProcessor(_exporter))


@dataclass
class Chain:
    capsys: pytest.CaptureFixture[str]

    def lines(self) -> list[dict[str, Any]]:
        """What came on stdout since the last call, each line strict JSON; nothing else may have come."""
        captured = self.capsys.readouterr()
        assert captured.err == ""
        return [json.loads(line, parse_constant=_refuse) for line in captured.out.splitlines()]

    def line(self) -> dict[str, Any]:
        (line,) = self.lines()
        return line

    def records(self) -> list[Any]:
        """The OTLP records since the last call."""
        found = [data.log_record for data in _exporter.get_finished_logs()]
        _exporter.clear()
        return found

    def record(self) -> Any:
        (record,) = self.records()
        return record


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def chain(capsys: pytest.CaptureFixture[str], settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """The installed chain; logging and structlog are as before when the test is over."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers, root.level = [], logging.WARNING
    _exporter.clear()
    structlog.reset_defaults()
    # As in a process without pytest, which has hooks of its own.
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    logs.install(replace(settings, log_format="json") if settings.log_format == "auto" else settings, "catalogue")
    try:
        yield Chain(capsys)
    finally:
        logs.uninstall()
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        root.handlers, root.level = handlers, level
        logging.getLogger("telling").handlers.clear()
