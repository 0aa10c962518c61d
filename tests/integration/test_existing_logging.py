"""Applications that have configured logging themselves: each event once on stdout, once as a record, with its ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otel_search.redaction import marker
from tests.service import BIN, Service, eventually, serve


def lines(service: Service, text: str) -> list[str]:
    """The lines of both streams that hold a text, as soon as there is one."""
    return eventually(lambda: [line for line in [*service.lines, *service.error_lines] if text in line])


def record(service: Service, body: str) -> Any:
    """The one record of this body, when the service has ended."""
    found = [record for record in service.recording.logs if record.body == body]
    assert len(found) == 1, found
    return found[0]


# how, whether our form is on stdout, where the event's text, fields and ids are in a line of another form
THEIRS = {
    "json-logger": lambda line: (line["message"], line["sku"], line["trace_id"], line["span_id"]),
    "loguru": lambda line: (
        line["record"]["message"],
        line["record"]["extra"]["sku"],
        line["record"]["extra"]["trace_id"],
        line["record"]["extra"]["span_id"],
    ),
}
THEIRS["loguru-configure"] = THEIRS["loguru"]
CONFIGURATIONS = [
    "",
    "structlog",
    "structlog-stdlib",
    "dictConfig",
    "json-logger",
    "loguru",
    "loguru-configure",
    "loguru-intercept",
    "loguru-propagate",
]


@pytest.mark.parametrize("how", CONFIGURATIONS)
def test_each_event_is_one_line_and_one_record_with_its_ids(how: str, tmp_path: Path) -> None:
    file = tmp_path / "own.log"
    with serve("own_logging:app", env={"OWN_LOGGING": how, "OWN_FILE": str(file)}) as service:
        response = service.get("/log")
        trace_id = response.headers["x-trace-id"]
        service.get("/fail")
        eventually(lambda: len(lines(service, "request completed")) == 2)
        service.stop()
        (line,) = lines(service, "an event")
        found = record(service, "an event")
        assert found.trace_id == trace_id
        if how != "loguru-intercept":  # whose documentation drops the fields
            assert found.attributes["sku"] == "A1"
        event = json.loads(line)
        if how in THEIRS:
            assert THEIRS[how](event) == ("an event", "A1", trace_id, found.span_id)
        elif how == "loguru-intercept":
            assert (event["record"]["message"], event["record"]["extra"]["trace_id"]) == ("an event", trace_id)
        else:
            assert (event["event"], event["sku"]) == ("an event", "A1")
            assert (event["trace_id"], event["span_id"]) == (trace_id, found.span_id)
        assert len([line for line in [*service.lines, *service.error_lines] if "it failed" in line]) == 1
        assert record(service, "it failed").attributes["exception.type"] == "ValueError"
        assert not [line for line in service.lines if "too much" in line]
        # The server's lines, too, are there once, and nothing is plain text between JSON.
        assert len(lines(service, "Application startup complete")) == 1
        assert len([log for log in service.recording.logs if "Application startup complete" in log.body]) == 1
        for each in service.lines:
            json.loads(each)
    if how in ("dictConfig", "json-logger", "structlog-stdlib"):
        assert file.read_text().count("an event") == 1
    if how == "loguru":
        assert f"an event {trace_id}" in file.read_text()


@pytest.mark.parametrize(
    ("how", "setting"), [("json-logger", "ours"), ("structlog", "theirs"), ("dictConfig", "theirs")]
)
def test_whose_lines_are_whose_is_a_setting(how: str, setting: str) -> None:
    with serve("own_logging:app", env={"OWN_LOGGING": how, "OTEL_SEARCH_LOG_LINES": setting}) as service:
        trace_id = service.get("/log").headers["x-trace-id"]
        (line,) = lines(service, "an event")
        service.stop()
        assert record(service, "an event").trace_id == trace_id
    if setting == "ours":
        assert json.loads(line)["event"] == "an event"
        assert json.loads(line)["trace_id"] == trace_id
    elif how == "structlog":
        event = json.loads(line)
        assert (event["event"], event["sku"], event["trace_id"]) == ("an event", "A1", trace_id)
        assert "service.name" not in event
    else:
        assert line == "PLAIN INFO an event"


@pytest.mark.parametrize("how", ["json-logger", "loguru", "loguru-configure", "loguru-intercept"])
def test_lines_of_another_form_keep_it_and_have_no_secrets(how: str, tmp_path: Path) -> None:
    file = tmp_path / "own.log"
    with serve("own_logging:app", env={"OWN_LOGGING": how, "OWN_FILE": str(file)}) as service:
        trace_id = service.get("/secret").headers["x-trace-id"]
        service.get("/log")
        eventually(lambda: len(lines(service, "an event")) == 1)
        service.stop()
        (line,) = lines(service, "a secret")
        (harmless,) = lines(service, "an event")
        assert service.recording.logs
    assert not [line for line in [*service.lines, *service.error_lines] if "M4rk3r" in line or "4111111" in line]
    assert "M4rk3r" not in repr(service.recording.logs)
    event = json.loads(line)
    bound = event if how == "json-logger" else event["record"]["extra"]
    assert bound["trace_id"] == trace_id
    said = event["message"] if how == "json-logger" else event["record"]["message"]
    assert said == f"a secret: Bearer {marker('token')}"
    if how != "loguru-intercept":  # whose documentation drops the fields
        hidden = {"db_password": marker("password"), "card": marker("card number")}
        assert (bound["sku"], bound["pin"]) == ("A1", hidden)
    assert f"ValueError: no such key: token={marker('token')}" in (
        event["exc_info"] if how == "json-logger" else event["text"]
    )
    # Its manner is that of the lines that have nothing to hide.
    assert ('": ' in line.partition(",")[0]) == ('": ' in harmless.partition(",")[0])
    if how == "json-logger":  # files of the application's own are as it wrote them
        assert "M4rk3r" in file.read_text()


@pytest.mark.parametrize(
    ("how", "variables", "hidden"),
    [
        ("dictConfig", {"OTEL_SEARCH_LOG_LINES": "theirs"}, True),
        ("dictConfig", {"OTEL_SEARCH_LOG_LINES": "theirs", "OTEL_SEARCH_REDACT": "off"}, False),
        ("json-logger", {"OTEL_SEARCH_REDACT": "off"}, False),
        ("loguru", {"OTEL_SEARCH_REDACT": "off"}, False),
    ],
)
def test_secrets_in_lines_of_another_form_are_hidden_as_in_ours(
    how: str, variables: dict[str, str], hidden: bool
) -> None:
    with serve("own_logging:app", env={"OWN_LOGGING": how, **variables}) as service:
        service.get("/secret")
        written = lines(service, "ValueError: no such key: token=")
        service.stop()
    assert all(("M4rk3r" not in line) is hidden for line in written)
    if how == "dictConfig":
        expected = f"PLAIN ERROR a secret: Bearer {marker('token') if hidden else 'M4rk3r0123'}"
        assert expected in service.lines


def test_formats_of_upstreams_users_go_on() -> None:
    env = {"OWN_LOGGING": "correlation", "OTEL_SEARCH_LOG_LINES": "theirs", "OTEL_PYTHON_LOG_CORRELATION": "true"}
    with serve("own_logging:app", env=env) as service:
        trace_id = service.get("/log").headers["x-trace-id"]
        assert lines(service, "an event") == [f"PLAIN {trace_id} test-service an event"]
        assert not [line for line in service.error_lines if "Logging error" in line]


def test_uvicorns_log_config_of_the_user() -> None:
    config = Path(__file__).parent.parent / "apps" / "logging_configs" / "uvicorn.json"
    with serve("own_logging:app", "--log-config", str(config)) as service:
        trace_id = service.get("/log").headers["x-trace-id"]
        (line,) = lines(service, "an event")
        assert json.loads(line)["trace_id"] == trace_id
        assert json.loads(line)["message"] == "an event"
        (startup,) = lines(service, "Application startup complete")
        assert json.loads(startup)["message"] == "Application startup complete."
        # The access line says the same and more.
        assert len(lines(service, "request completed")) == 1
        assert not [line for line in service.lines if "GET /log" in line]
        # And the server's report of an exception is no second event.
        assert service.get("/boom").status_code == 500
        eventually(lambda: len(lines(service, "request completed")) == 2)
        (told,) = eventually(lambda: [line for line in lines(service, "nobody handles this") if "Traceback" in line])
        assert json.loads(told)["event"] == "unhandled exception"
        service.stop()
        assert record(service, "an event").trace_id == trace_id


GUNICORN = [str(BIN / "gunicorn"), "own_logging:app", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}"]


@pytest.mark.parametrize(
    ("arguments", "ours"),
    [
        (["--logger-class", "gunicorn_logging.JsonLogger"], False),
        (["--log-config", "logging_configs/gunicorn.conf"], True),
        ([], True),
    ],
)
def test_gunicorns_own_logger(arguments: list[str], ours: bool) -> None:
    command = [part.replace("uvicorn_worker.", "uvicorn.workers.") for part in GUNICORN] + arguments
    with serve("own_logging:app", command=command) as service:
        trace_id = service.get("/log").headers["x-trace-id"]
        event = json.loads(*lines(service, "an event"))
        assert (event["event"], event["trace_id"]) == ("an event", trace_id)
        service.stop()
        (line,) = lines(service, "Booting worker")
        booting = json.loads(line)
        assert ("event" in booting) == ours
        assert ours or booting["name"] == "gunicorn.error"
        assert record(service, "an event").trace_id == trace_id
        assert len([log for log in service.recording.logs if "Booting worker" in log.body]) == 1


@pytest.mark.parametrize("how", ["json-logger", "loguru", "dictConfig"])
def test_ids_have_their_full_length_in_lines_of_every_form_and_are_absent_outside_of_a_span(how: str) -> None:
    """C26: an id that begins with zeros."""
    trace_id = "0000af7651916cd43dd8448eb211c803"
    with serve("own_logging:app", env={"OWN_LOGGING": how}) as service:
        service.get("/log", headers={"traceparent": f"00-{trace_id}-00ad6b7169203331-01"})
        (line,) = lines(service, "an event")
        event = json.loads(line)
        found = event["record"]["extra"] if how == "loguru" else event
        assert found["trace_id"] == trace_id
        assert len(found["span_id"]) == 16
        (outside,) = lines(service, "Application startup complete")
        assert "trace_id" not in outside
