from __future__ import annotations

import re

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.trace import TracerProvider

from otel_search.middleware.excluded import Excluded, context_without_telemetry


def scope(path: str, **more: object) -> dict[str, object]:
    return {"type": "http", "path": path, "scheme": "http", "server": ("10.0.0.1", 8000), **more}


@pytest.mark.parametrize(
    "path",
    ["/health", "/health/", "/healthz", "/health/live", "/health/ready/", "/live", "/livez", "/ready", "/readyz", "/metrics", "/metrics/"],
)  # fmt: skip
def test_probes_are_excluded(path: str) -> None:
    assert Excluded(())(scope(path), {})


@pytest.mark.parametrize(
    "path",
    ["/", "", "/health/articles", "/healthy", "/api/health", "/metrics-report", "/live-search", "/readyness", "/Health", "//health"],
)  # fmt: skip
def test_look_alikes_are_not(path: str) -> None:
    assert not Excluded(())(scope(path), {})


@pytest.mark.parametrize(
    ("of_app", "of_server", "path", "excluded"),
    [
        ("", "/svc", "/svc/health", True),
        ("", "/svc", "/health", True),
        ("/svc", "", "/svc/health", True),
        ("/svc/", "", "/svc/health/", True),
        ("/svc", "", "/health", True),
        ("", "/svc", "/svchealth", False),
        ("", "/svc", "/svc/items", False),
        ("/health", "", "/health/items", False),
        ("", "/svc", "/svc", False),
    ],
)
def test_root_paths_do_not_hide_probes(of_app: str, of_server: str, path: str, excluded: bool) -> None:
    assert Excluded((), of_app)(scope(path, root_path=of_server), {}) is excluded


def test_a_websocket_is_no_probe() -> None:
    assert not Excluded(())(scope("/live") | {"type": "websocket"}, {})


def test_patterns_are_searched_in_the_url_with_its_host_and_without_its_query() -> None:
    excluded = Excluded((re.compile(r"^https://shop\.example/a$"),))
    request = scope("/a", scheme="https", query_string=b"b")
    assert excluded(request, {b"host": b"shop.example"})
    assert not excluded(request, {b"host": b"elsewhere.example"})
    assert not excluded(scope("/a/b", scheme="https"), {b"host": b"shop.example"})
    assert Excluded((re.compile(r"^http://10\.0\.0\.1:8000/a$"),))(scope("/a"), {})


def test_nothing_is_recorded_in_the_context_of_an_excluded_request() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    context = context_without_telemetry()
    span = tracer.start_span("by hand", context)
    assert not span.is_recording()
    assert trace.get_current_span(context).get_span_context().is_valid
    from opentelemetry.context import attach, detach

    token = attach(context)
    assert not is_instrumentation_enabled()
    detach(token)
