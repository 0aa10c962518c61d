"""Each event is one line and one record, whichever way it was logged (C22 and its kind)."""

from __future__ import annotations

import functools
import gc
import io
import json
import logging
import logging.config
import logging.handlers
import queue
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_search import logs
from otel_search.context import REQUEST_ID
from otel_search.redaction import marker
from otel_search.settings import Settings

from .conftest import Chain

STDLIB: dict[str, Any] = {
    "logger_factory": structlog.stdlib.LoggerFactory(),
    "wrapper_class": structlog.stdlib.BoundLogger,
}
COMMON = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso"),
]

CONFIGURATIONS = {
    "default": {},
    "json": {"processors": [*COMMON, structlog.processors.JSONRenderer()]},
    "stdlib-json": {"processors": [*COMMON, structlog.processors.JSONRenderer()], **STDLIB},
    "stdlib-kwargs": {"processors": [*COMMON, structlog.stdlib.render_to_log_kwargs], **STDLIB},
    "stdlib-formatter": {
        "processors": [*COMMON, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        **STDLIB,
    },
    "bytes": {
        "processors": [*COMMON, structlog.processors.JSONRenderer()],
        "logger_factory": structlog.BytesLoggerFactory(),
    },
    "own-renderer": {"processors": [*COMMON, lambda _logger, _name, event: f"rendered {event}"]},
    "renamed-event": {
        "processors": [*COMMON, structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer()]
    },
}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_structlog_configured_in_any_way_gives_the_same_event_once(chain: Chain, configuration: str) -> None:
    structlog.configure(**CONFIGURATIONS[configuration])
    structlog.get_logger("catalogue.search").bind(user="u1").warning("slow search", took=3)
    line, record = chain.line(), chain.record()
    assert (line["event"], line["level"], line["took"], line["user"]) == ("slow search", "warning", 3, "u1")
    assert (record.body, record.severity_text, dict(record.attributes)) == (
        "slow search",
        "WARN",
        {"user": "u1", "took": 3},
    )


@pytest.mark.parametrize(
    "factory", [structlog.PrintLoggerFactory, structlog.WriteLoggerFactory, structlog.BytesLoggerFactory]
)
def test_a_loggers_name_is_kept_though_structlogs_own_loggers_have_none(chain: Chain, factory: Any) -> None:
    structlog.configure(logger_factory=factory())
    structlog.get_logger("shop.search").info("named")
    assert chain.line()["logger"] == "shop.search"


def test_a_logger_cached_before_the_chain_is_heard(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.configure(cache_logger_on_first_use=True)
    early = structlog.get_logger().bind()
    logs.install(Settings(log_format="json"), "catalogue")
    try:
        early.info("early bird")
    finally:
        logs.uninstall()
        structlog.reset_defaults()
    assert '"event":"early bird"' in capsys.readouterr().out


@pytest.mark.parametrize("exceptions", ["format_exc_info", "dict_tracebacks", "set_exc_info", None])
@pytest.mark.parametrize("configuration", ["json", "stdlib-json"])
def test_an_exception_is_told_by_the_conventions(chain: Chain, configuration: str, exceptions: str | None) -> None:
    chosen = dict(CONFIGURATIONS[configuration])
    if exceptions:
        of = structlog.dev if exceptions == "set_exc_info" else structlog.processors
        chosen["processors"] = [getattr(of, exceptions), *chosen["processors"]]
    structlog.configure(**chosen)
    try:
        raise KeyError("sku")
    except KeyError:
        structlog.get_logger().exception("lookup failed")
    line = chain.line()
    assert (line["exception.type"], line["exception.message"]) == ("KeyError", "'sku'")
    assert line["exception.stacktrace"].endswith("KeyError: 'sku'\n")
    assert "exception" not in line
    assert chain.record().attributes["exception.type"] == "KeyError"


def test_exception_is_told_by_a_generic_logger_too(chain: Chain) -> None:
    structlog.configure(wrapper_class=structlog.BoundLogger, processors=[structlog.processors.JSONRenderer()])
    try:
        raise KeyError("sku")
    except KeyError:
        structlog.get_logger().exception("lookup failed")
    structlog.get_logger().exception("without one")
    first, second = chain.lines()
    assert first["exception.type"] == "KeyError"
    assert not any(name.startswith("exc") for name in second)


@pytest.mark.parametrize("lines", ["auto", "theirs"])
@pytest.mark.parametrize("configuration", ["json", "stdlib-json"])
def test_where_an_event_was_logged_is_the_applications_place(
    lines: str, configuration: str, capsys: pytest.CaptureFixture[str]
) -> None:
    adder = structlog.processors.CallsiteParameterAdder()
    chosen = dict(CONFIGURATIONS[configuration])
    chosen["processors"] = [adder, structlog.processors.StackInfoRenderer(), *chosen["processors"]]
    find = structlog.processors._find_first_app_frame_and_name
    logs.install(Settings(log_format="json", log_lines=lines), "catalogue")
    try:
        structlog.configure(**chosen)
        structlog.get_logger().warning("here", stack_info=True)
    finally:
        logs.uninstall()
        structlog.reset_defaults()
    written = capsys.readouterr()
    line = json.loads((written.out + written.err).splitlines()[0])
    assert line["func_name"] == "test_where_an_event_was_logged_is_the_applications_place"
    assert line["pathname"] == __file__
    assert line["stack"].rstrip().endswith('structlog.get_logger().warning("here", stack_info=True)')
    assert structlog.processors._find_first_app_frame_and_name is find


def test_structlogs_own_testing_tools_still_work(chain: Chain) -> None:
    with structlog.testing.capture_logs() as captured:
        structlog.get_logger().info("captured", a=1)
    assert captured == [{"a": 1, "event": "captured", "log_level": "info"}]
    assert chain.lines() == []


def test_a_processor_of_the_application_may_drop_and_change_events(chain: Chain) -> None:
    def policy(_logger: Any, _name: str, event: Any) -> Any:
        if event["event"] == "secret":
            raise structlog.DropEvent
        return {**event, "region": "eu"}

    structlog.configure(processors=[policy, structlog.processors.JSONRenderer()])
    structlog.get_logger().info("secret")
    structlog.get_logger().info("public")
    assert [(line["event"], line["region"]) for line in chain.lines()] == [("public", "eu")]


def test_a_structlog_file_is_still_written(chain: Chain, tmp_path: Path) -> None:
    with (tmp_path / "app.log").open("w") as file:
        structlog.configure(
            processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(file)
        )
        structlog.get_logger().info("to a file")
    assert (tmp_path / "app.log").read_text() == '{"event": "to a file"}\n'
    assert chain.lines() == []
    assert chain.record().body == "to a file"


def test_handlers_of_the_application_keep_their_lines(chain: Chain, tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "app.log")
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.getLogger("telling").addHandler(handler)
    logging.getLogger("telling").warning("disk at %d%%", 91)
    structlog.configure(processors=[structlog.stdlib.render_to_log_kwargs], **STDLIB)
    structlog.get_logger("telling").warning("again")
    handler.close()
    assert (tmp_path / "app.log").read_text() == "WARNING disk at 91%\nWARNING again\n"
    assert [line["event"] for line in chain.lines()] == ["disk at 91%", "again"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_console_handler_is_replaced_with_its_level_and_filters(chain: Chain, stream: str) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": "PLAIN %(message)s"}},
            "handlers": {
                "console": {
                    "class": "logging.StreamHandler",
                    "stream": f"ext://sys.{stream}",
                    "formatter": "plain",
                    "level": "WARNING",
                }
            },
            "root": {"handlers": ["console"], "level": "DEBUG"},
        }
    )
    logging.getLogger("std").info("below the handler's level")
    logging.getLogger("std").warning("seen")
    assert [line["event"] for line in chain.lines()] == ["seen"]


class ToStderr(io.StringIO):
    """A stream of the application's own making, as `os.fdopen(2, "w")` is."""

    def fileno(self) -> int:
        return 2


def test_a_handler_that_opens_the_console_itself_is_replaced(chain: Chain) -> None:
    device = logging.FileHandler("/dev/stdout", delay=True)
    stream = ToStderr()
    for handler in (device, logging.StreamHandler(stream), logging.StreamHandler(io.StringIO())):
        logging.getLogger().addHandler(handler)
    logging.getLogger("std").warning("seen")
    logging.getLogger("std").warning("again")
    assert [line["event"] for line in chain.lines()] == ["seen", "again"]
    assert device.stream is None
    assert stream.getvalue() == ""
    assert logging.getLogger().handlers[-1].stream.getvalue() == "seen\nagain\n"


@pytest.mark.parametrize("first", ["they", "we"])
def test_who_stands_where_records_pass_gets_each_once_too(
    first: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As Sentry's integration and New Relic's do, whichever is there first.
    heard: list[str] = []
    memory = io.StringIO()
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)  # what comes back at the end

    def stand_in() -> None:
        original = logging.Logger.callHandlers

        @functools.wraps(original)
        def patched(self: logging.Logger, record: logging.LogRecord) -> Any:
            try:
                return original(self, record)
            finally:
                heard.append(record.getMessage())

        monkeypatch.setattr(logging.Logger, "callHandlers", patched)

    handler = logging.StreamHandler(memory)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])
    if first == "they":
        stand_in()
    logs.install(Settings(log_format="json"), "catalogue")
    if first == "we":
        stand_in()
    theirs = logging.Logger.callHandlers
    logging.getLogger("std").warning("one")
    logs.give_back()
    logging.getLogger("std").warning("two")
    logs.take_again()
    logging.getLogger("std").warning("three")
    logs.uninstall()
    logging.getLogger("std").warning("four")
    assert heard == ["one", "two", "three", "four"]
    assert memory.getvalue() == "one\ntwo\nthree\nfour\n"
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["one", "three"]
    if first == "we":
        assert logging.Logger.callHandlers is theirs


def test_loggers_that_do_not_propagate_are_heard_at_their_console_handler(chain: Chain) -> None:
    logger = logging.getLogger("telling")
    logger.propagate = False
    try:
        logger.addHandler(logging.StreamHandler(sys.stderr))
        logger.addHandler(logging.StreamHandler(sys.stdout))
        logger.warning("from a closed room")
        assert chain.line()["event"] == "from a closed room"
        logger.handlers.clear()
        logger.warning("silenced on purpose")
        assert chain.lines() == []
    finally:
        logger.propagate = True


def test_extra_fields_and_structured_messages_are_fields(chain: Chain) -> None:
    logging.getLogger("std").info("one", extra={"sku": "A1"})
    logging.getLogger("std").info({"event": "two", "sku": "B2"})
    assert [(line["event"], line["sku"]) for line in chain.lines()] == [("one", "A1"), ("two", "B2")]


def test_warnings_and_uncaught_exceptions_are_events(chain: Chain) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", stacklevel=1)
    assert "careful" in chain.line()["event"]

    def fail() -> None:
        raise LookupError("in a thread")

    thread = threading.Thread(target=fail, name="worker-7")
    thread.start()
    thread.join()
    line = chain.line()
    assert (line["event"], line["exception.type"], line["thread.name"]) == (
        "uncaught exception in thread",
        "LookupError",
        "worker-7",
    )
    sys.excepthook(ValueError, ValueError("at the end"), None)
    assert chain.line()["exception.message"] == "at the end"

    class Careless:
        def __del__(self) -> None:
            raise LookupError("token=hunter2")

    Careless()
    gc.collect()
    line = chain.line()
    assert (line["event"], line["level"], line["exception.message"]) == (
        "exception ignored",
        "error",
        f"token={marker('token')}",
    )
    assert line["code.function.name"].endswith("Careless.__del__")


class LeadingZeros(IdGenerator):
    def generate_span_id(self) -> int:
        return 0xAB

    def generate_trace_id(self) -> int:
        return 0xCD


def test_ids_always_have_their_full_length_and_are_absent_outside_of_a_span(chain: Chain) -> None:
    tracer = TracerProvider(id_generator=LeadingZeros(), shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("span"):
        logging.getLogger("std").info("inside")
    logging.getLogger("std").info("outside")
    inside, outside = chain.lines()
    assert inside["trace_id"] == "0" * 30 + "cd"
    assert inside["span_id"] == "0" * 14 + "ab"
    assert not {"trace_id", "span_id", "trace_flags"} & outside.keys()
    assert trace.format_trace_id(chain.records()[0].trace_id) == inside["trace_id"]


def test_the_request_id_and_bound_values_are_on_every_line(chain: Chain) -> None:
    token = REQUEST_ID.set("req-1")
    structlog.contextvars.bind_contextvars(user_id="u1")
    try:
        logging.getLogger("std").info("std")
        structlog.get_logger().info("structlog")
    finally:
        REQUEST_ID.reset(token)
    assert [(line["request_id"], line["user_id"]) for line in chain.lines()] == [("req-1", "u1")] * 2
    assert [record.attributes["request_id"] for record in chain.records()] == ["req-1"] * 2


def test_telemetrys_own_lines_are_never_exported_and_limited(chain: Chain) -> None:
    for _ in range(50):
        logging.getLogger("opentelemetry.exporter.otlp.proto.grpc").warning("failed to export")
    with suppress_instrumentation():
        for _ in range(50):
            logging.getLogger("urllib3.connectionpool").warning("connection refused")
    logging.getLogger("urllib3.connectionpool").warning("the application's own")
    assert [line["event"] for line in chain.lines()] == [
        "failed to export",
        "connection refused",
        "the application's own",
    ]
    assert [record.body for record in chain.records()] == ["the application's own"]


def test_a_closed_stdout_does_not_reach_the_application(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        encoding = "utf-8"

        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    logging.getLogger("std").info("nobody listens")
    monkeypatch.undo()
    assert chain.record().body == "nobody listens"


def test_an_ascii_stdout_gets_escaped_text(chain: Chain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        logging.getLogger("std").info("Käse")
        monkeypatch.undo()
    assert '"event":"K\\xe4se"' in (tmp_path / "out").read_text("ascii")


def test_uninstall_leaves_everything_as_it_was() -> None:
    before = (
        logging.Logger.callHandlers,
        structlog.BoundLoggerBase._proxy_to_logger,
        sys.excepthook,
        logging.getLogger().level,
    )
    logs.install(Settings(), "catalogue")
    logs.uninstall()
    after = (
        logging.Logger.callHandlers,
        structlog.BoundLoggerBase._proxy_to_logger,
        sys.excepthook,
        logging.getLogger().level,
    )
    assert after == before


class Own(logging.Formatter):
    """A form that the application has chosen."""

    def format(self, record: logging.LogRecord) -> str:
        return f"OWN {record.getMessage()} {getattr(record, 'trace_id', '-')}"


def test_a_handler_with_a_form_of_its_own_keeps_its_lines_levels_and_filters(
    chain: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("telling")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Own())
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: "secret" not in record.msg)
    logger.addHandler(handler)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("span") as span:
        logger.info("below its level")
        logger.warning("a secret thing")
        logger.warning("seen", extra={"trace_id_of": "nobody"})
    assert capsys.readouterr().out == f"OWN seen {span.get_span_context().trace_id:032x}\n"
    assert [record.body for record in chain.records()] == ["seen"]


def test_a_field_of_the_applications_own_with_the_name_of_an_id_is_no_error(chain: Chain, tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "app.log")
    handler.setFormatter(Own())
    logging.getLogger("telling").addHandler(handler)
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("span"):
        logging.getLogger("telling").warning("mine", extra={"trace_id": "own"})
    handler.close()
    assert (tmp_path / "app.log").read_text() == "OWN mine own\n"
    assert chain.line()["extra.trace_id"] == "own"


def test_a_queue_to_the_console_makes_no_second_line(chain: Chain, tmp_path: Path) -> None:
    records: queue.Queue[Any] = queue.Queue()
    file = logging.FileHandler(tmp_path / "app.log")
    logging.getLogger("telling").addHandler(logging.handlers.QueueHandler(records))
    listener = logging.handlers.QueueListener(records, logging.StreamHandler(sys.stdout), file)
    listener.start()
    logging.getLogger("telling").warning("through a queue")
    listener.stop()
    file.close()
    assert chain.line()["event"] == "through a queue"
    assert (tmp_path / "app.log").read_text() == "through a queue\n"
    assert chain.record().body == "through a queue"
