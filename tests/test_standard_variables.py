"""Values of OpenTelemetry's own variables that do not fit together."""

from __future__ import annotations

import pytest
from opentelemetry.util.re import parse_env_headers

from otel_search.settings import DEFAULTS
from otel_search.telemetry.standard_variables import correct

QUEUE, BATCH = "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"


def test_our_batches_fit_into_our_queues() -> None:
    for processor in ("BSP", "BLRP"):
        queue, batch = (
            int(DEFAULTS[f"OTEL_{processor}_{name}"]) for name in ("MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE")
        )
        assert batch <= queue // 2, "there is room for what comes while a batch is sent"


@pytest.mark.parametrize("defaults", [{}, DEFAULTS], ids=["before the defaults", "after them"])
@pytest.mark.parametrize("queue", ["16", "600"])
def test_a_small_queue_has_small_batches_and_nothing_is_said(defaults: dict[str, str], queue: str) -> None:
    environ = {**defaults, QUEUE: queue}
    assert correct(environ) == []
    assert environ[BATCH] == queue


def test_a_batch_that_somebody_has_chosen_and_that_does_not_fit_is_said() -> None:
    environ = {**DEFAULTS, QUEUE: "600", BATCH: "700"}
    assert correct(environ) == [
        f"{BATCH}='700' is not accepted, using 600; accepted: a whole number, at most {QUEUE} (600)"
    ]
    assert environ[BATCH] == "600"


def test_a_large_batch_and_a_large_queue_are_left_alone() -> None:
    environ = {**DEFAULTS, QUEUE: "100000", BATCH: "20000"}
    assert correct(environ) == []
    assert (environ[QUEUE], environ[BATCH]) == ("100000", "20000")


def test_of_a_list_what_can_be_used_stays() -> None:
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "team, a=b=c,=x,", "OTEL_SERVICE_NAME": " "}
    assert correct(environ) == [
        "OTEL_RESOURCE_ATTRIBUTES='team, a=b=c,=x,' is not accepted, using a=b=c; accepted: key=value, separated by commas"
    ]
    assert environ == {**environ, "OTEL_RESOURCE_ATTRIBUTES": " a=b=c"}
    assert "OTEL_SERVICE_NAME" not in environ


HEADERS = [
    "authorization=Bearer M4rk3r",
    "Authorization=Bearer%20M4rk3r",
    "api-key = M4rk3r==",
    "x=",
    "authorization Bearer M4rk3r",
    "authorization: Bearer M4rk3r",
    "=M4rk3r",
    "a=M4rk3r;b=c",
    'a="M4rk3r"',
    "a=M4rk3r\u00e9",
    "a b=M4rk3r",
]


@pytest.mark.parametrize("text", HEADERS)
def test_a_header_that_the_sdk_would_show_and_leave_out_is_not_shown(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    parse_env_headers(text, liberal=True)
    refused = bool(caplog.records)
    for variable in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        environ = {variable: f"{text},good=1"}
        faults = correct(environ)
        assert environ == {variable: "good=1" if refused else f"{text},good=1"}
        assert bool(faults) is refused
        for fault in faults:
            assert fault == (
                f"{variable}: entry 1 is not accepted and left out; "
                "accepted: name=value, separated by commas, values percent-encoded"
            )
            assert correct({variable: text}) == [fault]


@pytest.mark.parametrize("kind", ["sdk", "default"])
def test_providers_as_they_come_are_not_made_before_they_are_set_up(kind: str) -> None:
    environ = {"OTEL_PYTHON_TRACER_PROVIDER": f"{kind}_tracer_provider"}
    assert correct(environ) == []
    assert "OTEL_PYTHON_TRACER_PROVIDER" not in environ


def test_a_password_in_what_is_no_url_is_not_shown() -> None:
    (line,) = correct({"OTEL_EXPORTER_OTLP_ENDPOINT": "shop:hunter/2@collector:4318"})
    assert line.startswith("OTEL_EXPORTER_OTLP_ENDPOINT='[redacted: user info]@collector:4318' is not accepted")


def test_blanks_and_a_comma_too_many_are_no_fault() -> None:
    environ = {
        "OTEL_TRACES_EXPORTER": " otlp , ",
        "OTEL_LOGS_EXPORTER": "none,",
        "OTEL_METRICS_EXPORTER": ",",
        "OTEL_EXPORTER_OTLP_TIMEOUT": " 5 ",
        "OTEL_TRACES_SAMPLER": " always_on",
    }
    assert correct(environ) == []
    assert environ == {
        **environ,
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "5",
        "OTEL_TRACES_SAMPLER": "always_on",
    }


def test_a_share_of_traces_that_is_none_is_all_and_one_line() -> None:
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio ", "OTEL_TRACES_SAMPLER_ARG": "2"}
    assert len(correct(environ)) == 1
    assert environ["OTEL_TRACES_SAMPLER_ARG"] == "1.0"
