"""A viewer for the tests of its store and page."""

from __future__ import annotations

import contextlib

import httpx
import pytest

from otel_search.viewer import Viewer
from tests.viewer.telemetry import PROTOBUF

PATHS = {
    "ExportTraceServiceRequest": "/v1/traces",
    "ExportLogsServiceRequest": "/v1/logs",
    "ExportMetricsServiceRequest": "/v1/metrics",
}


class Running:
    """A viewer, what it is sent, and how its page is read."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.client = httpx.Client(base_url=viewer.url, timeout=60, trust_env=False)

    def send(self, *requests):
        for request in requests:
            path = PATHS[type(request).__name__]
            response = httpx.post(
                self.viewer.endpoint + path, content=request.SerializeToString(), headers=PROTOBUF, trust_env=False
            )
            assert response.status_code == 200, response.text
        assert self.viewer.store.flush()

    def page(self, path, status=200):
        response = self.client.get(path)
        assert response.status_code == status, response.text
        return response.text

    def rows(self, query, *values):
        return [tuple(row) for row in self.viewer.store.read().execute(query, values)]


@contextlib.contextmanager
def started():
    with Viewer(port=0, otlp_port=0) as viewer:
        running = Running(viewer)
        yield running
        running.client.close()


@pytest.fixture
def running():
    """A viewer of the test's own."""
    with started() as running:
        yield running


@pytest.fixture(scope="module")
def shared():
    """One for all tests of a module that only read what a fixture has sent."""
    with started() as running:
        yield running
